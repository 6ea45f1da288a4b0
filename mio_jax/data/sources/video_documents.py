"""Videos of your own with what is told in or of them, as documents in which frames and texts take turns.

FOLDER/cooking.mp4, cooking.srt (or .vtt, .jsonl), ...   in any folders below: each video with its times and texts

A .jsonl file has a line {"start": 1.5, "end": 4.0, "text": "..."} for each text: a transcript, captions of clips, or
both merged. Videos without such a file are left out. 2 % of the videos are "test".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from mio_jax.data.media.video_documents import SUBTITLES, interleaved, read_told
from mio_jax.data.media.video_reader import open_video
from mio_jax.data.sources.folder import FolderSource

VIDEOS = (".mp4", ".webm", ".mkv", ".avi", ".mov", ".webp", ".gif")
MOST = 16  # clips of a document: their codes alone fill a fifth of MIO's rows; what comes after them is left out


class VideoDocuments(FolderSource):
    """id, pictures [uint8 [height, width, 3], ...], parts [number of a picture or text, ...], scores []."""

    name = "video_documents"
    licence = "yours"
    attribution = "yours"
    media: ClassVar[tuple[str, ...]] = ("pictures",)

    def items(self, split: str) -> Sequence[tuple[str, str]]:
        files = sorted(file for file in self.folder.rglob("*") if file.suffix.lower() in VIDEOS)
        pairs = [(file, next(filter(Path.is_file, map(file.with_suffix, SUBTITLES)), None)) for file in files]
        named = [(str(a.relative_to(self.folder)), str(b.relative_to(self.folder))) for a, b in pairs if b]
        return [(video, told) for video, told in named if self.kept(split, video)]

    def example(self, split: str, item: tuple[str, str]) -> dict[str, Any]:
        video, told = item
        made = interleaved(open_video(self.folder / video), read_told(self.folder / told), MOST)
        return {"id": self.id(split, video.rsplit(".", 1)[0]), **made, "scores": []}
