"""Unified-IO 2's fixtures: the small model, its batches, and how close numbers must be."""

from __future__ import annotations

import dataclasses
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.nn.base import apply, split_model
from mio_jax.recipes.unified_io2.checkpoint import Imported, import_params, spec_from_config
from mio_jax.recipes.unified_io2.model import UnifiedIO2
from mio_jax.recipes.unified_io2.spec import UnifiedIO2Spec

NAME = "unified-io-2"
OFFSET = 2  # of codes in targets


def erf(spec: UnifiedIO2Spec) -> UnifiedIO2Spec:
    """The port's resamplers: what arrays without a suffix were made with."""
    exact = {name: dataclasses.replace(spec.resampler(name), mlp="gelu") for name in ("image_history", "audio_history")}
    return dataclasses.replace(spec, **exact)


class Fixtures:
    """Of one folder; nothing is read before it is needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def config(self) -> dict[str, Any]:
        return json.loads((self.folder / "config.json").read_text())

    @cached_property
    def spec(self) -> UnifiedIO2Spec:
        return spec_from_config(self.config["config"], "config.json")

    @cached_property
    def imported(self) -> Imported:
        return import_params(self.folder / "state_dict.npz", self.spec)

    def model(self, spec: UnifiedIO2Spec | None = None) -> UnifiedIO2:
        chosen = spec or self.spec
        params = jax.tree.map(jnp.asarray, self.imported.params)
        return apply(split_model(lambda key: UnifiedIO2(chosen, key))[0], params)

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        with np.load(self.folder / f"{name}.npz") as stored:
            return dict(stored)

    def batch(self, name: str) -> dict[str, jax.Array]:
        """The inputs of `model_NAME.npz`, media targets as the codes in its outputs."""
        arrays = self.arrays(f"model_{name}")
        return batch_of(arrays)


def batch_of(arrays: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    media = ("in.targets/image/image", "in.targets/audio/audio")
    batch = {k.removeprefix("in."): jnp.asarray(v) for k, v in arrays.items() if k.startswith("in.") and k not in media}
    for modality in ("image", "audio"):
        if f"out.targets_{modality}" in arrays:
            batch[f"targets/{modality}/codes"] = jnp.asarray(arrays[f"out.targets_{modality}"] - OFFSET)
    return batch


def rows_of(angles: tuple[jax.Array, jax.Array]) -> np.ndarray:
    """cos and sin as the fixtures keep them: [cos 0, sin 0, cos 1, sin 1, ...]."""
    both = np.stack([np.asarray(x) for x in angles], axis=-1)
    return both.reshape(*both.shape[:-2], -1)


def assert_close(ours: Any, theirs: np.ndarray, mask: Any = None, *, what: str = "", tolerance: float = 1e-5) -> None:
    """Within `tolerance` of the largest value; with `mask`, only where it holds."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape, (what, ours.shape, theirs.shape)
    if mask is not None:
        ours, theirs = ours[np.asarray(mask, bool)], theirs[np.asarray(mask, bool)]
        assert ours.size, f"{what}: the mask leaves nothing"
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert error < tolerance, f"{what}: largest error is {error:.2e} of the largest value"
