"""Videos with captions, classes or questions; read with PyAV (the extra `video`).

MSR-VTT    FOLDER/train_val_videodatainfo.json, TrainValVideo/video0.mp4, ...; test_videodatainfo.json, TestVideo/
VATEX      FOLDER/vatex_training_v1.0.json, vatex_validation_v1.0.json, videos/Ptf_2VRj-V0_000122_000132.mp4, ...
WebVid     FOLDER/results_10M_train.csv, results_10M_val.csv, videos/<page_dir>/<videoid>.mp4
UCF101     FOLDER/ucfTrainTestlist/classInd.txt, trainlist01.txt, testlist01.txt, UCF-101/ApplyEyeMakeup/v_....avi
SSv2       FOLDER/labels/train.json, labels/validation.json, 20bn-something-something-v2/1.webm, ...
MSRVTT-QA  FOLDER/train_qa.json, test_qa.json, videos/video0.mp4, ...
MSVD-QA    FOLDER/train_qa.json, test_qa.json, youtube_mapping.txt, YouTubeClips/-4wsuPCjDBc_5_15.avi, ...

Of a video five frames stand for all: the middles of five equal parts. Videos of YouTube vanish; those of VATEX and
WebVid that are not there are left out.
"""

from __future__ import annotations

import abc
import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from mio_jax.data.media.video_files import read_frames
from mio_jax.data.sources.files import names_in, one_space, read_json, read_lines, rows_of_table
from mio_jax.data.sources.folder import FolderSource

FRAMES = 5


class Videos(FolderSource):
    """id, frames uint8 [5, height, width, 3], and what is told of the video under the name of `field`."""

    media = ("frames",)
    seen: ClassVar[tuple[str, ...]] = ("frames",)
    field: ClassVar[str] = "captions"
    frames: ClassVar[int] = FRAMES

    @abc.abstractmethod
    def told(self, split: str) -> Iterable[tuple[str, Any]]:
        """(file within the folder, what is told of it)."""

    def items(self, split: str) -> Sequence[tuple[str, Any]]:
        return list(self.told(split))

    def example(self, split: str, item: tuple[str, Any]) -> dict[str, Any]:
        file, told = item
        key = file.rsplit("/", 1)[-1].rsplit(".", 1)[0]
        return {"id": self.id(split, key), "frames": read_frames(self.folder / file, self.frames), self.field: told}


class MsrVtt(Videos):
    """Twenty captions each."""

    name = "msrvtt"
    licence = "see the set's own page; the videos are YouTube's users'"
    attribution = "MSR-VTT by Xu et al., Microsoft"

    def told(self, split: str) -> Iterable[tuple[str, Any]]:
        """The published validation videos are not used: training and test videos have files of their own."""
        file, folder = ("train_val", "TrainValVideo") if split == "train" else ("test", "TestVideo")
        whole = read_json(self.folder / f"{file}_videodatainfo.json")
        captions: dict[str, list[str]] = {}
        for sentence in whole["sentences"]:
            captions.setdefault(sentence["video_id"], []).append(one_space(sentence["caption"]))
        for video in whole["videos"]:
            if video["split"] == split:
                yield f"{folder}/{video['video_id']}.mp4", captions[video["video_id"]]


class Vatex(Videos):
    """Ten seconds with ten English captions each."""

    name = "vatex"
    licence = "CC BY 4.0 of the captions; the videos are YouTube's users'"
    attribution = "VATEX by Wang et al."

    def told(self, split: str) -> Iterable[tuple[str, Any]]:
        there = names_in(str(self.folder / "videos"))
        part = "training" if split == "train" else "validation"
        for one in read_json(self.folder / f"vatex_{part}_v1.0.json"):
            if f"{one['videoID']}.mp4" in there:
                yield f"videos/{one['videoID']}.mp4", [one_space(caption) for caption in one["enCap"]]


class WebVid(Videos):
    name = "webvid"
    licence = "see the set's own page; the videos are their owners'"
    attribution = "WebVid-10M by Bain et al."

    def told(self, split: str) -> Iterable[tuple[str, Any]]:
        part = "train" if split == "train" else "val"
        for row in rows_of_table(self.folder / f"results_10M_{part}.csv"):
            if f"{row['videoid']}.mp4" in names_in(str(self.folder / "videos" / row["page_dir"])):
                yield f"videos/{row['page_dir']}/{row['videoid']}.mp4", [one_space(row["name"])]


class Ucf101(Videos):
    """Actions, by the first of the three published splits."""

    name = "ucf101"
    licence = "see the set's own page; the videos are YouTube's users'"
    attribution = "UCF101 by Soomro et al."
    field = "label"

    def told(self, split: str) -> Iterable[tuple[str, Any]]:
        for line in read_lines(self.folder / f"ucfTrainTestlist/{split}list01.txt"):
            file = line.split()[0]
            spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", file.split("/")[0])  # ApplyEyeMakeup
            yield f"UCF-101/{file}", spaced.lower()


class SomethingSomething(Videos):
    """What somebody does with some thing."""

    name = "something_something_v2"
    licence = "for research"
    attribution = "Something-Something v2 by Goyal et al."
    field = "label"

    def told(self, split: str) -> Iterable[tuple[str, Any]]:
        for one in read_json(self.folder / f"labels/{'train' if split == 'train' else 'validation'}.json"):
            template = one["template"].replace("[", "").replace("]", "").lower()
            yield f"20bn-something-something-v2/{one['id']}.webm", template


class MsrVttQa(Videos):
    """questions [[question, answer], ...]"""

    name = "msrvtt_qa"
    licence = "see the set's own page; the videos are YouTube's users'"
    attribution = "MSRVTT-QA by Xu et al."
    field = "questions"

    def files(self) -> dict[int, str]:
        """Number of a video -> its file, where names do not follow from numbers."""
        return {}

    def told(self, split: str) -> Iterable[tuple[str, Any]]:
        asked: dict[int, list[list[str]]] = {}
        for one in read_json(self.folder / f"{split}_qa.json"):
            asked.setdefault(one["video_id"], []).append([one_space(one["question"]), one_space(one["answer"])])
        files = self.files()
        for number, questions in asked.items():
            yield files[number] if files else f"videos/video{number}.mp4", questions


class MsvdQa(MsrVttQa):
    name = "msvd_qa"
    attribution = "MSVD-QA by Xu et al."

    def files(self) -> dict[int, str]:
        pairs = (line.split() for line in read_lines(self.folder / "youtube_mapping.txt"))
        return {int(number.removeprefix("vid")): f"YouTubeClips/{name}.avi" for name, number in pairs}
