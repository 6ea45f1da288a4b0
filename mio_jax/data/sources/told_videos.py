"""Videos for models that see frames as pictures: eight frames of each, or the frames of what is said.

MSVD           FOLDER/AllVideoDescriptions.txt, YouTubeClips/-4wsuPCjDBc_5_15.avi, ...
VideoChat2-IT  FOLDER/video/conversation/videochat2/train.json, ...; videos/videochat2/...: of other sets; those
               that a part's train.json names lie in videos/ under the part's name
HowTo100M      FOLDER/caption.json, videos/2CN8lwkIyUY.mp4, ... (or .webm)
YT-Temporal-180M  FOLDER/WAaKRUoY6Io.mp4, WAaKRUoY6Io.grover.json, ... (or in folders below): the authors' own form

WebVid, MSR-VTT, MSVD-QA and MSRVTT-QA as in `videos`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mio_jax.data.media.video_files import frames_at, read_frames
from mio_jax.data.sources.base import hash_share
from mio_jax.data.sources.files import names_in, one_space, read_json, read_lines
from mio_jax.data.sources.folder import FolderSource
from mio_jax.data.sources.videos import MsrVtt, MsrVttQa, MsvdQa, Videos, WebVid

FRAMES = 8  # the most that MIO shows of a video; which of them depends on the text


class WebVid8(WebVid):
    name = "webvid_8"
    folder_name = "webvid"
    seen = ()
    frames = FRAMES


class MsrVtt8(MsrVtt):
    name = "msrvtt_8"
    folder_name = "msrvtt"
    seen = ()
    frames = FRAMES


class MsrVttQa8(MsrVttQa):
    name = "msrvtt_qa_8"
    folder_name = "msrvtt_qa"
    seen = ()
    frames = FRAMES


class MsvdQa8(MsvdQa):
    name = "msvd_qa_8"
    folder_name = "msvd_qa"
    seen = ()
    frames = FRAMES


class Msvd(Videos):
    """About forty captions each; of the videos in the order of their list the first 1,200 are "train", as usual, and
    those behind the next hundred "test"."""

    name = "msvd"
    licence = "see the set's own page; the videos are YouTube's users'"
    attribution = "MSVD by Chen and Dolan, Microsoft"
    seen = ()
    frames = FRAMES
    parts: ClassVar[dict[str, slice]] = {"train": slice(0, 1200), "test": slice(1300, None)}

    def told(self, split: str) -> Iterable[tuple[str, Any]]:
        captions: dict[str, list[str]] = {}
        for line in read_lines(self.folder / "AllVideoDescriptions.txt"):
            if not line.startswith("#"):
                name, _, said = line.partition(" ")
                captions.setdefault(name, []).append(one_space(said))
        for name in list(captions)[self.parts[split]]:
            yield f"YouTubeClips/{name}.avi", captions[name]


class VideoChat2(Videos):
    """turns [[asked, answered], ...]: the conversations of VideoChat2-IT; 2 % of the videos are "test"."""

    name = "videochat2_it"
    licence = "those of its parts"
    attribution = "VideoChat2-IT by Li et al., OpenGVLab"
    field = "turns"
    seen = ()
    frames = FRAMES

    def told(self, split: str) -> Iterable[tuple[str, Any]]:
        lists = sorted(self.folder.glob("video/conversation/*/train.json"))
        if not lists:
            raise FileNotFoundError(2, "", str(self.folder / "video/conversation/videochat2/train.json"))
        for path in lists:
            part = path.parent.name
            there = names_in(str(self.folder / "videos" / part))
            for one in read_json(path):
                turns = [[f"{qa.get('i', '')} {qa['q']}".strip(), qa["a"].strip()] for qa in one["QA"]]
                if one["video"].split("/")[0] in there and self.kept(split, f"{part}/{one['video']}"):
                    yield f"videos/{part}/{one['video']}", turns

    def example(self, split: str, item: tuple[str, Any]) -> dict[str, Any]:
        made = super().example(split, item)
        return {**made, "id": self.id(split, item[0].removeprefix("videos/"))}


CLIPS = 8  # of a document: more with their words do not fit in a row of 2,800 tokens


class HowTo100M(FolderSource):
    """id, pictures, parts [text or number of a picture, ...], scores []: what is heard, behind the middle of its clip.

    The publication merges speech recognition with captions of BLIP-2 by a language model; neither these texts nor its
    key frames are published, so what is said alone stands here. A video is cut into documents of eight clips.
    """

    name = "howto100m"
    licence = "see the set's own page; the videos are YouTube's users'"
    attribution = "HowTo100M by Miech et al."
    media = ("pictures",)

    def items(self, split: str) -> Sequence[Any]:
        there = names_in(str(self.folder / "videos"))
        found = []
        for key, told in read_json(self.folder / "caption.json").items():
            file = next((f"{key}{ending}" for ending in (".mp4", ".webm", ".mkv") if f"{key}{ending}" in there), "")
            if file and self.kept(split, key):
                clips = list(zip(told["start"], told["end"], map(str, told["text"]), strict=True))
                clips = [(a, b, one_space(said)) for a, b, said in clips if said.strip() and b > a]
                found += [(file, n, clips[n : n + CLIPS]) for n in range(0, len(clips), CLIPS)]
        return found

    def example(self, split: str, item: Any) -> dict[str, Any]:
        file, number, clips = item
        path = self.folder / "videos" / file
        pictures = [read_frames(path, 1, float(start), float(end))[0] for start, end, _ in clips]
        parts = [part for n, (_, _, said) in enumerate(clips) for part in (n, said)]
        key = f"{file.rsplit('.', 1)[0]}-{number}"
        return {"id": self.id(split, key), "pictures": pictures, "parts": parts, "scores": []}


WORDS = 24  # behind a picture: about as many as the publication's 31 tokens


class YtTemporal180M(FolderSource):
    """id, pictures, parts [number of a picture, text, ...], scores []: what is said, behind the middle of its time.

    The texts are the transcripts that were cleaned by the authors' language model; their words have the times of the
    words of speech recognition that they are matched with. Of each video eight clips in a row are a document.
    """

    name = "yt_temporal_180m"
    licence = "the videos are YouTube's users'"
    attribution = "YT-Temporal-180M by Zellers et al."
    media = ("pictures",)

    def items(self, split: str) -> Sequence[str]:
        told = sorted(path for path in self.folder.rglob("*.grover.json") if _video_of(path).is_file())
        names = [path.relative_to(self.folder).as_posix() for path in told]
        return [name for name in names if self.kept(split, name.rsplit("/", 1)[-1])]

    def example(self, split: str, item: str) -> dict[str, Any]:
        told = read_json(self.folder / item)
        heard = [(str(one["word"]), float(one["time"])) for one in told["subtitles"]]
        said = " ".join(str(one["cleanasr"]) for one in told["denoised"]).split()
        times = timed(said, heard)
        chunks = range(0, len(said), WORDS)
        first = int(hash_share(item, self.name) * max(len(chunks) - CLIPS + 1, 1))
        pairs = [(times[n : n + WORDS].mean(), " ".join(said[n : n + WORDS])) for n in chunks[first : first + CLIPS]]
        pictures = list(frames_at(_video_of(self.folder / item), [moment for moment, _ in pairs]))
        parts = [part for n, (_, words) in enumerate(pairs) for part in (n, words)]
        key = Path(item).name.removesuffix(".grover.json")
        return {"id": self.id(split, key), "pictures": pictures, "parts": parts, "scores": []}


def _video_of(told: Path) -> Path:
    return told.with_name(told.name.removesuffix(".grover.json") + ".mp4")


def timed(said: Sequence[str], heard: Sequence[tuple[str, float]]) -> np.ndarray:
    """float64 [words]: when each word of a cleaned text was said, from the words that were heard and their seconds.

    Words that match none lie between those that do. Raises ValueError where none matches.
    """

    def plain(word: str) -> str:
        return "".join(letter for letter in word.lower() if letter.isalnum())

    ours, theirs = [plain(word) for word in said], [plain(word) for word, _ in heard]
    blocks = difflib.SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks()
    pairs = [(block.a + n, heard[block.b + n][1]) for block in blocks for n in range(block.size)]
    if not pairs:
        raise ValueError("no word of the cleaned text is among those that were heard")
    places, seconds = zip(*pairs, strict=True)
    return np.interp(np.arange(len(said)), places, seconds)
