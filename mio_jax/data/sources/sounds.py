"""Sounds with captions, tags or words.

Clotho     FOLDER/clotho_captions_development.csv, clotho_captions_evaluation.csv, development/, evaluation/
MusicCaps  FOLDER/musiccaps-public.csv, clips/-0Gj8-vB1q4.wav ...
MACS       FOLDER/MACS.yaml, audio/airport-barcelona-0-0-a.wav ... (TAU Urban Acoustic Scenes 2019)
LJSpeech   FOLDER/metadata.csv, wavs/LJ001-0001.wav ...
VGG-Sound  FOLDER/vggsound.csv, clips/---g-f_I2yQ_000001.wav ...
AudioSet   FOLDER/unbalanced_train_segments.csv and balanced_train_segments.csv (either will do),
           eval_segments.csv, class_labels_indices.csv, clips/--PJHxphWEs_000030.wav ...

Clips of videos are not published: files in clips/ (WAV or FLAC) are named by the video and, where one video may have
several, its second, six digits. Videos vanish, so rows without a clip are left out.
"""

from __future__ import annotations

import abc
import csv
from collections.abc import Iterable, Sequence
from typing import Any

from mio_jax.data.sources.files import names_in, one_space, read_lines, read_table
from mio_jax.data.sources.folder import FolderSource
from mio_jax.errors import MioError
from mio_tokenizers.audio.io import read_audio


class Sounds(FolderSource):
    """A sound, and in `texts` what is told of it. A set says which (file within the folder, texts) there are."""

    media = ("audio",)
    field = "captions"

    @abc.abstractmethod
    def told(self, split: str) -> Iterable[tuple[str, list[str]]]: ...

    def items(self, split: str) -> Sequence[tuple[str, list[str]]]:
        return list(self.told(split))

    def example(self, split: str, item: tuple[str, list[str]]) -> dict[str, Any]:
        """id, audio at its own rate, and the list of texts under the name of `field`."""
        file, texts = item
        key = file.rsplit("/", 1)[-1].rsplit(".", 1)[0]
        return {"id": self.id(split, key), "audio": read_audio(self.folder / file), self.field: texts}

    def clips(self, rows: Iterable[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
        """(name without its ending, texts) -> those with a file in clips/. MioError where there is none."""
        there = names_in(str(self.folder / "clips"))
        listed = list(rows)
        found = [
            (f"clips/{name}{ending}", texts)
            for name, texts in listed
            for ending in (".wav", ".flac")
            if name + ending in there
        ]
        if listed and not found:
            name = listed[0][0]
            raise MioError(
                f"{self.name}: none of the {len(listed)} clips is in {self.folder}/clips, such as {name}.wav"
            )
        return found


class Clotho(Sounds):
    """15 to 30 seconds with five captions."""

    name = "clotho"
    licence = "captions of the Tampere University licence; the sounds' own, of Freesound"
    attribution = "Clotho by Drossos et al."

    def told(self, split: str) -> Iterable[tuple[str, list[str]]]:
        part = "development" if split == "train" else "evaluation"
        for row in read_table(self.folder / f"clotho_captions_{part}.csv"):
            yield f"{part}/{row['file_name']}", [one_space(row[f"caption_{k}"]) for k in range(1, 6)]


class MusicCaps(Sounds):
    """Ten seconds of music, each with a musician's caption; the part of AudioSet's evaluation is "test"."""

    name = "musiccaps"
    licence = "captions CC BY-SA 4.0; the sounds are of YouTube's users, under their own terms"
    attribution = "MusicCaps by Agostinelli et al."

    def told(self, split: str) -> Iterable[tuple[str, list[str]]]:
        rows = read_table(self.folder / "musiccaps-public.csv")
        held = [row for row in rows if (row["is_audioset_eval"] == "True") == (split == "test")]
        return self.clips((row["ytid"], [one_space(row["caption"])]) for row in held)


class Macs(Sounds):
    """Scenes of cities with captions of several people."""

    name = "macs"
    licence = "for research that is not commercial"
    attribution = "MACS by Martin-Morato and Mesaros"

    def told(self, split: str) -> Iterable[tuple[str, list[str]]]:
        import yaml

        try:
            files = yaml.safe_load((self.folder / "MACS.yaml").read_text(encoding="utf-8"))["files"]
        except yaml.YAMLError as error:
            raise ValueError(f"MACS.yaml: {error}") from error
        for one in files:
            if self.kept(split, one["filename"]):
                yield f"audio/{one['filename']}", [one_space(a["sentence"]) for a in one["annotations"]]


class LjSpeech(Sounds):
    """Sentences of a book, read aloud."""

    name = "ljspeech"
    licence = "public domain"
    attribution = "The LJ Speech Dataset by Keith Ito and Linda Johnson"

    def told(self, split: str) -> Iterable[tuple[str, list[str]]]:
        for line in read_lines(self.folder / "metadata.csv"):
            name, _, normalised = line.split("|")
            if self.kept(split, name):
                yield f"wavs/{name}.wav", [one_space(normalised)]


class VggSound(Sounds):
    """Ten seconds of a video in which its one class is seen and heard."""

    name = "vggsound"
    licence = "list CC BY 4.0; the sounds are of YouTube's users, under their own terms"
    attribution = "VGG-Sound by Chen et al."
    field = "tags"

    def told(self, split: str) -> Iterable[tuple[str, list[str]]]:
        rows = read_table(self.folder / "vggsound.csv", ("video", "start", "class", "split"))
        return self.clips((f"{r['video']}_{int(r['start']):06d}", [r["class"]]) for r in rows if r["split"] == split)


class AudioSet(Sounds):
    """Ten seconds of a video with all classes that are heard."""

    name = "audioset"
    licence = "list CC BY 4.0; the sounds are of YouTube's users, under their own terms"
    attribution = "AudioSet by Gemmeke et al., Google"
    field = "tags"

    def told(self, split: str) -> Iterable[tuple[str, list[str]]]:
        classes = read_table(self.folder / "class_labels_indices.csv")
        names = {row["mid"]: row["display_name"].lower() for row in classes}
        lists = ("unbalanced_train", "balanced_train") if split == "train" else ("eval",)
        files = [path for part in lists if (path := self.folder / f"{part}_segments.csv").is_file()]
        if not files:
            raise FileNotFoundError(2, "", str(self.folder / f"{lists[-1]}_segments.csv"))
        rows: list[tuple[str, list[str]]] = []
        for path in files:
            for line in csv.reader((x for x in read_lines(path) if not x.startswith("#")), skipinitialspace=True):
                video, start, _, mids = line
                rows.append((f"{video}_{int(float(start)):06d}", [names[mid] for mid in mids.split(",")]))
        return self.clips(rows)
