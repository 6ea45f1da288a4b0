"""Several examples in one row of a transformer, packed behind the front ends and taken apart before the heads.

Vision encoders, tokenizers and heads see ordinary batches of examples; the trunk between them sees rows in which the
valid tokens of several examples stand side by side, kept apart by segment ids (Unified-IO 2, section 3.4 and appendix
"dynamic packing"). Which example goes to which row is said by the data side; where its tokens come to lie is worked out
here from the masks. Any number of examples may share a row.

Both ways are gathers, and so are their gradients: a packing is one to one, so the gradient of each way is the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.errors import MioError
from mio_jax.nn.encoder_decoder import Embedded


class Packing(NamedTuple):
    """Where the tokens of a batch of examples lie in packed rows; a pytree of arrays of static shape.

    G groups, each with E examples of S places in all sequences together, and R rows of T places.

    source: int32 [G, R * T], which place of the group's examples (of E * S) stands here; E * S where none does.
    slot: int32 [G, E * S], where it stands (of R * T); R * T for padding and for what found no room.
    segment_ids: int32 [G * R, T], 1 + the number of the example in its group; 0 is padding.
    overflow: int32 scalar, valid tokens that found no room: lost to this step. 0 if the data side counted well.
    """

    source: jax.Array
    slot: jax.Array
    segment_ids: jax.Array
    overflow: jax.Array

    @property
    def fill(self) -> jax.Array:
        """Share of the packed places that hold a token, float32 scalar."""
        return (self.segment_ids > 0).mean(dtype=jnp.float32)


def plan_packing(
    masks: Sequence[jax.Array], rows: jax.Array, *, num_rows: int, length: int, groups: int = 1
) -> Packing:
    """Lays the valid tokens of every example side by side in its row: its sequences in order, examples in theirs.

    Args:
      masks: bool or int [examples, places], one for each sequence of an example (text, image, ...); 0 is padding.
      rows: int32 [examples], the row of each example in 0..num_rows - 1; negative: a blank that is packed nowhere.
      num_rows, length: the packed batch is [num_rows, length].
      groups: consecutive groups of examples and rows that are packed by themselves, so that a batch sharded in as many
        parts (or a divisor of them) exchanges nothing. An example must be given a row of its own group.

    Raises:
      MioError: masks of different numbers of examples, or groups that do not divide examples and rows.
    """
    counts = {mask.shape[0] for mask in masks} | {rows.shape[0]}
    if len(counts) != 1:
        raise MioError(f"packing needs masks and rows of the same examples, and they have {sorted(counts)} of them")
    examples = counts.pop()
    if examples % groups or num_rows % groups:
        raise MioError(f"{groups} groups do not divide {examples} examples and {num_rows} rows")
    per_group = num_rows // groups
    first = jnp.arange(groups, dtype=jnp.int32)[:, None] * per_group
    row = rows.astype(jnp.int32).reshape(groups, -1)
    row = jnp.where(row < 0, -1, row - first)
    row = jnp.where((row >= 0) & (row < per_group), row, -1)
    valid = jnp.concatenate([mask.astype(bool) for mask in masks], axis=1).reshape(groups, examples // groups, -1)
    wanted = valid & (rows.reshape(groups, -1) >= 0)[..., None]
    make = jax.vmap(partial(_plan_group, num_rows=per_group, length=length))
    source, slot, segments, placed = make(valid, row)
    overflow = wanted.sum(dtype=jnp.int32) - placed.sum(dtype=jnp.int32)
    return Packing(source, slot, segments.reshape(num_rows, length), overflow)


def _plan_group(
    valid: jax.Array, row: jax.Array, *, num_rows: int, length: int
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    examples, places = valid.shape
    count = valid.sum(axis=1, dtype=jnp.int32)
    number = jnp.arange(examples)
    before = (row[:, None] == row[None, :]) & (number[None, :] < number[:, None])
    start = jnp.where(before, count[None, :], 0).sum(axis=1, dtype=jnp.int32)
    place = start[:, None] + jnp.cumsum(valid, axis=1, dtype=jnp.int32) - 1
    fits = valid & (row >= 0)[:, None] & (place < length)
    slot = jnp.where(fits, row[:, None] * length + place, num_rows * length).reshape(-1)
    origin = jnp.arange(examples * places, dtype=jnp.int32)
    source = jnp.full(num_rows * length, examples * places, jnp.int32).at[slot].set(origin, mode="drop")
    segments = jnp.where(source < examples * places, source // places + 1, 0)
    return source, slot, segments, fits.sum(dtype=jnp.int32)


def pack(packing: Packing, sequences: Sequence[jax.Array]) -> jax.Array:
    """[examples, places, ...] of every sequence, in the order of the masks -> [num_rows, length, ...].

    For embeddings, rotary rows, modality ids: anything with a value for every token. Padding is 0. Sequences are
    concatenated, so all have one dtype and one shape behind the places.
    """
    joined = jnp.concatenate(list(sequences), axis=1)
    groups, spots = packing.slot.shape
    if joined.shape[0] * joined.shape[1] != groups * spots:
        raise MioError(f"sequences of {joined.shape[:2]} places do not belong to this packing of {groups} x {spots}")
    inner = joined.shape[2:]
    packed = _move(joined.reshape(groups, spots, *inner), packing.source, packing.slot)
    return packed.reshape(*packing.segment_ids.shape, *inner)


def unpack(packing: Packing, packed: jax.Array, lengths: Sequence[int]) -> list[jax.Array]:
    """The inverse: [num_rows, length, ...] -> [examples, places, ...] of every sequence, 0 where nothing was packed.

    `lengths` are the places of every sequence, in the order of the masks.
    """
    groups, spots = packing.slot.shape
    if packed.shape[:2] != packing.segment_ids.shape:
        raise MioError(f"rows of {packed.shape[:2]} do not belong to this packing of {packing.segment_ids.shape}")
    total = sum(lengths)
    if not total or spots % total:
        raise MioError(f"sequences of {list(lengths)} places do not make up the {spots} of this packing's groups")
    inner = packed.shape[2:]
    moved = _move(packed.reshape(groups, -1, *inner), packing.slot, packing.source)
    whole = moved.reshape(-1, total, *inner)
    return jnp.split(whole, np.cumsum(lengths)[:-1].tolist(), axis=1)


def _move(values: jax.Array, take: jax.Array, inverse: jax.Array) -> jax.Array:
    """values [G, n, ...] at take [G, m]; 0 where it points behind the end. `inverse` [G, n] leads back."""
    if not jnp.issubdtype(values.dtype, jnp.floating):
        return _take(values, take)
    return _move_floats(values, take, inverse)


def _take(values: jax.Array, take: jax.Array) -> jax.Array:
    return jax.vmap(lambda x, i: jnp.take(x, i, axis=0, mode="fill", fill_value=0))(values, take)


@jax.custom_vjp
def _move_floats(values: jax.Array, take: jax.Array, inverse: jax.Array) -> jax.Array:
    return _take(values, take)


def _forward(values: jax.Array, take: jax.Array, inverse: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _take(values, take), inverse


def _backward(inverse: jax.Array, gradient: jax.Array) -> tuple[jax.Array, None, None]:
    # Left to itself, the gradient of a gather is a scatter, which accelerators do slowly.
    return _take(gradient, inverse), None, None


_move_floats.defvjp(_forward, _backward)


def pack_embedded(packing: Packing, row: Embedded) -> Embedded:
    """Rows of one example each -> packed rows, for the same stacks: attention then keeps examples apart.

    Rotary angles go with their tokens, so places within an example stay what they were.
    """
    number = packing.segment_ids - 1
    each = packing.slot.shape[1] // row.mask.shape[1]  # examples of a group
    states, cos, sin, segments = (pack(packing, [x]) for x in (row.states, *row.angles, row.segments))
    # Two of an example that see each other still do, and none of another example has their number.
    return Embedded(states, number >= 0, (cos, sin), segments * each + number, number)


def pack_pairs(packing: Packing, allowed: jax.Array) -> jax.Array:
    """What tokens of an example may see of it, bool [..., examples, places, places] -> [..., num_rows, length, length].

    Pairs of different examples, which segments keep apart already, are False.
    """
    *outer, examples, places, _ = allowed.shape
    groups, spots = packing.slot.shape
    num_rows, length = packing.segment_ids.shape
    if examples * places != groups * spots:
        raise MioError(f"{examples} x {places} places do not belong to this packing of {groups} x {spots}")
    number = packing.segment_ids
    same = (number[:, :, None] == number[:, None, :]) & (number > 0)[:, :, None]
    source = packing.source.reshape(num_rows, length)
    # A row's place in the flat batch: groups count their examples by themselves.
    group = jnp.repeat(jnp.arange(groups), num_rows // groups)[:, None]
    queries = jnp.where(number > 0, source + group * spots, 0)
    seen = allowed.reshape(*outer, examples * places, places)[..., queries, :]
    keys = jnp.where(number > 0, source % places, 0)[:, None, :]
    keys = jnp.broadcast_to(keys, (*outer, num_rows, length, length))
    return jnp.take_along_axis(seen, keys, axis=-1) & same


def found_room(packing: Packing, lengths: Sequence[int]) -> list[jax.Array]:
    """bool [examples, places] of every sequence: places whose token is in a packed row."""
    total = sum(lengths)
    placed = (packing.slot < packing.source.shape[1]).reshape(-1, total)
    return jnp.split(placed, np.cumsum(lengths)[:-1].tolist(), axis=1)
