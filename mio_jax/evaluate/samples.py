"""Held-out examples in and out, as files that the report shows: pictures, sounds and text."""

from __future__ import annotations

import json
import os
import shutil
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mio_jax.evaluate.context import Context
from mio_jax.protocols import Direction, Generated, Segment
from mio_tokenizers.base import Audio
from mio_tokenizers.image.io import mask_picture

if TYPE_CHECKING:
    from mio_jax.data.records import Record


def slug(direction: str) -> str:
    """Folder name of a direction: "image+question->text" -> "image_question_to_text"."""
    words = direction.replace("->", "_to_")
    return "_".join("".join(c if c.isalnum() else " " for c in words).split())


class SampleWriter:
    """Collects the examples of one direction and puts them in place whole, instead of what was there."""

    def __init__(self, run_dir: Path, direction: Direction, context: Context) -> None:
        self._folder = run_dir / "samples" / slug(direction.name)
        self._partial = self._folder.with_name(self._folder.name + ".partial")
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        self._direction, self._context = direction, context
        self._entries: list[dict[str, Any]] = []

    def add(self, record: Record, answer: Generated, note: str) -> None:
        number = len(self._entries)
        shown = self._direction.options.get("shown", self._direction.prompt)
        self._entries.append(
            {
                "inputs": self._items(shown(record), record, f"{number:02d}_in"),
                "outputs": self._items(answer.segments, {}, f"{number:02d}_out"),
                "reference": self._items(self._direction.target(record), record, f"{number:02d}_reference"),
                "note": note or answer.error,
            }
        )

    def finish(self) -> None:
        (self._partial / "samples.json").write_text(
            json.dumps(self._entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        shutil.rmtree(self._folder, ignore_errors=True)
        os.replace(self._partial, self._folder)

    def _items(self, segments: Sequence[Segment], record: Record, stem: str) -> list[dict[str, str]]:
        items = []
        for number, segment in enumerate(segments):
            if segment.kind == "text":
                items.append({"kind": "text", "text": str(segment.value)})
                continue
            medium = self._medium(segment, record)
            name = f"{stem}_{number}.{'png' if segment.kind == 'image' else 'wav'}"
            (write_png if segment.kind == "image" else write_wav)(self._partial / name, medium)
            items.append({"kind": segment.kind, "file": name})
        return items

    def _medium(self, segment: Segment, record: Record) -> Any:
        """What the codes stand for: the example's own medium where they are the record's, else what they decode to."""
        field = next((name for name, value in record.items() if value is segment.value), None)
        if field is not None:
            raw = self._context.raw_of(self._direction, [record], field)[0]
            if field == "mask":
                return mask_picture(raw)
            return raw
        if segment.kind == "image":
            return self._context.pictures([segment.value])[0]
        return self._context.sounds([segment.value])[0]


def write_png(path: Path, picture: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(picture).save(path)


def write_wav(path: Path, sound: Audio) -> None:
    """16 bits a sample; what is louder than 1 is clipped."""
    samples = (np.clip(np.asarray(sound.samples), -1, 1) * 32767).round().astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sound.rate)
        file.writeframes(samples.tobytes())
