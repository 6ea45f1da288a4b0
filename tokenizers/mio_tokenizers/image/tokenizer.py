"""Pictures to codes and back with a trained VQ model."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.config_loading import from_dict, to_dict
from mio_jax.errors import MioError
from mio_jax.nn.base import Params, apply, split_model
from mio_tokenizers.base import fingerprint_of
from mio_tokenizers.image.io import check_picture, to_square
from mio_tokenizers.image.model import ImageVQ, ImageVQSettings
from mio_tokenizers.quantize import nearest, normalise
from mio_tokenizers.weights_file import flat_arrays, nested_arrays, read_weights, write_weights

KIND = "image_vq"
# Pictures go through the network in blocks of exactly this many (the last one padded): one compiled shape, and a
# picture's tokens cannot depend on how many others were encoded with it.
BLOCK = 16


class ImageVQTokenizer:
    """uint8 [height, width, 3] of any size <-> int32 [grid * grid] codes in raster order."""

    modality = "image"

    def __init__(self, settings: ImageVQSettings, arrays: dict[str, np.ndarray]) -> None:
        """`arrays`: "codebook" [codes, code_dim] and the flat names of the model's parameters."""
        self.settings = settings
        self.vocab_size = settings.codes
        self.tokens = settings.tokens
        self._fingerprint = fingerprint_of(KIND, to_dict(settings), arrays)
        floats = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
        self._codebook = jnp.asarray(floats.pop("codebook"))
        self._arrays = arrays
        graphdef, abstract = split_model(functools.partial(ImageVQ, settings))
        self._params = nested_arrays(floats, abstract, KIND)

        @jax.jit
        def encode(params: Params, codebook: jax.Array, pictures: jax.Array) -> jax.Array:
            latents = normalise(apply(graphdef, params).encoder(pictures.astype(jnp.float32) / 255))
            return nearest(latents, codebook).reshape(pictures.shape[0], -1)

        @jax.jit
        def decode(params: Params, codebook: jax.Array, codes: jax.Array) -> jax.Array:
            vectors = codebook[codes].reshape(-1, settings.grid, settings.grid, settings.code_dim)
            pictures = apply(graphdef, params).decoder(vectors)
            return jnp.round(jnp.clip(pictures, 0, 1) * 255).astype(jnp.uint8)

        self._encode, self._decode = encode, decode

    @classmethod
    def from_training(cls, settings: ImageVQSettings, params: Params, codebook: jax.Array) -> ImageVQTokenizer:
        """Weights are rounded to float16, as they are stored."""
        arrays = {"codebook": codebook, **flat_arrays(params)}
        return cls(settings, {name: np.asarray(array).astype(np.float16) for name, array in arrays.items()})

    @classmethod
    def load(cls, path: str | Path) -> ImageVQTokenizer:
        arrays, settings = read_weights(path, KIND)
        if "codebook" not in arrays:
            raise MioError(f"{path} has no array 'codebook'; it is no {KIND} tokenizer of this version")
        return cls(from_dict(ImageVQSettings, settings, str(path)), arrays)

    def save(self, path: str | Path, data: dict[str, str]) -> None:
        """`data`: name, licence and attribution of what it was trained on."""
        write_weights(path, KIND, to_dict(self.settings), data, self._arrays)

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def encode(self, media: np.ndarray) -> np.ndarray:
        """uint8 [height, width, 3] -> int32 [tokens]. Raises MioError on anything else."""
        return self.encode_batch([media])[0]

    def encode_batch(self, pictures: Any) -> np.ndarray:
        """Pictures (sequence, or uint8 [n, h, w, 3]) -> int32 [n, tokens]."""
        squares = [to_square(check_picture(picture), self.settings.image_size) for picture in pictures]
        if not squares:
            return np.zeros((0, self.tokens), np.int32)
        return self._in_blocks(self._encode, np.stack(squares))

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        """int32 [tokens] -> uint8 [image_size, image_size, 3]. Raises MioError on a wrong count or code."""
        return self.decode_batch(np.asarray(tokens)[None])[0]

    def decode_batch(self, codes: Any) -> np.ndarray:
        """int32 [n, tokens] -> uint8 [n, image_size, image_size, 3]."""
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] != self.tokens or not np.issubdtype(codes.dtype, np.integer):
            raise MioError(f"a picture is {self.tokens} whole-number codes, not an array {codes.dtype} {codes.shape}")
        if codes.size and (codes.min() < 0 or codes.max() >= self.vocab_size):
            bad = codes[(codes < 0) | (codes >= self.vocab_size)][0]
            raise MioError(f"image code {bad} is outside 0..{self.vocab_size - 1}")
        if not len(codes):
            size = self.settings.image_size
            return np.zeros((0, size, size, 3), np.uint8)
        return self._in_blocks(self._decode, codes.astype(np.int32))

    def _in_blocks(self, function: Any, items: np.ndarray) -> np.ndarray:
        out = []
        for start in range(0, len(items), BLOCK):
            block = items[start : start + BLOCK]
            padded = np.concatenate([block, np.repeat(block[-1:], BLOCK - len(block), axis=0)])
            out.append(np.asarray(function(self._params, self._codebook, padded))[: len(block)])
        return np.concatenate(out)
