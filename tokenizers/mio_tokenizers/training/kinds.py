"""The table of trainable tokenizers: what a kind's training module must offer, and how it is reached."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Protocol, cast

import numpy as np

from mio_jax.errors import MioError
from mio_tokenizers.base import Tokenizer
from mio_tokenizers.training.config import KINDS, TokenizerTrainConfig

Media = Mapping[str, np.ndarray]  # "train/openmoji.image" -> array [n, ...]; text: see `mio_tokenizers.text.training`


class TrainableKind(Protocol):
    """Public names of a kind's training module (the values of `KINDS`)."""

    Config: type[TokenizerTrainConfig]

    def train(self, config: Any, media: Media) -> Tokenizer:
        """Trains, or continues in `config.work_dir`; writes `config.out` and returns the tokenizer loaded from it."""
        ...

    def evaluate(self, config: Any, tokenizer: Any, media: Media) -> dict[str, Any]:
        """Reconstruction figures on the held-out ("test/...") arrays; JSON-able."""
        ...


def trainable(kind: str) -> TrainableKind:
    """The training module of a kind. Raises MioError on an unknown one."""
    if kind not in KINDS:
        raise MioError(f"unknown kind of tokenizer {kind!r}; there are: {', '.join(KINDS)}")
    return cast(TrainableKind, importlib.import_module(KINDS[kind]))


def select(media: Media, config: TokenizerTrainConfig, split: str) -> list[np.ndarray]:
    """The arrays of `config.media` for a split, in that order. Raises MioError naming the one that is missing."""
    missing = [name for name in config.media if f"{split}/{name}" not in media]
    if missing:
        raise MioError(
            f"the media of {config.name!r} lack {split}/{missing[0]}; they hold {', '.join(sorted(media)) or 'nothing'}"
        )
    return [media[f"{split}/{name}"] for name in config.media]
