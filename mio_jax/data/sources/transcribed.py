"""Speech with what is said.

LibriSpeech   FOLDER/train-clean-100/19/198/19-198-0000.flac, 19-198.trans.txt, ...; train-clean-360, train-other-500,
              test-clean
Libriheavy    FOLDER/libriheavy_cuts_small.jsonl.gz, _medium, _large, _test_clean (what there is), and the books of
              Libri-Light where these name them: download/librilight/small/100/sea_fairies_.../01_....flac
GigaSpeech    FOLDER/GigaSpeech.json, audio/podcast/P0000/POD0000000001.opus, ...   (needs PyAV: the extra `video`)
Common Voice  FOLDER/train.tsv, test.tsv, clips/common_voice_en_1.mp3, ...          (a language's own folder)
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mio_jax.data.media.video_files import read_sound
from mio_jax.data.sources.files import one_space, read_json, read_lines
from mio_jax.data.sources.folder import FolderSource
from mio_jax.data.sources.row_shards import Shards
from mio_jax.errors import MioError
from mio_tokenizers.audio.io import mono, read_audio
from mio_tokenizers.base import Audio


class Transcribed(FolderSource):
    """id, audio at its own rate, transcript."""

    media = ("audio",)


class LibriSpeech(Transcribed):
    """Books read aloud; the transcripts are upper case without punctuation, as published."""

    name = "librispeech"
    licence = "CC BY 4.0"
    attribution = "LibriSpeech by Panayotov et al., OpenSLR 12"
    parts: ClassVar[dict[str, tuple[str, ...]]] = {
        "train": ("train-clean-100", "train-clean-360", "train-other-500"),
        "test": ("test-clean",),
    }

    def items(self, split: str) -> Sequence[tuple[str, str]]:
        found = []
        for part in self.parts[split]:
            for path in sorted((self.folder / part).glob("*/*/*.trans.txt")):
                for line in read_lines(path):
                    key, _, said = line.partition(" ")
                    found.append((f"{path.parent.relative_to(self.folder).as_posix()}/{key}.flac", one_space(said)))
        return found

    def example(self, split: str, item: tuple[str, str]) -> dict[str, Any]:
        file, said = item
        key = Path(file).stem
        return {"id": self.id(split, key), "audio": read_audio(self.folder / file), "transcript": said}


class CommonVoice(Transcribed):
    """Sentences read aloud by many people; the folder of one language."""

    name = "common_voice"
    licence = "CC0"
    attribution = "Common Voice by Mozilla and its contributors"

    def items(self, split: str) -> Sequence[tuple[str, str]]:
        lines = read_lines(self.folder / f"{split}.tsv")  # sentences hold quotes that are none of a table
        head = lines[0].split("\t")
        path, said = head.index("path"), head.index("sentence")
        rows = (line.split("\t") for line in lines[1:])
        return [(row[path], one_space(row[said])) for row in rows]

    def example(self, split: str, item: tuple[str, str]) -> dict[str, Any]:
        file, said = item
        audio = read_audio(self.folder / "clips" / file)
        return {"id": self.id(split, Path(file).stem), "audio": audio, "transcript": said}


PUNCTUATION = {"<COMMA>": ",", "<PERIOD>": ".", "<QUESTIONMARK>": "?", "<EXCLAMATIONPOINT>": "!"}
NO_SPEECH = re.compile(r"<(SIL|MUSIC|NOISE|OTHER)>")


def written(text_tn: str) -> str:
    """GigaSpeech's tags as punctuation; "" where a part is no speech."""
    if NO_SPEECH.search(text_tn):
        return ""
    for tag, mark in PUNCTUATION.items():
        text_tn = text_tn.replace(f" {tag}", mark).replace(tag, mark)
    return one_space(text_tn)


class GigaSpeech(Transcribed):
    """Parts of audiobooks, podcasts and videos. Parts without speech are left out."""

    name = "gigaspeech"
    licence = "for research that is not commercial"
    attribution = "GigaSpeech by Chen et al."
    subsets: ClassVar[dict[str, str]] = {"train": "{XL}", "test": "{TEST}"}

    def items(self, split: str) -> Sequence[tuple[str, str, float, float, str]]:
        found = []
        for audio in read_json(self.folder / "GigaSpeech.json")["audios"]:
            for one in audio["segments"]:
                said = written(one["text_tn"])
                if said and self.subsets[split] in one["subsets"]:
                    found.append((one["sid"], audio["path"], float(one["begin_time"]), float(one["end_time"]), said))
        return found

    def example(self, split: str, item: Any) -> dict[str, Any]:
        key, file, start, end, said = item
        if not (self.folder / file).is_file():
            raise MioError(f"there is no sound file {self.folder / file}")
        whole = _decoded(str(self.folder / file))
        cut = whole.samples[round(start * whole.rate) : round(end * whole.rate)] if whole else np.zeros(0, np.float32)
        if whole is None or not cut.size:
            raise MioError(f"{self.folder / file} has no sound from second {start:g} to {end:g}")
        return {"id": self.id(split, key), "audio": Audio(cut, whole.rate), "transcript": said}


@functools.lru_cache(maxsize=1)
def _decoded(path: str) -> Audio | None:
    """A whole file: its parts are read one after the other, and to find one all before it are decoded."""
    return read_sound(path)


class Libriheavy(Shards):
    """id, audio, transcript with case and punctuation: parts of Libri-Light's books.

    The list says how long each part is, and a reader stops to read there: a book is not held.
    """

    name = "libriheavy"
    licence = "public domain"
    attribution = "Libriheavy by Kang et al., on Libri-Light by Kahn et al."
    media = ("audio",)
    files: ClassVar = {
        "train": "libriheavy_cuts_{}.jsonl.gz",
        "test": "libriheavy_cuts_test_clean.jsonl.gz",
    }

    def _files(self, split: str) -> list[Path]:
        found = [self.folder / self.files[split].format(part) for part in ("small", "medium", "large")]
        there = [path for path in dict.fromkeys(found) if path.is_file()]
        if not there:
            raise MioError(f"{self.name}: there is no {found[0].name} in {self.folder}; lay it out as it is published")
        return there

    def fields(self, row: dict[str, Any]) -> dict[str, Any]:
        [told] = row["supervisions"]
        [source] = row["recording"]["sources"]
        audio = _part(self.folder / source["source"], float(row["start"]), float(row["duration"]))
        return {"audio": audio, "transcript": one_space(told["custom"]["texts"][0])}


def _part(path: Path, start: float, seconds: float) -> Audio:
    import soundfile

    if not path.is_file():
        raise MioError(f"there is no sound file {path}")
    try:
        with soundfile.SoundFile(path) as file:
            file.seek(min(round(start * file.samplerate), file.frames))
            samples = file.read(round(seconds * file.samplerate), dtype="float32")
            return Audio(mono(Audio(samples, file.samplerate)), file.samplerate)
    except soundfile.SoundFileError as error:
        raise MioError(f"{path} cannot be read ({error})") from error
