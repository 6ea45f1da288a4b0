"""The one protocol of every tokenizer: media to int32 tokens and back, and a fingerprint of what does it."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np


class Audio(NamedTuple):
    """Mono sound: float32 `samples` [n] in [-1, 1] at `rate` Hz."""

    samples: np.ndarray
    rate: int


@runtime_checkable
class Tokenizer(Protocol):
    """encode -> int32 tokens in [0, vocab_size); decode inverts it up to the tokenizer's loss.

    Media and token shapes by modality:
      text: `str` <-> [length]; image: uint8 [height, width, 3] <-> [tokens]; audio: `Audio` <-> [layers, frames]
      (values in [0, codes of one layer)); structured: float32 [n, coordinates] in [0, 1] <-> [n * coordinates].
    """

    modality: str
    vocab_size: int  # of one layer for residual codecs

    @property
    def fingerprint(self) -> str:
        """`kind:16 hex digits` of the weights and settings: equal fingerprints give equal tokens."""
        ...

    def encode(self, media: Any) -> np.ndarray: ...

    def decode(self, tokens: np.ndarray) -> Any: ...


def fingerprint_of(kind: str, settings: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> str:
    """Hash of settings and arrays, independent of key order."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name in sorted(arrays or {}):
        array = np.ascontiguousarray((arrays or {})[name])
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return f"{kind}:{digest.hexdigest()[:16]}"
