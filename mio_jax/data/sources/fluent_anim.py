"""Microsoft's Fluent animations of emoji, as the npm package @lobehub/fluent-emoji-anim-1 (and -2 to -4) has them.

FOLDER/assets/1f600.webp, ...   or several unpacked packages under FOLDER: npm pack @lobehub/fluent-emoji-anim-1

About half of the pictures move; the others are left out. Names are those of the `emoji` package. One drawing comes in
five skin tones, as man, woman or person: `test` holds out whole drawings, as of OpenMoji.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from mio_jax.data.media.video import frame_times
from mio_jax.data.media.video_reader import open_video
from mio_jax.data.sources.base import hash_share, package_folder
from mio_jax.data.sources.folder import FolderSource
from mio_jax.data.sources.openmoji import EMOJI_STYLE, FULLY_QUALIFIED, TEST_SHARE, base_of, caption_of
from mio_tokenizers.image.io import to_square

HEAD = 21  # bytes of a WebP file up to its flags
MOVES = 0x02  # the flag of an animation


class Animation(NamedTuple):
    file: str  # within the folder
    caption: str
    base: str  # the emoji without skin tone, gender and direction


class FluentAnimations(FolderSource):
    """id, frames uint8 [4, 64, 64, 3] on white, captions [its name], meta/base."""

    name = "fluent_anim"
    licence = "MIT"
    attribution = "Fluent Emoji by Microsoft, packaged by LobeHub; names from Unicode by the emoji package"
    media: ClassVar[tuple[str, ...]] = ("frames",)

    def __init__(self, folder: str | Path, frames: int = 4, size: int = 64) -> None:
        super().__init__(folder)
        self.frames, self.size = frames, size

    def items(self, split: str) -> Sequence[Animation]:
        found = []
        for path in sorted(self.folder.rglob("*.webp")):
            emoji = emoji_of(path.stem)
            caption = names().get(emoji.replace(EMOJI_STYLE, ""))
            if caption and moves(path):
                one = Animation(str(path.relative_to(self.folder)), caption, base_of(emoji))
                if (hash_share(one.base, self.name) < TEST_SHARE) == (split == "test"):
                    found.append(one)
        return found

    def example(self, split: str, item: Animation) -> dict[str, Any]:
        video = open_video(self.folder / item.file)
        shown = video[frame_times(len(video), self.frames).astype(int)]
        return {
            "id": self.id(split, Path(item.file).stem),
            "frames": np.stack([to_square(frame, self.size) for frame in shown]),
            "captions": [item.caption],
            "meta/base": item.base,
        }


def emoji_of(stem: str) -> str:
    """ "1f3c3-1f3fe" -> the emoji of these code points; "" for a name that is none."""
    try:
        return "".join(chr(int(part, 16)) for part in stem.split("-"))
    except (ValueError, OverflowError):  # three flags of regions are spelt in another way
        return ""


def moves(path: Path) -> bool:
    """Whether a WebP file says that it is an animation."""
    with open(path, "rb") as file:
        head = file.read(HEAD)
    return head[8:16] == b"WEBPVP8X" and len(head) == HEAD and bool(head[-1] & MOVES)


@functools.cache
def names() -> dict[str, str]:
    """Emoji without its style mark -> its English name."""
    package_folder("emoji", "emoji")
    import emoji

    return {
        string.replace(EMOJI_STYLE, ""): caption_of(told["en"])
        for string, told in emoji.EMOJI_DATA.items()
        if told["status"] == FULLY_QUALIFIED
    }
