"""A small source, and small tokenizers that really tokenise: they quantise, decode, and have fingerprints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np

from mio_jax.config import DataConfig, RunConfig
from mio_jax.errors import MioError
from mio_jax.protocols import Example, Segment
from mio_tokenizers.base import Audio, fingerprint_of

LEVELS = 16


class BlockMeans:
    """Pictures: the mean brightness of each of 4 x 4 blocks, in `levels` steps."""

    modality = "image"

    def __init__(self, levels: int = LEVELS) -> None:
        self.vocab_size = levels
        self.fingerprint = fingerprint_of("block_means", {"levels": levels})

    def encode(self, media: np.ndarray) -> np.ndarray:
        if media.ndim != 3:
            raise MioError(f"a picture is [height, width, 3], not {media.shape}")
        side = media.shape[0] // 4
        means = media.mean(-1).reshape(4, side, 4, side).mean((1, 3)) / 256
        return (means * self.vocab_size).astype(np.int32).reshape(-1)

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        grey = ((np.asarray(tokens) + 0.5) / self.vocab_size * 256).astype(np.uint8).reshape(4, 4)
        return np.repeat(grey.repeat(4, 0).repeat(4, 1)[..., None], 3, axis=-1)


class Loudness:
    """Sounds: the loudness of 10 frames, a coarse and a fine layer."""

    modality = "audio"
    vocab_size = LEVELS
    fingerprint = fingerprint_of("loudness", {"levels": LEVELS})

    def encode_batch(self, media: list[Audio]) -> np.ndarray:
        frames = np.stack([np.abs(a.samples).reshape(10, -1).mean(1) for a in media])
        fine = np.minimum((frames * LEVELS**2).astype(np.int32), LEVELS**2 - 1)
        return np.stack([fine // LEVELS, fine % LEVELS], axis=1).astype(np.int32)

    def encode(self, media: Audio) -> np.ndarray:
        return self.encode_batch([media])[0]

    def decode(self, tokens: np.ndarray) -> Audio:
        return Audio(np.repeat((tokens[0] * LEVELS + tokens[1]) / LEVELS**2, 160).astype(np.float32), 16000)


class Bytes:
    modality = "text"
    vocab_size = 256
    fingerprint = fingerprint_of("bytes", {})

    def encode(self, media: str) -> np.ndarray:
        return np.frombuffer(media.encode(), np.uint8).astype(np.int32)

    def decode(self, tokens: np.ndarray) -> str:
        return bytes(np.asarray(tokens, np.uint8)).decode()


def tokenizers(image: Any = None) -> Any:
    made = SimpleNamespace(text=Bytes(), image=image or BlockMeans(), audio=Loudness(), sentinels=0)
    made.fingerprints = {name: getattr(made, name).fingerprint for name in ("text", "image", "audio")}
    return made


class Toy:
    """`size` training examples with every kind of field."""

    name = "toy"
    version = "1"
    licence = "CC0"
    attribution = "nobody"
    media: tuple[str, ...] = ("image", "mask", "audio")
    splits: tuple[str, ...] = ("train", "test")
    size = 150
    bad = -1  # the training example whose picture is broken
    made: ClassVar[list[int]] = []  # numbers of the training examples made, over all readers

    def count(self, split: str) -> int:
        return self.size if split == "train" else 12

    def examples(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
        for number in range(self.count(split))[start:stop]:
            if split == "train":
                self.made.append(number)
            rng = np.random.default_rng([number, split == "test"])
            image = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
            yield {
                "id": f"toy/{split}/{number}",
                "image": image[0] if number == self.bad else image,
                "mask": image[..., 0] > 99,
                "audio": Audio(rng.uniform(-1, 1, 1600).astype(np.float32), 16000),
                "caption": f"number {number}",
                "captions": {"en": f"number {number}", "zh": f"第{number}"},
                "meta/parity": "odd" if number % 2 else "even",
            }


def encode(segments: list[Segment]) -> Example:
    """Text as bytes (modality 0), pictures from 300 (1), sounds from 400 (2); unsupervised tokens weigh nothing."""
    tokens, modalities, weights = [], [], []
    for segment in segments:
        if segment.kind == "text":
            ids, modality = Bytes().encode(segment.value), 0
        else:
            base, modality = (300, 1) if segment.kind == "image" else (400, 2)
            ids = np.asarray(segment.value).reshape(-1) + base
        tokens.append(ids)
        modalities.append(np.full(len(ids), modality, np.int32))
        weights.append(np.full(len(ids), float(segment.supervised), np.float32))
    return Example(*(np.concatenate(part) for part in (tokens, modalities, weights)))


Formatter = Callable[[dict[str, Any], np.random.Generator, str], list[Segment]]


def config(records_dir: Any, **data: Any) -> RunConfig:
    settings = {"length": 96, "packing_bins": 4, **data}
    return RunConfig(data=DataConfig(records_dir=str(records_dir), **settings))
