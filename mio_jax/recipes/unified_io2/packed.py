"""Dynamic packing: several examples share a row of the trunk; front ends, tables and losses see examples as ever.

Section 3.4 of the paper. Which example goes to which row is an array of the batch; the data side chooses it, by
`packed_sizes`, with any of its packers (`mio_jax.data.packed_batches`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.nn.layers import Patterns
from mio_jax.nn.packing import Packing, found_room, pack, pack_embedded, pack_pairs, plan_packing, unpack
from mio_jax.recipes.unified_io2.inputs import Batch
from mio_jax.recipes.unified_io2.loss import summed_means
from mio_jax.recipes.unified_io2.model import UnifiedIO2
from mio_jax.recipes.unified_io2.spec import UnifiedIO2Spec
from mio_jax.recipes.unified_io2.targets import Said, Targets, Wanted


@dataclass(frozen=True)
class PackedShape:
    """Static shape of packed rows: `rows` of `inputs` and `targets` places, in `groups` that exchange nothing.

    The published lengths are 864 and 1280.
    """

    rows: int
    inputs: int = 864
    targets: int = 1280
    groups: int = 1


class Packed(NamedTuple):
    """By target modality, states [B, T, D] and what they were to say, of the unpacked examples; and both packings.

    Tokens that found no room have state 0 and weight 0; the packings count them.
    """

    hidden: dict[str, jax.Array]
    said: dict[str, Said]
    inputs: Packing
    targets: Packing


def packed_hidden(model: UnifiedIO2, batch: Batch, rows: jax.Array, shape: PackedShape) -> Packed:
    """`model.hidden(batch)` with its trunk run on packed rows.

    Args:
      rows: int32 [B], the packed row of every example; negative: a blank, which is not computed.
    """
    states, targets, encoder, decoder = _packed_states(model, batch, rows, shape)
    [unpacked] = unpack(decoder, states, (targets.row.mask.shape[1],))
    return Packed(targets.split(unpacked), without_lost(targets.said, decoder), encoder, decoder)


def _packed_states(
    model: UnifiedIO2, batch: Batch, rows: jax.Array, shape: PackedShape
) -> tuple[jax.Array, Targets, Packing, Packing]:
    """The decoder's states [rows, places, D], still packed; the unpacked targets; the packings of both sides."""
    inputs, targets = model.embed_inputs(batch), model.embed_targets(batch)

    def plan(mask: jax.Array, length: int) -> Packing:
        return plan_packing([mask], rows, num_rows=shape.rows, length=length, groups=shape.groups)

    encoder, decoder = plan(inputs.mask, shape.inputs), plan(targets.row.mask, shape.targets)
    patterns = model.patterns(batch, targets)
    if patterns is not None:
        patterns = Patterns(pack_pairs(decoder, patterns.allowed), patterns.kinds)
    states = model.trunk(pack_embedded(encoder, inputs), pack_embedded(decoder, targets.row), patterns)
    return states, targets, encoder, decoder


def packed_wanted(said: dict[str, Said], packing: Packing) -> dict[str, Wanted]:
    """By modality, targets and weights [rows, places] of packed rows; weight 0 where another modality stands."""
    targets, weights = (pack(packing, [getattr(one, field) for one in said.values()]) for field in Wanted._fields)
    number = pack(packing, [jnp.full_like(one.targets, n) for n, one in enumerate(said.values(), 1)])
    return {
        name: Wanted(jnp.where(number == n, targets, 0), jnp.where(number == n, weights, 0.0))
        for n, name in enumerate(said, 1)
    }


def without_lost(said: dict[str, Said], packing: Packing) -> dict[str, Said]:
    """The same with weight 0 for targets that found no room in a packed row."""
    room = found_room(packing, [one.targets.shape[1] for one in said.values()])
    pairs = zip(said.items(), room, strict=True)
    return {name: one._replace(weights=one.weights * there) for (name, one), there in pairs}


def packed_loss(
    model: UnifiedIO2, batch: Batch, rows: jax.Array, shape: PackedShape, *, z_loss: float = 0.0
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of `unified_io2.loss`, and beside its sums `overflow/inputs` and `overflow/targets`: tokens lost."""
    # The heads look at packed rows too: there, blanks and absent modalities cost nothing.
    states, targets, encoder, decoder = _packed_states(model, batch, rows, shape)
    hidden = dict.fromkeys(targets.said, states)
    total, sums = summed_means(model, hidden, packed_wanted(targets.said, decoder), z_loss=z_loss)
    lost = {"overflow/inputs": encoder.overflow, "overflow/targets": decoder.overflow}
    return total, sums | {name: count.astype(jnp.float32) for name, count in lost.items()}


def packed_sizes(spec: UnifiedIO2Spec, batch: dict[str, Any]) -> np.ndarray:
    """int [B, 2]: places that every example takes in the encoder's and the decoder's rows.

    Of a batch of the model's keys, as numpy or other arrays: valid tokens and patches, of histories the items that have
    a patch, times the latents of one.
    """
    into, out = np.zeros(1, np.int64), np.zeros(1, np.int64)
    for name, values in batch.items():
        side, modality, what = name.split("/")
        if what != ("codes" if side == "targets" and modality != "text" else "mask"):
            continue
        if side == "targets":
            out = out + np.asarray(batch.get(f"targets/{modality}/mask", np.ones_like(values))).astype(bool).sum(1)
        elif modality.endswith("_history"):
            items = np.asarray(values).astype(bool).any(-1).sum(1)
            into = into + items * spec.resampler(modality).latents
        else:
            into = into + np.asarray(values).astype(bool).sum(1)
    return np.stack(np.broadcast_arrays(into, out), axis=-1)
