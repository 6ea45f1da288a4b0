"""Videos of what people do: parts of long ones with actions or questions, and who does what where.

Kinetics-710      FOLDER/kinetics710/k400_train_list_videos.txt, k400_val_list_videos.txt, ... (k600, k700: those that
                  there are), label_map_k710.txt; FOLDER/kinetics400/videos_train/, videos_val/, FOLDER/kinetics600/
                  videos/, FOLDER/kinetics700/videos/: the "data" folder of MMAction2
EPIC-KITCHENS-100 FOLDER/EPIC_100_train.csv, EPIC_100_validation.csv, EPIC-KITCHENS/P01/videos/P01_01.MP4, ...
STAR              FOLDER/STAR_train.json, STAR_val.json, Charades_v1_480/001YG.mp4, ...
M4-ViteVQA        FOLDER/Annotations/ViteVQA_0.0.2_t1s1train.json, ViteVQA_0.0.2_t1s1val.json, video/05453.mp4, ...
AVA v2.2          FOLDER/ava_train_v2.2.csv, ava_val_v2.2.csv, ava_action_list_v2.2.pbtxt, trainval/-5KQ66BBWC4.mkv, ...

Five frames stand for a part. Videos of lists that are not there are left out of Kinetics, EPIC-KITCHENS and AVA.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from mio_jax.data.media.video_files import frames_at, read_frames
from mio_jax.data.sources.files import most_common, names_in, one_space, read_json, read_lines, rows_of_table
from mio_jax.data.sources.folder import FolderSource
from mio_jax.data.sources.videos import FRAMES, Videos


class Kinetics710(Videos):
    """Short clips of 710 actions, merged from three sets without what they share."""

    name = "kinetics710"
    licence = "lists CC BY 4.0; the videos are YouTube's users'"
    attribution = "Kinetics by Carreira et al., Google; merged by Li et al. (UniFormerV2)"
    field = "label"
    places: ClassVar[dict[str, dict[str, str]]] = {  # of the videos, by list
        "train": {"k400": "kinetics400/videos_train", "k600": "kinetics600/videos", "k700": "kinetics700/videos"},
        "val": {"k400": "kinetics400/videos_val", "k600": "kinetics600/videos", "k700": "kinetics700/videos"},
    }

    def told(self, split: str) -> Iterable[tuple[str, Any]]:
        lists = self.folder / "kinetics710"
        labels = [one_space(line.lower()) for line in read_lines(lists / "label_map_k710.txt")]
        part = "train" if split == "train" else "val"
        some = {key: lists / f"{key}_{part}_list_videos.txt" for key in self.places[part]}
        if not any(path.is_file() for path in some.values()):
            raise FileNotFoundError(2, "", str(some["k400"]))
        for key, path in some.items():
            for line in read_lines(path) if path.is_file() else ():
                file, _, label = line.strip().rpartition(" ")
                inner, _, name = f"{self.places[part][key]}/{file}".rpartition("/")
                if name in names_in(str(self.folder / inner)):
                    yield f"{inner}/{name}", labels[int(label)]


class Part(NamedTuple):
    """A part of a video: its key, file, seconds, and what is told of it."""

    key: str
    file: str
    start: float
    end: float
    told: Any


class Parts(FolderSource):
    """id, frames uint8 [5, height, width, 3], and what is told of this part of a video under the name of `field`."""

    media = ("frames",)
    seen = ("frames",)
    field: ClassVar[str] = "questions"

    def example(self, split: str, item: Part) -> dict[str, Any]:
        frames = read_frames(self.folder / item.file, FRAMES, item.start, item.end)
        return {"id": self.id(split, item.key), "frames": frames, self.field: item.told}


class EpicKitchens(Parts):
    """Moments in kitchens with what their cook says of them; the published validation set is "test"."""

    name = "epic_kitchens"
    licence = "CC BY-NC 4.0"
    attribution = "EPIC-KITCHENS-100 by Damen et al."
    field = "label"

    def items(self, split: str) -> Sequence[Part]:
        part = "train" if split == "train" else "validation"
        found = []
        for row in rows_of_table(self.folder / f"EPIC_100_{part}.csv"):
            folder = f"EPIC-KITCHENS/{row['participant_id']}/videos"
            if f"{row['video_id']}.MP4" in names_in(str(self.folder / folder)):
                start, stop = seconds(row["start_timestamp"]), seconds(row["stop_timestamp"])
                file = f"{folder}/{row['video_id']}.MP4"
                found.append(Part(row["narration_id"], file, start, stop, one_space(row["narration"])))
        return found


def seconds(clock: str) -> float:
    """ "00:01:02.5" -> 62.5"""
    hours, minutes, rest = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


class Star(Parts):
    """questions [[question, answer]] about a situation in a video of Charades; the validation set is "test"."""

    name = "star"
    licence = "Apache-2.0; the videos for research, of Charades"
    attribution = "STAR by Wu et al., on Charades"

    def items(self, split: str) -> Sequence[Part]:
        told = read_json(self.folder / f"STAR_{'train' if split == 'train' else 'val'}.json")
        return [
            Part(
                one["question_id"],
                f"Charades_v1_480/{one['video_id']}.mp4",
                float(one["start"]),
                float(one["end"]),
                [[one_space(one["question"]), one_space(one["answer"])]],
            )
            for one in told
        ]


class M4ViteVqa(Videos):
    """questions [[question, answer], ...] about what is written in a video, by the first split of its first task."""

    name = "m4_vitevqa"
    licence = "for research that is not commercial"
    attribution = "M4-ViteVQA by Zhao et al."
    field = "questions"

    def told(self, split: str) -> Iterable[tuple[str, Any]]:
        part = "train" if split == "train" else "val"
        asked: dict[str, list[list[str]]] = {}
        for one in read_json(self.folder / f"Annotations/ViteVQA_0.0.2_t1s1{part}.json")["data"]:
            answer = most_common([one_space(answer) for answer in one["answers"]])
            asked.setdefault(one["video_id"], []).append([one_space(one["question"]), answer])
        for video, questions in asked.items():
            yield f"video/{video}.mp4", questions


class Ava(FolderSource):
    """id, frames uint8 [5, height, width, 3] half a second apart, boxes and labels of everybody in the third of them.

    A label is all that somebody does; examples of kinds, in brackets, are left out of the actions' names.
    """

    name = "ava"
    licence = "CC BY 4.0 of the annotations; the videos are YouTube's users'"
    attribution = "AVA by Gu et al., Google"
    media = ("frames",)
    seen = ("frames",)
    columns: ClassVar = ("video", "second", "x1", "y1", "x2", "y2", "action", "person")

    def items(self, split: str) -> Sequence[Any]:
        files = {name.rsplit(".", 1)[0]: name for name in sorted(names_in(str(self.folder / "trainval")))}
        part = "train" if split == "train" else "val"
        moments: dict[tuple[str, str], dict[tuple[float, ...], list[int]]] = {}
        for row in rows_of_table(self.folder / f"ava_{part}_v2.2.csv", self.columns):
            if row["video"] in files:
                box = tuple(float(row[edge]) for edge in ("y1", "x1", "y2", "x2"))
                people = moments.setdefault((row["video"], row["second"]), {})
                people.setdefault(box, []).append(int(row["action"]))
        return [(files[video], float(second), list(people.items())) for (video, second), people in moments.items()]

    def example(self, split: str, item: Any) -> dict[str, Any]:
        file, second, people = item
        names = _actions(str(self.folder / "ava_action_list_v2.2.pbtxt"))
        frames = frames_at(self.folder / "trainval" / file, second + np.arange(-2, 3) / 2)
        scale = np.array([*frames.shape[1:3]] * 2)
        return {
            "id": self.id(split, f"{file.rsplit('.', 1)[0]}-{second:g}"),
            "frames": frames,
            "boxes": [(np.array(box) * scale).round(3).tolist() for box, _ in people],
            "labels": [", ".join(names[number] for number in numbers) for _, numbers in people],
        }


@functools.lru_cache(maxsize=4)
def _actions(path: str) -> dict[int, str]:
    """Number -> name, of entries such as label { name: "walk" label_id: 14 ... }."""

    def entries() -> Iterator[tuple[int, str]]:
        for block in re.findall(r"\{([^{}]*)\}", Path(path).read_text(encoding="utf-8")):
            name, number = re.search(r'name:\s*"([^"]*)"', block), re.search(r"id:\s*(\d+)", block)
            if name and number:
                yield int(number[1]), one_space(re.sub(r"\([^)]*\)", " ", name[1]).lower())

    return dict(entries())
