"""The input side: each modality's front end turns its part of a batch into a sequence of vectors of the trunk's width.

Shape letters: B examples, N patches, F items of a history (frames, or segments of sound), L latents of one item.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mio_jax.errors import MioError
from mio_jax.nn.base import Module, Param, constrain, param
from mio_jax.nn.encoder_decoder import Embedded
from mio_jax.nn.layer_parts import Angles
from mio_jax.nn.linear import linear
from mio_jax.nn.resampler import Resampler
from mio_jax.nn.vit import ViT
from mio_jax.recipes.unified_io2.positions import ast_rows, history_angles, patch_angles
from mio_jax.recipes.unified_io2.spec import UnifiedIO2Spec

MODALITY_STD = 0.02  # of new modality vectors

Batch = dict[str, jax.Array]


class MediaFeatures(Module):
    """The ViT of pictures or of sound; a modality and its history share it."""

    def __init__(self, spec: UnifiedIO2Spec, medium: str, key: jax.Array) -> None:
        self.vit = ViT(spec.vit(medium), key)
        self.spec, self.medium = spec, medium

    def __call__(
        self, modality: str, patches: jax.Array, mask: jax.Array, ids: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """[B, N, P], bool and int32 [B, N] -> states of the last and the second layer, [B, N, ViT's width].

        Constants to the gradient unless the spec trains this front end.
        """
        spec, extra = self.spec, self.vit.spec.extra
        if self.medium == "image":
            at = self.vit.resized_positions(spec.image_positions, spec.grid(modality))[ids]
        else:
            at = self.vit.positions[...][extra + ast_rows(spec, ids)]
        last, second = self.vit(patches.astype(spec.encoder_dtype), mask, at)
        if modality in spec.trained_encoders:
            return last, second
        return jax.lax.stop_gradient(last), jax.lax.stop_gradient(second)


class Patches(Module):
    """ "image" and "audio": states of two layers of the ViT, mapped to the trunk's width."""

    def __init__(self, spec: UnifiedIO2Spec, modality: str, key: jax.Array) -> None:
        p, m = jax.random.split(key)
        width = 2 * spec.vit(modality).dim
        self.projection = param(p, (width, spec.dim), (None, "embed"), width**-0.5, truncated=True)
        self.modality_embedding = modality_vector(spec, m)
        self.spec, self.modality = spec, modality

    def __call__(self, batch: Batch, features: MediaFeatures) -> Embedded:
        patches, mask, ids = (required(batch, f"inputs/{self.modality}/{x}") for x in ("input", "mask", "pos_ids"))
        mask = mask.astype(bool)
        both = jnp.concatenate(features(self.modality, patches, mask, ids), axis=-1).astype(self.spec.dtype)
        x = linear(both, self.projection[...])
        return embedded(self.spec, x, self.modality_embedding, mask, patch_angles(self.spec, self.modality, ids))


class History(Module):
    """ "image_history" and "audio_history": the ViT's last states of each item, resampled to a few latents."""

    def __init__(self, spec: UnifiedIO2Spec, modality: str, key: jax.Array) -> None:
        a, r, b, m = jax.random.split(key, 4)
        vit, size = spec.vit(modality.removesuffix("_history")).dim, spec.resampler(modality)
        self.pre_projection = param(a, (vit, size.dim), (None, "embed"), vit**-0.5, truncated=True)
        self.resampler = Resampler(size, r)
        self.post_projection = param(b, (size.dim, spec.dim), (None, "embed"), size.dim**-0.5, truncated=True)
        self.modality_embedding = modality_vector(spec, m)
        self.spec, self.modality = spec, modality

    def __call__(self, batch: Batch, features: MediaFeatures) -> Embedded:
        """Items without a single patch are not there, and neither are their latents; an item keeps its number."""
        spec, latents = self.spec, self.resampler.spec.latents
        patches, mask, ids = (required(batch, f"inputs/{self.modality}/{x}") for x in ("input", "mask", "pos_ids"))
        rows, items = mask.shape[:2]
        if items > spec.history_slots:
            raise MioError(
                f"inputs/{self.modality}/mask has {items} items; this model has room for {spec.history_slots}"
            )
        patches, mask, ids = (x.reshape(rows * items, *x.shape[2:]) for x in (patches, mask.astype(bool), ids))
        patches = constrain(patches, "batch", None, None)
        last, _ = features(self.modality, patches, mask, ids)
        x = self.resampler(linear(last.astype(spec.dtype), self.pre_projection[...]), mask)
        x = linear(x, self.post_projection[...]).reshape(rows, items * latents, spec.dim)
        there = jnp.repeat(mask.any(axis=1).reshape(rows, items), latents, axis=1)
        cos, sin = history_angles(spec, self.modality, items)
        angles = (jnp.broadcast_to(cos, (rows, *cos.shape)), jnp.broadcast_to(sin, (rows, *sin.shape)))
        return embedded(spec, x, self.modality_embedding, there, angles)


def modality_vector(spec: UnifiedIO2Spec, key: jax.Array) -> Param:
    return param(key, (spec.dim,), ("norm",), MODALITY_STD)


def embedded(
    spec: UnifiedIO2Spec,
    x: jax.Array,
    modality: Param,
    mask: jax.Array,
    angles: Angles,
    segments: jax.Array | None = None,
) -> Embedded:
    """One modality's sequence; `segments`: see `Embedded`, None: one. Each row is one example."""
    dtype = jnp.dtype(spec.dtype)
    x = x.astype(dtype) + modality[...].astype(dtype)
    if not spec.exact_rotary:
        angles = (angles[0].astype(dtype), angles[1].astype(dtype))
    one = jnp.zeros(mask.shape, jnp.int32)
    cos, sin = angles
    return Embedded(x, mask, (cos, sin), one if segments is None else segments, one)


def required(batch: Batch, name: str) -> jax.Array:
    """An array of the batch. Raises MioError if it is not there."""
    if name not in batch:
        near = sorted(k for k in batch if k.rsplit("/", 1)[0] == name.rsplit("/", 1)[0])
        raise MioError(f"the batch has no {name!r}; beside it are {', '.join(near) or 'no others'}")
    return batch[name]
