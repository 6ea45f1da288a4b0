"""Where tokens stand: rotary angles of every sequence, and the row of AST's position table that a patch has.

Coordinates start at 0 and carry no offset between modalities: the modality vectors tell those apart.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mio_jax.nn.layer_parts import Angles
from mio_jax.nn.rotary import grid_angles, rotary_angles
from mio_jax.recipes.unified_io2.spec import UnifiedIO2Spec

THETA = 10_000.0


def text_angles(spec: UnifiedIO2Spec, positions: jax.Array) -> Angles:
    """int32 [...] places in a text, from 0."""
    return rotary_angles(positions, spec.head_dim, THETA)


def patch_angles(spec: UnifiedIO2Spec, modality: str, ids: jax.Array) -> Angles:
    """Of input patches "image" or "audio": int32 [...] their numbers on the modality's grid, row by row."""
    columns = spec.grid(modality)[1]
    return grid_angles(spec.input_scale * (ids // columns), spec.input_scale * (ids % columns), spec.head_dim, THETA)


def history_angles(spec: UnifiedIO2Spec, modality: str, items: int) -> Angles:
    """Of the latents of so many items: [items * latents, head_dim / 2], an item's latents together."""
    latents = spec.resampler(modality).latents
    at = jnp.arange(items * latents)
    return grid_angles(at // latents, at % latents, spec.head_dim, THETA)


def code_angles(spec: UnifiedIO2Spec, modality: str, ids: jax.Array) -> Angles:
    """Of target codes, int32 [...] their numbers.

    Codes of sound run along time, yet published models count them on a grid of (mel, time): a line is as long as the
    sound has times, not mels.
    """
    grid = spec.target_grid(modality)
    columns = grid[1] if modality == "image" else grid[0]
    return grid_angles(ids // columns, ids % columns, spec.head_dim, THETA)


def ast_rows(spec: UnifiedIO2Spec, ids: jax.Array) -> jax.Array:
    """Patch numbers on the (time, mel) grid -> their numbers counted mel by mel, as AST's position table is."""
    times, mels = spec.audio_grid
    return ids % mels * times + ids // mels
