"""Which earlier codes of a picture or a sound its decoder may see, where the model's options limit that.

The released models carry these masks along and never apply them, so both options are off by default.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.nn.layers import Patterns
from mio_jax.recipes.unified_io2.spec import UnifiedIO2Spec

ROW, COLUMN, CONV, FULL = range(4)
REACH = 5  # of the neighbourhood, to every side


def layer_kinds(depth: int) -> np.ndarray:
    """The pattern of each layer: a neighbourhood in the last, columns in every fourth from the second, else rows."""
    kinds = np.full(depth, ROW, np.int32)
    kinds[1::4] = COLUMN
    kinds[-1] = CONV
    return kinds


def grid_patterns(length: int, columns: int) -> np.ndarray:
    """bool [4, length, length]: the keys that each query may see, by kind, on a grid counted row by row."""
    q, k = np.arange(length)[:, None], np.arange(length)[None]
    earlier = k <= q
    near = (abs(q // columns - k // columns) <= REACH) & (abs(q % columns - k % columns) <= REACH)
    kinds = (q - k <= columns, (q - k) % columns == 0, near, np.ones_like(earlier))
    return np.stack([earlier & kind for kind in kinds])


def shown(task_mask: jax.Array) -> jax.Array:
    """int or bool [B, T], True: hidden from the encoder -> bool [B, T, T], which decoder inputs may be seen from where.

    A decoder input is the code before its own place. One that the encoder did not see is seen from its own place alone.
    """
    start = jnp.ones_like(task_mask[:, :1], bool)
    known = jnp.concatenate([start, ~task_mask[:, :-1].astype(bool)], axis=1)
    return known[:, :, None] & known[:, None, :] | jnp.eye(task_mask.shape[1], dtype=bool)


def code_patterns(spec: UnifiedIO2Spec, modality: str, task_mask: jax.Array) -> jax.Array:
    """bool [4, B, T, T] of a target modality's codes, by kind, with the dynamic mask where the spec has it."""
    length = task_mask.shape[1]
    columns = spec.target_grid(modality)[1]
    sparse = jnp.asarray(grid_patterns(length, columns) if spec.sparse_patterns else np.ones((4, length, length), bool))
    together = jnp.broadcast_to(sparse[:, None], (4, task_mask.shape[0], length, length))
    return together & shown(task_mask) if spec.dynamic_mask else together


def decoder_patterns(spec: UnifiedIO2Spec, batch: dict[str, jax.Array], lengths: dict[str, int]) -> Patterns | None:
    """The limits of a decoder's row whose modalities are so long, in order; None where no option asks for any.

    Text, and pairs of different modalities, are not limited here.
    """
    if not (spec.sparse_patterns or spec.dynamic_mask):
        return None
    whole, rows = sum(lengths.values()), next(iter(batch.values())).shape[0]
    allowed = jnp.ones((4, rows, whole, whole), bool)
    start = 0
    for modality, length in lengths.items():
        if modality != "text":
            none_hidden = jnp.zeros((rows, length), jnp.int32)
            task_mask = batch.get(f"targets/{modality}/task_mask", none_hidden)
            part = slice(start, start + length)
            allowed = allowed.at[:, :, part, part].set(code_patterns(spec, modality, task_mask))
        start += length
    return Patterns(allowed, jnp.asarray(layer_kinds(spec.decoder_depth)))
