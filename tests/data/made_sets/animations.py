"""Small made-up sets of videos: animated pictures, and videos with what is told of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

FLAGS = ("1f1e6-1f1eb", "1f3f4-e0067-fe0f")  # still pictures; the second has no name
MOVING = ("1f600", "1f603", "1f3c3-1f3fe", "1f3c3-200d-2640-fe0f", "1f415", "1f408", "1f30a", "1f47b")
CUT = 20  # frames before the cut


def animation(path: Path, frames: np.ndarray, duration: int = 40) -> None:
    """uint8 [n, height, width, 3] as a lossless WebP."""
    first, *rest = [Image.fromarray(frame) for frame in frames]
    path.parent.mkdir(parents=True, exist_ok=True)
    first.save(path, save_all=True, append_images=rest, duration=duration, loop=0, lossless=True)


def fluent_anim(folder: Path) -> Path:
    for number, stem in enumerate(MOVING):
        frames = np.zeros((8, 20, 20, 3), np.uint8) + np.arange(8, dtype=np.uint8)[:, None, None, None] * 30
        frames[..., 0] = number
        animation(folder / "assets" / f"{stem}.webp", frames)
    for stem in FLAGS:
        Image.new("RGB", (20, 20)).save(folder / "assets" / f"{stem}.webp", lossless=True)
    return folder


def two_scenes() -> np.ndarray:
    """uint8 [50, 8, 8, 3]: red up to the cut, then blue."""
    frames = np.zeros((50, 8, 8, 3), np.uint8)
    frames[:CUT, ..., 0], frames[CUT:, ..., 2] = 250, 250
    frames[:, 0, 0] = np.arange(50)[:, None]  # frames that are equal are stored as one
    return frames


def video_documents(folder: Path) -> Path:
    """Nothing is known of the third video."""
    animation(folder / "cooking" / "soup.webp", two_scenes())
    animation(folder / "cooking" / "stew.webp", two_scenes())
    animation(folder / "alone.webp", two_scenes())
    told = "\ufeff1\n00:00:00,000 --> 00:00:00,400\nCut the onions.\n\n"
    told += "2\r\n00:00:00,500 --> 00:00:00,900 align:start\r\nStir,\r\n\r\n"
    told += "3\n00:01.600 --> 00:01.900\nuntil it\n<i>boils</i>.\n\n4\n00:01.900 --> 00:02.000\n\n"
    (folder / "cooking" / "soup.srt").write_text(told, encoding="utf-8", newline="")
    rows = [(1.6, 1.9, "until it boils."), (0, 0.4, "Cut  the onions."), (0.5, 0.9, "Stir,"), (9, 9, "")]
    lines = [json.dumps({"start": start, "end": end, "text": text}) for start, end, text in rows]
    (folder / "cooking" / "stew.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder
