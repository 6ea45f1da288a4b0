"""Model sizes. `mio_7b` is the published one (Yi-6B's shape); the smaller ones keep its proportions."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from mio_jax.errors import MioError


@dataclass(frozen=True)
class Preset:
    """A `DecoderSpec` without its vocabulary."""

    dim: int
    depth: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp_dim: int
    rope_theta: float
    norm_eps: float = 1e-5
    tie_embeddings: bool = False
    init_std: float = 0.02


PRESETS: dict[str, Preset] = {
    "mio_7b": Preset(4096, 32, 32, 4, 128, 11008, rope_theta=5e6),
    "mio_1b": Preset(2048, 20, 16, 4, 128, 5504, rope_theta=5e6),
    "mio_0.5b": Preset(1280, 20, 20, 4, 64, 3456, rope_theta=5e6),
    "mio_0.1b": Preset(768, 12, 12, 4, 64, 2048, rope_theta=5e6, tie_embeddings=True),
    # Rows of a few hundred tokens: a small theta spends the few pairs of a 32-wide head on distances that occur.
    # Its weights start larger than a wide model's, so that attention is not flat for the first hundreds of steps.
    "mio_tiny": Preset(128, 4, 4, 2, 32, 384, rope_theta=1e4, init_std=0.08),
}


def preset(name: str) -> Preset:
    """Raises MioError naming the presets, and the nearest one, if there is none of this name."""
    key = name.replace("0_", "0.")  # mio_0_5b: dots are awkward in file names
    if key not in PRESETS:
        near = difflib.get_close_matches(key, PRESETS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise MioError(f"model.preset is {name!r}; there are: {', '.join(PRESETS)}{hint}")
    return PRESETS[key]
