"""Pictures to codes and back with a trained VQ model."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from mio_tokenizers.image.io import check_picture, to_square
from mio_tokenizers.image.model import ImageVQ, ImageVQSettings
from mio_tokenizers.image.vqgan import VQGAN, VQGANSettings
from mio_tokenizers.vq_tokenizer import VQTokenizer


class PictureTokenizer(VQTokenizer):
    """uint8 [height, width, 3] of any size <-> int32 [grid * grid] codes in raster order; models see [0, 1]."""

    modality = "image"
    what = "picture"

    def check(self, media: object) -> np.ndarray:
        return to_square(check_picture(media), self.settings.image_size)

    def to_model(self, batch: jax.Array) -> jax.Array:
        return batch.astype(jnp.float32) / 255

    def from_model(self, batch: jax.Array) -> jax.Array:
        return jnp.round(jnp.clip(batch, 0, 1) * 255).astype(jnp.uint8)


class ImageVQTokenizer(PictureTokenizer):
    """The small tokenizer with codes that depend on their neighbourhood only."""

    kind = "image_vq"
    settings_type = ImageVQSettings
    model_type = ImageVQ


class VQGANTokenizer(PictureTokenizer):
    """The convolutional VQGAN of taming-transformers, as Unified-IO 2 uses it."""

    kind = "vqgan"
    settings_type = VQGANSettings
    model_type = VQGAN
