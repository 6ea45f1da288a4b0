"""The target side: what the decoder reads, and what it is to say, in each modality.

A decoder reads what it is to say one place later, behind a start token. Pictures and sounds come as codes of their
tokenizers (`targets/image/codes`, `targets/audio/codes`), so that a model needs no tokenizer.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mio_jax.errors import MioError
from mio_jax.nn.encoder_decoder import Embedded
from mio_jax.recipes.unified_io2.inputs import Batch, required
from mio_jax.recipes.unified_io2.spec import INPUTS, RESERVED, TARGETS, UnifiedIO2Spec

START = 0  # also padding


class Said(NamedTuple):
    """What a modality is to say, and what it is told meanwhile. All [B, T], int32 but for the weights.

    Attributes:
      inputs: token ids that the decoder reads.
      targets: token ids that it is to say.
      weights: float32, of each target in the loss.
      mask: bool, places that hold a token.
      positions: places within the text, the picture or the sound.
      segments: who sees whom: texts of one example do not see each other.
    """

    inputs: jax.Array
    targets: jax.Array
    weights: jax.Array
    mask: jax.Array
    positions: jax.Array
    segments: jax.Array


class Wanted(NamedTuple):
    """What the loss needs of a modality's targets, all [B, T]: int32 ids to be said, and their float32 weights."""

    targets: jax.Array
    weights: jax.Array


class Targets(NamedTuple):
    """All that a decoder needs of a batch: its row, and the modalities in it, in order, with their lengths."""

    row: Embedded
    said: dict[str, Said]

    @property
    def lengths(self) -> dict[str, int]:
        return {name: said.targets.shape[1] for name, said in self.said.items()}

    def split(self, hidden: jax.Array) -> dict[str, jax.Array]:
        """States of the row [B, T, D] by modality."""
        parts, start = {}, 0
        for name, length in self.lengths.items():
            parts[name] = hidden[:, start : start + length]
            start += length
        return parts


def shifted(targets: jax.Array) -> jax.Array:
    """What the decoder reads: [B, T] one place later, after the start token."""
    return jnp.concatenate([jnp.full_like(targets[:, :1], START), targets[:, :-1]], axis=1)


def said_text(batch: Batch) -> Said:
    """A text whose tokens sum to 1 or less (nothing but the end of the sequence) is no one's target."""
    inputs, targets, mask, positions, segments = (
        required(batch, f"targets/text/{name}") for name in ("inputs", "targets", "mask", "pos_ids", "segment_ids")
    )
    says = (targets * mask).sum(axis=1, keepdims=True) > 1
    return Said(inputs, targets, (mask * says).astype(jnp.float32), mask.astype(bool), positions, segments)


def said_codes(spec: UnifiedIO2Spec, modality: str, batch: Batch) -> Said:
    """Codes int32 [B, T] in the order in which they are said: a picture's row by row, a sound's time by time.

    Raises:
      MioError: no codes, or another number of them than this model says.
    """
    name = f"targets/{modality}/codes"
    raw = f"targets/{modality}/{modality}"
    if name not in batch and raw in batch:
        raise MioError(f"the batch has {raw!r} and no {name!r}: run the {modality} tokenizer over it first")
    codes = required(batch, name)
    if codes.shape[1] != spec.tokens_of(modality):
        raise MioError(
            f"{name} has {codes.shape[1]} codes an example; this model says {spec.tokens_of(modality)} "
            f"(a grid of {' x '.join(map(str, spec.target_grid(modality)))})"
        )
    mask = batch.get(f"targets/{modality}/mask", jnp.ones_like(codes))
    weights = batch.get(f"targets/{modality}/loss_mask", mask)
    positions = jnp.broadcast_to(jnp.arange(codes.shape[1]), codes.shape)
    targets = codes + RESERVED
    return Said(
        shifted(targets), targets, weights.astype(jnp.float32), mask.astype(bool), positions, jnp.zeros_like(codes)
    )


def present(spec: UnifiedIO2Spec, side: str, batch: Batch) -> list[str]:
    """The modalities of a side that the batch brings, in the order of `spec`'s sequences.

    Raises:
      MioError: one that this model was not built with, or none.
    """
    brought = {name.split("/")[1] for name in batch if name.split("/")[0] == side}
    built = spec.input_modalities if side == "inputs" else spec.target_modalities
    unknown = sorted(brought - set(built))
    if unknown:
        raise MioError(
            f"the batch has {side} of {', '.join(unknown)}, and this model was built with {', '.join(built)}"
        )
    if not brought:
        raise MioError(f"the batch has no {side}; this model takes {', '.join(built)}")
    return [name for name in (INPUTS if side == "inputs" else TARGETS) if name in brought]
