"""The Unified-IO 2 model: front ends, an encoder over all inputs together, and a decoder of three kinds of tokens.

It comes in two halves, so that rows may be rearranged between them: `embed_inputs` and `embed_targets` give
`mio_jax.nn.encoder_decoder.Embedded` rows, and `trunk` takes them.

Shape letters: B examples, S input places, T target places, D width.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from mio_jax.config import ModelConfig
from mio_jax.data.token_space import TokenSpace
from mio_jax.errors import MioError
from mio_jax.nn.base import Module, constrain, param
from mio_jax.nn.encoder_decoder import CrossDecoder, Embedded, Encoder, join
from mio_jax.nn.layers import Patterns
from mio_jax.protocols import ModelSizes, StackSizes
from mio_jax.recipes.unified_io2.inputs import (
    Batch,
    History,
    MediaFeatures,
    Patches,
    embedded,
    modality_vector,
    required,
)
from mio_jax.recipes.unified_io2.patterns import decoder_patterns
from mio_jax.recipes.unified_io2.positions import code_angles, text_angles
from mio_jax.recipes.unified_io2.presets import preset
from mio_jax.recipes.unified_io2.spec import INPUTS, RESERVED, TARGETS, UnifiedIO2Spec
from mio_jax.recipes.unified_io2.targets import Said, Targets, present, said_codes, said_text

FULL_TEXT, FULL_ITEMS = 512, 4  # tokens of a text, and items of a history, at most

VARIANTS: dict[str, dict[str, Any]] = {  # by `model.variants`: what it sets in the spec
    "sparse_patterns": {"sparse_patterns": True},
    "dynamic_mask": {"dynamic_mask": True},
    "exact_rotary": {"exact_rotary": True},
    "erf_resampler": {},  # of the resamplers, see `_with_erf`
}


class Text(Module):
    """The front end of input text: its modality vector alone, for the table belongs to the whole model."""

    def __init__(self, spec: UnifiedIO2Spec, key: jax.Array) -> None:
        self.modality_embedding = modality_vector(spec, key)


class UnifiedIO2(Module):
    """Parts that the spec's modalities do not need are not built."""

    def __init__(self, spec: UnifiedIO2Spec, key: jax.Array) -> None:
        tables, media, ins, outs, encoder, decoder = jax.random.split(key, 6)
        self.spec = spec
        for i, name in enumerate(TARGETS):
            if spec.has_table(name):
                table = param(jax.random.fold_in(tables, i), (spec.vocab(name), spec.dim), ("vocab", "embed"), 1.0)
                setattr(self, f"{name}_table", table)
        for i, name in enumerate(("image", "audio")):
            if spec.encodes(name):
                setattr(self, f"{name}_features", MediaFeatures(spec, name, jax.random.fold_in(media, i)))
        for i, name in enumerate(INPUTS):
            if spec.has("inputs", name):
                setattr(self, f"input_{name}", _front_end(spec, name, jax.random.fold_in(ins, i)))
        for i, name in enumerate(TARGETS):
            if spec.has("targets", name):
                setattr(self, f"target_{name}", Text(spec, jax.random.fold_in(outs, i)))
        self.encoder = Encoder(spec.encoder_layer, encoder)
        self.decoder = CrossDecoder(spec.decoder_layer, decoder)

    def table(self, modality: str) -> jax.Array:
        """Rows of a target modality, [vocab, D] float32: it looks tokens up in them and scores with them."""
        rows: jax.Array = getattr(self, f"{modality}_table")[...]
        return rows

    def lookup(self, modality: str, tokens: jax.Array) -> jax.Array:
        """int32 [B, T] -> [B, T, D] in the compute dtype."""
        # Gathering rows of a table split on both axes makes the partitioner replicate it; gather its width first.
        table = constrain(self.table(modality).astype(self.spec.dtype), "vocab", None)
        return constrain(table[tokens], "batch", "length", "act_embed")

    def embed_inputs(self, batch: Batch) -> Embedded:
        """The inputs that the batch brings, one behind the other in the order of `INPUTS`; keys as in the README.

        Raises:
          MioError: an input of a modality that was not built, or none at all.
        """
        return join([self._input(name, batch) for name in present(self.spec, "inputs", batch)])

    def _input(self, name: str, batch: Batch) -> Embedded:
        front_end = getattr(self, f"input_{name}")
        if name != "text":
            return front_end(batch, getattr(self, f"{name.removesuffix('_history')}_features"))
        tokens, mask, at = (required(batch, f"inputs/text/{x}") for x in ("tokens", "mask", "pos_ids"))
        x = self.lookup("text", tokens)
        return embedded(self.spec, x, front_end.modality_embedding, mask.astype(bool), text_angles(self.spec, at))

    def embed_targets(self, batch: Batch) -> Targets:
        """The targets that the batch brings, in the order of `TARGETS`; they do not see each other.

        Raises:
          MioError: a target of a modality that was not built, or none at all.
        """
        said: dict[str, Said] = {}
        for name in present(self.spec, "targets", batch):
            said[name] = said_text(batch) if name == "text" else said_codes(self.spec, name, batch)
        return Targets(join([self._target(name, one) for name, one in said.items()]), said)

    def _target(self, name: str, said: Said) -> Embedded:
        # Which modality and which of several texts: one number, unlike those of all other tokens of the example.
        segments = said.segments * len(TARGETS) + TARGETS.index(name)
        vector = getattr(self, f"target_{name}").modality_embedding
        return embedded(
            self.spec,
            self.lookup(name, said.inputs),
            vector,
            said.mask,
            self.target_angles(name, said.positions),
            segments,
        )

    def target_angles(self, modality: str, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
        """cos and sin, [..., head_dim / 2], of int32 [...] places within a text, a picture or a sound."""
        return text_angles(self.spec, positions) if modality == "text" else code_angles(self.spec, modality, positions)

    def encode(self, inputs: Embedded) -> jax.Array:
        """-> [B, S, D]; states of padding mean nothing."""
        return self.encoder(inputs, self.spec.remat)

    def trunk(self, inputs: Embedded, targets: Embedded, patterns: Patterns | None = None) -> jax.Array:
        """Encoder and decoder over rows that are already embedded -> states of the targets [B, T, D].

        `patterns`: of `decoder_patterns`, rearranged as the targets were.
        """
        encoded = self.encode(inputs)
        return self.decoder(targets, encoded, inputs, patterns=patterns, policy=self.spec.remat)

    def patterns(self, batch: Batch, targets: Targets) -> Patterns | None:
        """What the spec's options let the targets' codes see of each other; None: all that came before."""
        return decoder_patterns(self.spec, batch, targets.lengths)

    def hidden(self, batch: Batch) -> tuple[dict[str, jax.Array], dict[str, Said]]:
        """A whole forward pass -> by target modality, states [B, T, D] and what they were to say."""
        targets = self.embed_targets(batch)
        states = self.trunk(self.embed_inputs(batch), targets.row, self.patterns(batch, targets))
        return targets.split(states), targets.said

    def before_logits(self, hidden: jax.Array) -> jax.Array:
        """States [..., D] -> float32 [..., D] whose products with a table's rows are the logits."""
        return hidden.astype(jnp.float32) * self.spec.dim**-0.5

    def logits(self, modality: str, hidden: jax.Array) -> jax.Array:
        """[..., D] -> float32 [..., vocab]."""
        return jnp.einsum("...d,vd->...v", self.before_logits(hidden), self.table(modality))


def _front_end(spec: UnifiedIO2Spec, modality: str, key: jax.Array) -> Any:
    if modality == "text":
        return Text(spec, key)
    return (History if modality.endswith("_history") else Patches)(spec, modality, key)


def _with_erf(spec: UnifiedIO2Spec) -> UnifiedIO2Spec:
    """The PyTorch port's resampler: exact GELU."""
    changed: dict[str, Any] = {
        name: dataclasses.replace(spec.resampler(name), mlp="gelu") for name in ("image_history", "audio_history")
    }
    return dataclasses.replace(spec, **changed)


def resolve_model(config: ModelConfig, space: TokenSpace) -> UnifiedIO2Spec:
    """The preset with the config's replacements; `depth` is of the encoder and of the decoder.

    Args:
      space: says how many ids each modality has (their tables are apart, whatever its numbers); of image and audio it
        may say nothing, and they keep the preset's. Tables have a multiple of 128 rows.

    Raises:
      MioError: an unknown preset or variant, sizes that do not fit, or a setting that this model does not have.
    """
    spec = preset(config.preset)
    for name in ("kv_heads", "rope_theta", "tie_embeddings", "init_std"):
        if getattr(config, name) is not None:
            raise MioError(f"model.{name} is set, and a Unified-IO 2 model has no such setting")
    changes: dict[str, Any] = {
        name: getattr(config, name)
        for name in ("dim", "heads", "head_dim", "mlp_dim", "norm_eps")
        if getattr(config, name) is not None
    }
    if config.depth is not None:
        changes |= {"encoder_depth": config.depth, "decoder_depth": config.depth}
    for name in ("input_modalities", "target_modalities", "trained_encoders"):
        if getattr(config, name):
            changes[name] = getattr(config, name)
    for variant in config.variants:
        if variant not in VARIANTS:
            raise MioError(f"model.variants has {variant!r}; there are: {', '.join(VARIANTS)}")
        changes |= VARIANTS[variant]
    vits: dict[str, Any] = {
        f"{name}_vit": dataclasses.replace(spec.vit(name), remat=config.remat) for name in ("image", "audio")
    }
    ids = {name: sum(block.size for block in space.blocks if block.modality == name) for name in TARGETS}
    ids |= {name: count + RESERVED for name, count in ids.items() if name != "text" and count}
    tables: dict[str, Any] = {f"{name}_vocab": -(-count // 128) * 128 for name, count in ids.items() if count}
    spec = dataclasses.replace(
        spec,
        **changes,
        **vits,
        **tables,
        dtype=config.dtype,
        remat=config.remat,
        attention=config.attention,
        quantize=config.quantize,
    )
    return _with_erf(spec) if "erf_resampler" in config.variants else spec


def build_model(spec: UnifiedIO2Spec, key: jax.Array) -> UnifiedIO2:
    """A new model with random float32 parameters."""
    return UnifiedIO2(spec, key)


def model_sizes(spec: UnifiedIO2Spec) -> ModelSizes:
    """What FLOPs are counted from: of a whole example with every built modality, inputs and targets together a row.

    Resamplers are left out: they are less than a hundredth of what they read from.
    """
    inputs = {name: _full_length(spec, name) for name in INPUTS if spec.has("inputs", name)}
    targets = {name: FULL_TEXT if name == "text" else spec.tokens_of(name) for name in TARGETS}
    targets = {name: length for name, length in targets.items() if spec.has("targets", name)}
    ins, outs = sum(inputs.values()), sum(targets.values())
    row = ins + outs
    trunk = StackSizes(spec.encoder_depth, spec.dim, spec.heads, spec.heads, spec.head_dim, spec.mlp_dim, causal=False)
    stacks = [
        trunk._replace(share=ins / row),
        trunk._replace(depth=spec.decoder_depth, causal=True, share=outs / row, context=ins / row),
    ]
    for name in inputs:
        if name == "text":
            continue
        vit = spec.vit(name.removesuffix("_history"))
        patches = math.prod(spec.grid(name))
        items = FULL_ITEMS if name.endswith("_history") else 1
        stacks.append(
            StackSizes(vit.depth, vit.dim, vit.heads, vit.heads, vit.head_dim, vit.mlp_dim, 2, False)._replace(
                share=items * patches / row, length=patches + vit.extra, trained=name in spec.trained_encoders
            )
        )
    logits = sum(length * spec.vocab(name) for name, length in targets.items()) / row
    return ModelSizes(tuple(stacks), spec.dim, round(logits))


def _full_length(spec: UnifiedIO2Spec, modality: str) -> int:
    """Places of a whole input in the encoder."""
    if modality == "text":
        return FULL_TEXT
    if modality.endswith("_history"):
        return FULL_ITEMS * spec.resampler(modality).latents
    return math.prod(spec.grid(modality))
