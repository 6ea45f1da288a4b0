"""A text tokenizer of bytes, and a token space of few codes: everything about ids can be counted on fingers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from mio_jax.data.token_space import TokenSpace
from mio_jax.recipes.mio.tokens import mio_token_space

BYTES_AT = 16  # ids below are special


class ByteText:
    """Byte b is id 16 + b."""

    modality = "text"
    vocab_size = BYTES_AT + 256

    def encode(self, media: str) -> np.ndarray:
        return np.frombuffer(media.encode(), np.uint8).astype(np.int32) + BYTES_AT

    def decode(self, tokens: np.ndarray) -> str:
        kept = [int(t) - BYTES_AT for t in tokens if t >= BYTES_AT]
        return bytes(kept).decode(errors="replace")


def tokenizers() -> Any:
    return SimpleNamespace(
        text=ByteText(),
        image=SimpleNamespace(vocab_size=10, tokens=4),
        audio=SimpleNamespace(layer_sizes=(5, 5), n_q=2),
        sentinels=0,
    )


def space() -> TokenSpace:
    """272 text ids, 6 added tokens, 10 image codes in spans of 4, 2 layers of 5 speech codes."""
    return mio_token_space(ByteText.vocab_size, 10, 4, 10, 2)
