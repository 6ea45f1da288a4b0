"""Pictures as codes of a learned codebook."""

from mio_tokenizers.image.io import mask_picture, picture_mask, read_image, to_square
from mio_tokenizers.image.model import ImageVQSettings
from mio_tokenizers.image.tokenizer import ImageVQTokenizer, VQGANTokenizer
from mio_tokenizers.image.vqgan import VQGANSettings

__all__ = [
    "ImageVQSettings",
    "ImageVQTokenizer",
    "VQGANSettings",
    "VQGANTokenizer",
    "mask_picture",
    "picture_mask",
    "read_image",
    "to_square",
]
