"""Toy sets under the names that MIO's tasks read, and small tokenizers that nearly keep what they encode."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from mio_jax.evaluate import sounds
from mio_tokenizers.base import Audio, fingerprint_of
from tests.recipes.mio.fakes import ByteText

SIZE, GRID, LEVELS = 16, 8, 6
RATE, FRAME, FRAMES, LOWEST = 16000, 1600, 5, 48

COLOURS = {"red": (255, 0, 0), "green": (0, 153, 0), "blue": (0, 0, 255), "black": (0, 0, 0), "yellow": (255, 204, 0)}
SHAPES = ("square", "triangle", "bar")
INSTRUMENTS = {"flute": 0.1, "organ": 0.7, "trumpet": 2.0}  # second harmonic over the first
TONES = ("", "light", "dark", "mixed")


class Mosaic:
    """Pictures: GRID x GRID cells, each one of LEVELS**3 colours."""

    modality = "image"
    vocab_size, tokens = LEVELS**3, GRID * GRID
    fingerprint = fingerprint_of("mosaic", {})

    def encode(self, media: np.ndarray) -> np.ndarray:
        side = SIZE // GRID
        cells = media.reshape(GRID, side, GRID, side, 3).mean((1, 3))
        steps = np.round(cells / 255 * (LEVELS - 1)).astype(np.int32)
        return (steps @ np.asarray([LEVELS**2, LEVELS, 1], np.int32)).reshape(-1).astype(np.int32)

    def decode_batch(self, codes: Any) -> np.ndarray:
        codes = np.asarray(codes)
        steps = np.stack([codes // LEVELS**2, codes // LEVELS % LEVELS, codes % LEVELS], -1)
        cells = (steps * (255 / (LEVELS - 1))).astype(np.uint8).reshape(-1, GRID, GRID, 3)
        return cells.repeat(SIZE // GRID, 1).repeat(SIZE // GRID, 2)


class Notes:
    """Sounds: of every frame, the note in one layer and the strength of its second harmonic in the other."""

    modality = "audio"
    vocab_size, n_q, layer_sizes = 40, 2, (40, 40)
    fingerprint = fingerprint_of("notes", {})

    def encode(self, media: Audio) -> np.ndarray:
        note = round(sounds.pitch(media.samples, media.rate))
        spectrum = np.abs(np.fft.rfft(media.samples * np.hanning(media.samples.size)))
        first = round(sounds.hz_of(note) * media.samples.size / media.rate)
        near = [spectrum[h * first - 4 : h * first + 5].max() for h in (1, 2)]
        strength = int(np.clip(near[1] / near[0] * 10, 0, 39))
        return np.asarray([[note - LOWEST] * FRAMES, [strength] * FRAMES], np.int32)

    def decode_batch(self, tokens: Any) -> list[Audio]:
        return [self.decode(codes) for codes in tokens]

    def decode(self, tokens: np.ndarray) -> Audio:
        note, strength = (np.repeat(layer, FRAME) for layer in np.asarray(tokens))
        phase = 2 * np.pi * np.cumsum(sounds.A4_HZ * 2 ** ((note + LOWEST - 69) / 12)) / RATE
        return Audio((0.3 * (np.sin(phase) + strength / 10 * np.sin(2 * phase))).astype(np.float32), RATE)


def tokenizers() -> Any:
    text = ByteText()
    text.fingerprint = fingerprint_of("bytes", {})  # type: ignore[attr-defined]
    made = SimpleNamespace(text=text, image=Mosaic(), audio=Notes(), sentinels=0)
    made.fingerprints = {name: getattr(made, name).fingerprint for name in ("text", "image", "audio")}
    return made


def picture(shape: str, colour: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A shape of one of two sizes somewhere on white, and its mask."""
    y, x = np.mgrid[:SIZE, :SIZE]
    size, cy, cx = int(rng.integers(4, 7)), int(rng.integers(6, 11)), int(rng.integers(6, 11))
    mask = {
        "square": (abs(y - cy) <= size) & (abs(x - cx) <= size),
        "triangle": (abs(x - cx) * 2 <= y - cy + size) & (y <= cy + size),
        "bar": (abs(y - cy) <= 1) & (abs(x - cx) <= size + 1),
    }[shape]
    return np.where(mask[..., None], COLOURS[colour], 255).astype(np.uint8), mask


class ToySet:
    """What the three toy sets have in common: 90 training and 70 test examples drawn from their number."""

    name = ""
    version, licence, attribution = "1", "CC0", "nobody"
    media: tuple[str, ...] = ()
    splits = ("train", "test")

    def count(self, split: str) -> int:
        return 90 if split == "train" else 70

    def examples(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
        for number in range(self.count(split))[start:stop]:
            yield {
                "id": f"{self.name}/{split}/{number}",
                **self.make(number, np.random.default_rng([number, split == "test"])),
            }

    def make(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        raise NotImplementedError


class Emoji(ToySet):
    name, media = "openmoji", ("image", "mask")

    def make(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        shape, colour = SHAPES[number % 3], list(COLOURS)[number // 3 % 5]
        tone = TONES[number % len(TONES)]
        image, mask = picture(shape, colour, rng)
        caption = f"{colour} {shape} {number}"
        return {
            "image": image,
            "mask": mask,
            "caption": caption,
            "captions": {"en": caption},
            "meta/group": shape,
            "meta/tone": tone,
        }


class Shapes(ToySet):
    name, media = "easy_vqa", ("image",)

    def make(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        shape, colour = SHAPES[number % 3], list(COLOURS)[number // 3 % 5]
        asked = list(COLOURS)[int(rng.integers(5))]
        questions = [["what shape is it?", shape], ["what color is it?", colour]]
        questions += [[f"is it {asked}?", "yes" if asked == colour else "no"]]
        return {
            "image": picture(shape, colour, rng)[0],
            "questions": questions,
            "caption": f"a {colour} {shape}",
            "meta/shape": shape,
            "meta/colour": colour,
        }


class Orchestra(ToySet):
    name, media = "instruments", ("audio",)

    def make(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        instrument = list(INSTRUMENTS)[number % 3]
        midi = LOWEST + int(rng.integers(0, 24))
        codes = np.asarray([[midi - LOWEST] * FRAMES, [round(INSTRUMENTS[instrument] * 10)] * FRAMES])
        return {
            "audio": Notes().decode(codes),
            "caption": f"{instrument} playing N{midi}",
            "meta/instrument": instrument,
            "meta/note": f"N{midi}",
            "meta/midi": str(midi),
        }
