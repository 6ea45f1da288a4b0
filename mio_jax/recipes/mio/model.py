"""MIO's model: the LLaMA decoder of `mio_jax.nn` over one vocabulary of text, image and speech tokens."""

from __future__ import annotations

import dataclasses

import jax

from mio_jax.config import ModelConfig
from mio_jax.data.token_space import TokenSpace
from mio_jax.nn.transformer import Decoder, DecoderSpec
from mio_jax.protocols import ModelSizes, StackSizes
from mio_jax.recipes.mio.presets import preset


def resolve_model(config: ModelConfig, space: TokenSpace) -> DecoderSpec:
    """The preset with the config's replacements, for a vocabulary; raises as `spec_of` does."""
    return spec_of(config, space.vocab_size)


def spec_of(config: ModelConfig, vocab_size: int) -> DecoderSpec:
    """The preset with the config's replacements. Raises MioError on an unknown preset or sizes that do not fit."""
    sizes = dataclasses.asdict(preset(config.preset))
    replaced = {name: getattr(config, name) for name in sizes if getattr(config, name) is not None}
    return DecoderSpec(
        vocab_size=vocab_size,
        dtype=config.dtype,
        remat=config.remat,
        attention=config.attention,
        quantize=config.quantize,
        **(sizes | replaced),
    )


def build_model(spec: DecoderSpec, key: jax.Array) -> Decoder:
    """A new model with random float32 parameters."""
    return Decoder(spec, key)


def model_sizes(spec: DecoderSpec) -> ModelSizes:
    """What FLOPs are counted from; see `mio_jax.protocols.ModelSizes`."""
    stack = StackSizes(spec.depth, spec.dim, spec.heads, spec.kv_heads, spec.head_dim, spec.mlp_dim)
    return ModelSizes((stack,), spec.dim, spec.vocab_size)
