"""A folder of your own recordings, without what is said in them: what a codec is trained on.

Sound files (WAV; FLAC, MP3, Ogg with the package soundfile) in any subfolders, of any rate, length and number of
channels. What lies in a folder train/ or test/ at the top is of that split; of the rest, one file in twenty is held
out, by its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mio_jax.data.sources.base import hash_share
from mio_jax.data.sources.folder import FolderSource
from mio_jax.data.sources.speech import ENDINGS
from mio_tokenizers.audio.io import read_audio

HELD_OUT = 0.05


class Recordings(FolderSource):
    """id, audio (mono, at its own rate). A file that is silent or unreadable is set aside with the reason."""

    name = "recordings"
    licence = "your own"
    attribution = "yours"
    media = ("audio",)

    def items(self, split: str) -> Sequence[str]:
        found = sorted(path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
        sounds = [path for path in found if path.suffix.lower() in ENDINGS]
        drawn = {path: "test" if hash_share(path.as_posix(), self.name) < HELD_OUT else "train" for path in sounds}
        drawn |= {path: path.parts[0] for path in sounds if path.parts[0] in self.splits}
        return [path.as_posix() for path in sounds if drawn[path] == split]

    def example(self, split: str, item: str) -> dict[str, Any]:
        return {"id": self.id(split, item), "audio": read_audio(self.folder / item)}
