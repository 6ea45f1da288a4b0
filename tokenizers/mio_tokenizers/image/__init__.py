"""Pictures as codes of a learned codebook."""

from mio_tokenizers.image.io import mask_picture, picture_mask, read_image, to_square
from mio_tokenizers.image.model import ImageVQSettings
from mio_tokenizers.image.tokenizer import ImageVQTokenizer

__all__ = ["ImageVQSettings", "ImageVQTokenizer", "mask_picture", "picture_mask", "read_image", "to_square"]
