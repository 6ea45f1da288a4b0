"""Text ids as the inputs and targets of an encoder-decoder: end marks, masks, positions, several targets in a row.

All arrays are int32 [length]. Nothing is padded here; `pad` does it where a batch needs one length (specification of
Unified-IO 2, section 11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mio_jax.errors import MioError

PAD, EOS = 0, 1


def _ended(ids: np.ndarray | Sequence[int], max_length: int) -> np.ndarray:
    if max_length < 1:
        raise MioError(f"a text of at most {max_length} tokens has no room for its end mark; it must be 1 or more")
    return np.append(np.asarray(ids, np.int32)[: max_length - 1], np.int32(EOS))


def input_features(ids: np.ndarray | Sequence[int], max_length: int) -> dict[str, np.ndarray]:
    """`tokens` (cut to `max_length` - 1, then EOS), `mask` (1 where a token is not padding), `pos_ids`."""
    tokens = _ended(ids, max_length)
    return {
        "tokens": tokens,
        "mask": (tokens != PAD).astype(np.int32),
        "pos_ids": np.arange(len(tokens), dtype=np.int32),
    }


def target_features(texts: Sequence[np.ndarray | Sequence[int]], max_length: int) -> dict[str, np.ndarray]:
    """One or several target texts of an example, one after another, each with its own EOS.

    `targets`; `inputs` (shifted right by one within each text, beginning with 0); `mask` (0 on a text without any
    token of its own: nothing is learned from an empty answer); `pos_ids` restart and `segment_ids` count 1, 2, ... with
    each text. A text that would exceed `max_length` is cut to the room that is left, and those after it are left out.
    """
    parts: list[np.ndarray] = []
    room = max_length
    for ids in texts:
        part = _ended(ids, max_length if not parts else max(room, 1))
        if parts and (room < 1 or (room == 1 and len(ids))):
            break
        parts.append(part)
        room -= len(part)
    if not parts:
        empty = np.zeros(0, np.int32)
        return dict.fromkeys(("inputs", "targets", "mask", "pos_ids", "segment_ids"), empty)
    learned = [np.full(len(p), int(p.sum() > EOS)) * (p != PAD) for p in parts]
    fields = {
        "inputs": [np.append(PAD, p[:-1]) for p in parts],
        "targets": parts,
        "mask": learned,
        "pos_ids": [np.arange(len(p)) for p in parts],
        "segment_ids": [np.full(len(p), i + 1) for i, p in enumerate(parts)],
    }
    return {name: np.concatenate(arrays).astype(np.int32) for name, arrays in fields.items()}


def pad(features: Mapping[str, np.ndarray], length: int) -> dict[str, np.ndarray]:
    """Every array with zeros behind it up to `length`: padding tokens, mask 0, segment 0. Raises MioError if longer."""
    for name, array in features.items():
        if len(array) > length:
            raise MioError(f"{name} has {len(array)} tokens, more than the {length} of the batch; cut the text first")
    return {name: np.pad(array, (0, length - len(array))) for name, array in features.items()}
