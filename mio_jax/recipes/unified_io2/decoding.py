"""One target modality of a model, bound to inputs that are encoded: a decoder as the decoding engine sees one.

The encoder runs once, and so does what every layer of the decoder makes of its states; a step then embeds one token.
Every sequence begins with the start token (`targets.START`), which is its prompt.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mio_jax.errors import MioError
from mio_jax.nn.base import List, Module, Param
from mio_jax.nn.cache import KVCache
from mio_jax.nn.encoder_decoder import Embedded
from mio_jax.nn.layers import Remembered, apart
from mio_jax.nn.linear import turned_linear
from mio_jax.recipes.unified_io2.inputs import Batch
from mio_jax.recipes.unified_io2.model import UnifiedIO2
from mio_jax.recipes.unified_io2.positions import code_angles, text_angles

END_OF_TEXT = 1


class Memory(Module):
    """`Remembered` of one layer, as a part of a model."""

    def __init__(self, remembered: Remembered) -> None:
        self.k = Param(remembered.k, axes=("batch", "heads", None, "kv"))
        self.v = Param(remembered.v, axes=("batch", "heads", None, "kv"))
        self.valid = Param(remembered.valid, axes=("batch", None))

    def __call__(self) -> Remembered:
        return Remembered(self.k[...], self.v[...], self.valid[...])


class DecoderSizes(NamedTuple):
    """What the engine reads of a spec."""

    vocab_size: int
    dtype: str


class TargetDecoder(Module):
    """Satisfies `mio_jax.protocols.Model`, but for `hidden`: whole rows are the model's own affair.

    There may be several rows to one example, next to each other.
    """

    def __init__(self, model: UnifiedIO2, modality: str, encoded: jax.Array, inputs: Embedded) -> None:
        if not model.spec.has("targets", modality):
            built = ", ".join(model.spec.target_modalities)
            raise MioError(f"this model was built without the target {modality!r}; it has {built}")
        self.modality, self.sizes = modality, model.spec
        self.table = getattr(model, f"{modality}_table")
        self.vector = getattr(model, f"target_{modality}").modality_embedding
        self.decoder = model.decoder
        self.memory = List([Memory(layer) for layer in model.decoder.remember(encoded, inputs)])

    @property
    def spec(self) -> DecoderSizes:
        return DecoderSizes(self.sizes.vocab(self.modality), self.sizes.dtype)

    def init_cache(self, batch: int, length: int) -> KVCache:
        """An empty cache of `length` slots a row, in the compute dtype."""
        s = self.sizes
        return KVCache.empty(s.decoder_depth, batch, length, s.heads, s.head_dim, jnp.dtype(s.dtype))

    def extend(
        self, tokens: jax.Array, positions: jax.Array, valid: jax.Array, cache: KVCache
    ) -> tuple[jax.Array, KVCache]:
        """Runs [B, n] new tokens that follow what the cache holds; `positions` count from the start token, 0."""
        dtype = jnp.dtype(self.sizes.dtype)
        x = self.table[...].astype(dtype)[tokens] + self.vector[...].astype(dtype)
        turn = text_angles if self.modality == "text" else None
        cos, sin = turn(self.sizes, positions) if turn else code_angles(self.sizes, self.modality, positions)
        if not self.sizes.exact_rotary:
            cos, sin = cos.astype(dtype), sin.astype(dtype)
        memory = tuple(layer() for layer in self.memory)
        return self.decoder.extend(x, (cos, sin), valid, cache, memory)

    def output_table(self) -> jax.Array:
        return self.table[...]

    def logits(self, hidden: jax.Array) -> jax.Array:
        """[..., D] -> float32 [..., vocab]."""
        scaled = hidden.astype(jnp.float32) * self.sizes.dim**-0.5
        return turned_linear(scaled, self.table[...])

    def for_decoding(self) -> TargetDecoder:
        """The same with its layers apart and in the compute dtype; the table stays as it is, for the logits."""
        dtype = self.sizes.dtype
        model: TargetDecoder = jax.tree.map(lambda w: w, self)
        decoder: Any = jax.tree.map(lambda w: w.astype(dtype), self.decoder)
        decoder.layers = apart(decoder.layers)
        model.decoder = decoder
        return model


def bind(model: UnifiedIO2, modality: str, batch: Batch) -> TargetDecoder:
    """Encodes the batch's inputs -> the decoder of that modality, arranged for many steps. Jit it where it counts."""
    inputs = model.embed_inputs(batch)
    return TargetDecoder(model, modality, model.encode(inputs), inputs).for_decoding()


def guided_batch(batch: Batch, neutral: Batch) -> Batch:
    """The rows of `batch` and below them the same with the inputs of `neutral`, for `mio_jax.generate.guidance`.

    Args:
      neutral: replaces what it has of the inputs: the prompt "An image of a random picture.", say. What it does not
        have stays.

    Raises:
      MioError: an array of `neutral` has no counterpart of the same shape.
    """
    for name, value in neutral.items():
        if name not in batch or batch[name].shape != value.shape:
            other = batch[name].shape if name in batch else "none"
            raise MioError(f"the neutral {name!r} has shape {value.shape}, that of the batch {other}; they must match")
    inputs = {name: value for name, value in batch.items() if name.startswith("inputs/")}
    return {name: jnp.concatenate([value, neutral.get(name, value)]) for name, value in inputs.items()}
