"""Videos that are seen and heard, and narrated ones.

YT-Temporal-1B   FOLDER/youtube_dump/-QVtAHb90Vc/-QVtAHb90Vc.mp4, -QVtAHb90Vc.v2.info.json.gz, ...
                 as the authors' tools write them; the list of videos itself is not published any more
ACAV100M         FOLDER/output.csv, as the authors' tools write it; videos/qpxektwhzra_292.mp4, ...
HD-VILA-100M     FOLDER/metafiles/hdvila_part0.jsonl, ...; video_clips/QMi8x8o55Ns/QMi8x8o55Ns.1.mp4, ...
Kinetics-Sounds  FOLDER/train.csv, val.csv (Kinetics-400's), train/-0L4c4QVtSg_000003_000013.mp4, ..., val/...
Ego4D            FOLDER/v2/annotations/narration.json, FOLDER/v2/full_scale/<uid>.mp4

Videos of YouTube vanish: what a list has and the folder has not is left out.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from mio_jax.data.media.video_documents import rolled_up
from mio_jax.data.media.video_files import read_frames, read_sound
from mio_jax.data.sources.action_videos import FRAMES, Part, Parts
from mio_jax.data.sources.files import names_in, one_space, read_json, read_lines, rows_of_table
from mio_jax.data.sources.folder import FolderSource
from mio_tokenizers.audio.mel import SEGMENT_SECONDS
from mio_tokenizers.base import Audio

LONGEST = FRAMES * SEGMENT_SECONDS  # seconds of an example: a segment of sound for each frame


class Sounding(FolderSource):
    """id, frames uint8 [5, height, width, 3], audio, captions []: of whole segments of sound, and the frames of them.

    An example is cut to as many segments of 4.08 s as there is room for, so that its last segment is heard while its
    last frame is seen. A video without sound cannot be read.
    """

    media = ("frames", "audio")
    seen = ("frames",)

    def example(self, split: str, item: Part) -> dict[str, Any]:
        path = self.folder / item.file
        audio = read_sound(path, item.start, min(item.end, item.start + LONGEST))
        if audio is None:
            raise ValueError(f"{item.file} has no sound from second {item.start:g} on")
        segments = len(audio.samples) / audio.rate // SEGMENT_SECONDS
        end = item.start + (segments * SEGMENT_SECONDS or len(audio.samples) / audio.rate)
        audio = Audio(audio.samples[: round((end - item.start) * audio.rate)], audio.rate)
        frames = read_frames(path, FRAMES, item.start, end)
        return {"id": self.id(split, item.key), "frames": frames, "audio": audio, "captions": self.said(item, end)}

    def said(self, item: Part, end: float) -> list[str]:
        """What is told of a part up to the second `end`."""
        return []


class YtTemporal1B(Sounding):
    """Videos of YouTube with what is said in them; seven parts of each, as many as the publication takes on average."""

    name = "yt_temporal_1b"
    licence = "the videos are YouTube's users'"
    attribution = "YT-Temporal-1B by Zellers et al."
    parts: ClassVar[int] = 7

    def items(self, split: str) -> Sequence[Part]:
        dump = self.folder / "youtube_dump"
        keys = sorted(path.name for path in dump.iterdir() if self.kept(split, path.name))
        whole = {".mp4", ".v2.info.json.gz"}
        held = [key for key in keys if whole <= {name.removeprefix(key) for name in names_in(str(dump / key))}]
        # Where its parts lie, a video's own file tells, which is read with them.
        return [
            Part(f"{key}-{n}", f"youtube_dump/{key}/{key}.mp4", n, n + 1, None)
            for key in held
            for n in range(self.parts)
        ]

    def example(self, split: str, item: Part) -> dict[str, Any]:
        with gzip.open((self.folder / item.file).with_suffix(".v2.info.json.gz"), "rt", encoding="utf-8") as file:
            told = json.load(file)
        length = float(told["duration"]) / self.parts
        spoken = rolled_up(told["transcripts"]["en"])
        return super().example(split, item._replace(start=item.start * length, end=item.end * length, told=spoken))

    def said(self, item: Part, end: float) -> list[str]:
        text = " ".join(one.text for one in item.told if item.start <= one.start < end)
        return [text] if text else []


class Acav100M(Sounding):
    """Ten seconds of videos in which what is seen and what is heard belong together; nothing is told of them."""

    name = "acav100m"
    licence = "the videos are YouTube's users'"
    attribution = "ACAV100M by Lee et al."

    def items(self, split: str) -> Sequence[Part]:
        there = names_in(str(self.folder / "videos"))
        rows = csv.reader(line for line in read_lines(self.folder / "output.csv") if not line.startswith("#"))
        return [
            Part(file.rsplit(".", 1)[0], f"videos/{file}", 0.0, np.inf, None)
            for _, file, video, _ in rows
            if file in there and self.kept(split, video)
        ]


class HdVila(Sounding):
    """Clips of videos that are cut where somebody says a sentence. The sentences themselves are not published."""

    name = "hd_vila"
    licence = "for research; the videos are YouTube's users'"
    attribution = "HD-VILA-100M by Xue et al., Microsoft"

    def items(self, split: str) -> Sequence[Part]:
        lists = sorted((self.folder / "metafiles").glob("hdvila_part*.jsonl"))
        if not lists:
            raise FileNotFoundError(2, "", str(self.folder / "metafiles/hdvila_part0.jsonl"))
        found = []
        for path in lists:
            for line in read_lines(path):
                one = json.loads(line)
                folder = f"video_clips/{one['video_id']}"
                there = names_in(str(self.folder / folder))
                names = [clip["clip_id"] for clip in one["clip"]] if self.kept(split, one["video_id"]) else []
                found += [Part(n.removesuffix(".mp4"), f"{folder}/{n}", 0.0, np.inf, None) for n in names if n in there]
        return found


SOUNDS = (  # the classes of Kinetics-400 that can be heard, as Look, Listen and Learn chose them
    *("blowing nose", "blowing out candles", "bowling", "chopping wood", "dribbling basketball", "laughing"),
    *("mowing lawn", "playing accordion", "playing bagpipes", "playing bass guitar", "playing clarinet"),
    *("playing drums", "playing guitar", "playing harmonica", "playing keyboard", "playing organ", "playing piano"),
    *("playing saxophone", "playing trombone", "playing trumpet", "playing violin", "playing xylophone"),
    *("ripping paper", "shoveling snow", "shuffling cards", "singing", "stomping grapes", "tap dancing"),
    *("tapping guitar", "tapping pen", "tickling"),
)


class KineticsSounds(FolderSource):
    """id, audio, tags: the sound of a clip and its one class; the published validation set is "test"."""

    name = "kinetics_sounds"
    licence = "lists CC BY 4.0; the videos are YouTube's users'"
    attribution = "Kinetics-Sounds by Arandjelović and Zisserman, of Kinetics-400 by Kay et al."
    media = ("audio",)

    def items(self, split: str) -> Sequence[tuple[str, str]]:
        part = "train" if split == "train" else "val"
        there = names_in(str(self.folder / part))
        found = []
        for row in rows_of_table(self.folder / f"{part}.csv"):
            name = f"{row['youtube_id']}_{int(row['time_start']):06d}_{int(row['time_end']):06d}.mp4"
            if row["label"] in SOUNDS and name in there:
                found.append((f"{part}/{name}", row["label"]))
        return found

    def example(self, split: str, item: tuple[str, str]) -> dict[str, Any]:
        file, label = item
        audio = read_sound(self.folder / file)
        if audio is None:
            raise ValueError(f"{file} has no sound")
        return {"id": self.id(split, file.split("/")[1].removesuffix(".mp4")), "audio": audio, "tags": [label]}


class Ego4D(Parts):
    """Two seconds of what somebody who wears a camera sees, with what they do; 2 % of the videos are "test"."""

    name = "ego4d"
    licence = "Ego4D's own"
    attribution = "Ego4D by Grauman et al."
    field = "captions"

    def items(self, split: str) -> Sequence[Part]:
        there = names_in(str(self.folder / "v2/full_scale"))
        told = read_json(self.folder / "v2/annotations/narration.json")
        found = []
        for video, passes in told.get("videos", told).items():
            if f"{video}.mp4" in there and self.kept(split, video):
                for number in ("narration_pass_1", "narration_pass_2"):
                    for n, one in enumerate(passes.get(number, {}).get("narrations", ())):
                        said, moment = _plain(one["narration_text"]), float(one["timestamp_sec"])
                        if said:
                            key = f"{video}-{number[-1]}-{n}"
                            part = (f"v2/full_scale/{video}.mp4", max(moment - 1.0, 0.0), moment + 1.0)
                            found.append(Part(key, *part, [said]))
        return found


def _plain(narration: str) -> str:
    """ "#C C picks a bag" -> "The camera wearer picks a bag"; "" for what its narrator was not sure of."""
    if "#unsure" in narration.lower() or "#summary" in narration.lower():
        return ""
    worn = re.sub(r"#C\s+C\b", "the camera wearer", narration)
    plain = one_space(re.sub(r"#\w+", " ", worn))
    return plain[:1].upper() + plain[1:]
