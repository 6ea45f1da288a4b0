"""Pictures as SEED sees them: any shape squeezed to a square, then CLIP's mean and deviation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.errors import MioError
from mio_tokenizers.image.seed.settings import FILTERS

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def resize(picture: np.ndarray, size: int, resample: str = "bilinear") -> np.ndarray:
    """uint8 [height, width, 3] -> [size, size, 3] with PIL's antialiased filter, whatever the aspect ratio.

    PIL's own arithmetic (it rounds to whole numbers between its two passes) decides the codes, so it is used.

    Raises:
      MioError: an unknown filter.
    """
    from PIL import Image

    if resample not in FILTERS:
        raise MioError(f"unknown filter {resample!r}; it must be one of {', '.join(FILTERS)}")
    if picture.shape[:2] == (size, size):
        return picture  # as PIL's resize would
    chosen = Image.Resampling.BILINEAR if resample == "bilinear" else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(picture).resize((size, size), chosen))


def standardise(pictures: jax.Array) -> jax.Array:
    """float [..., 3] in [0, 1] -> float32 of about mean 0 and deviation 1."""
    return (pictures.astype(jnp.float32) - jnp.asarray(MEAN)) / jnp.asarray(STD)
