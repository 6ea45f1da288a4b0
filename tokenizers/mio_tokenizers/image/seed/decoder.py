"""A small decoder from SEED's codes to pixels, for those without a diffusion model: trained here.

Codes stand in a row and have no place in the picture, so a grid of learned cells reads them: by cross-attention, by one
linear map from all codes to all cells, which a short training learns faster, or by both. The convolutional decoder of
the small image tokenizer then draws the cells.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.config import require
from mio_jax.config_loading import from_dict, to_dict
from mio_jax.errors import MioError
from mio_jax.nn.base import Module, Params, apply, param, split_model
from mio_jax.nn.layer_parts import Context, LayerSpec, Row
from mio_jax.nn.layers import make_layers, run_layers
from mio_jax.nn.norms import RMSNorm
from mio_tokenizers.base import fingerprint_of
from mio_tokenizers.image.model import Decoder, ImageVQSettings
from mio_tokenizers.layers import Dense
from mio_tokenizers.vq_tokenizer import BLOCK
from mio_tokenizers.weights_file import flat_arrays, nested_arrays, read_weights, write_weights

KIND = "seed_decoder"
NORM_EPS = 1e-6


@dataclass(frozen=True)
class PixelDecoderSettings:
    """Sizes of the decoder.

    Attributes:
      tokens, code_dim: of the tokenizer whose code vectors it reads.
      dim, heads, mlp_dim: width of its transformer; read_depth: layers among the codes, draw_depth: among the cells.
      spread: (a, b): each token as a numbers, all of them mapped to b numbers of every cell; (): no such map.
      picture: size of the picture, and the convolutions that draw it; `codes` and `code_dim` in it are not used.
    """

    tokens: int = 32
    code_dim: int = 32
    dim: int = 256
    heads: int = 8
    mlp_dim: int = 512
    read_depth: int = 2
    draw_depth: int = 4
    spread: tuple[int, ...] = ()
    picture: ImageVQSettings = field(
        default_factory=lambda: ImageVQSettings(image_size=128, patch=4, channels=(64, 128, 192))
    )

    def __post_init__(self) -> None:
        require(
            not self.spread or (len(self.spread) == 2 and min(self.spread) > 0),
            f"seed decoder: spread is {self.spread}; it must be empty or two positive numbers",
        )
        for name in ("tokens", "code_dim", "dim", "heads", "mlp_dim", "read_depth", "draw_depth"):
            if name == "draw_depth" and self.spread and not self.draw_depth:
                continue  # the map alone fills the cells
            require(getattr(self, name) > 0, f"seed decoder: {name} is {getattr(self, name)}; it must be positive")
        require(self.dim % self.heads == 0, f"seed decoder: dim {self.dim} is no multiple of heads {self.heads}")


class PixelDecoder(Module):
    """Code vectors [b, tokens, code_dim] -> pictures [b, size, size, 3], about [0, 1] and not clipped."""

    def __init__(self, settings: PixelDecoderSettings, key: jax.Array) -> None:
        keys = jax.random.split(key, 6)
        thin = jax.random.split(jax.random.fold_in(key, 1), 3)
        dim, cells = settings.dim, settings.picture.tokens
        spec = LayerSpec(
            dim=dim,
            heads=settings.heads,
            kv_heads=settings.heads,
            head_dim=dim // settings.heads,
            mlp_dim=settings.mlp_dim,
            depth=settings.read_depth,
        )
        self.enter = Dense(settings.code_dim, dim, keys[0])
        self.places = param(keys[1], (settings.tokens, dim), (None, "embed"), 1.0)
        self.read = make_layers(spec, keys[2])
        self.read_norm = RMSNorm(dim, NORM_EPS)
        self.cells = param(keys[3], (cells, dim), (None, "embed"), 1.0)
        self.spread = bool(settings.spread)
        if settings.spread:
            a, b = settings.spread
            self.narrow = Dense(dim, a, thin[0])
            self.fill = Dense(settings.tokens * a, cells * b, thin[1])
            self.widen = Dense(b, dim, thin[2])
        self.draws = bool(settings.draw_depth)
        if settings.draw_depth:
            self.draw = make_layers(dataclasses.replace(spec, depth=settings.draw_depth, context=dim), keys[4])
        self.norm = RMSNorm(dim, NORM_EPS)
        self.pixels = Decoder(dataclasses.replace(settings.picture, code_dim=dim), keys[5])
        self.grid = settings.picture.grid

    def __call__(self, vectors: jax.Array) -> jax.Array:
        x = self.enter(vectors) + self.places[...]
        x = self.read_norm(run_layers(self.read, x, Row()))
        cells = jnp.broadcast_to(self.cells[...], (len(x), *self.cells.shape))
        if self.spread:
            filled = self.fill(self.narrow(x).reshape(len(x), -1))
            cells = cells + self.widen(filled.reshape(*cells.shape[:2], -1))
        if self.draws:
            cells = run_layers(self.draw, cells, Row(), context=Context(x, Row()))
        return self.pixels(self.norm(cells).reshape(len(x), self.grid, self.grid, -1))


class SeedDecoder:
    """A trained `PixelDecoder` as a file; like a vocoder it makes no tokens, but is kept like a tokenizer."""

    modality = "pixels"

    def __init__(self, settings: PixelDecoderSettings, tokenizer: str, arrays: dict[str, np.ndarray]) -> None:
        """`tokenizer`: fingerprint of the one whose codes it reads; `arrays`: its parameters by their flat names."""
        self.settings, self.tokenizer, self._arrays = settings, tokenizer, arrays
        self._fingerprint = fingerprint_of(KIND, to_dict(settings) | {"tokenizer": tokenizer}, arrays)
        graphdef, abstract = split_model(functools.partial(PixelDecoder, settings))
        floats = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
        self._params = nested_arrays(floats, abstract, KIND)

        @jax.jit
        def draw(params: Params, vectors: jax.Array) -> jax.Array:
            return jnp.round(jnp.clip(apply(graphdef, params)(vectors), 0, 1) * 255).astype(jnp.uint8)

        self._draw = draw

    @classmethod
    def from_params(cls, settings: PixelDecoderSettings, tokenizer: str, params: Params) -> SeedDecoder:
        """Weights are rounded to float16, as they are stored."""
        arrays = {name: np.asarray(array).astype(np.float16) for name, array in flat_arrays(params).items()}
        return cls(settings, tokenizer, arrays)

    @classmethod
    def load(cls, path: str | Path) -> SeedDecoder:
        """Raises MioError if the file is absent, damaged or of another kind."""
        arrays, kept = read_weights(path, KIND)
        tokenizer = kept.pop("tokenizer", None)
        if not isinstance(tokenizer, str):
            raise MioError(f"{path} does not say which tokenizer's codes it draws; train it again")
        return cls(from_dict(PixelDecoderSettings, kept, str(path)), tokenizer, arrays)

    def save(self, path: str | Path, data: dict[str, str]) -> None:
        """`data`: name, licence and attribution of what it was trained on."""
        write_weights(path, KIND, to_dict(self.settings) | {"tokenizer": self.tokenizer}, data, self._arrays)

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def draw(self, vectors: Any) -> np.ndarray:
        """Code vectors float32 [n, tokens, code_dim] -> uint8 [n, size, size, 3]. Raises MioError on other shapes."""
        vectors = np.asarray(vectors, np.float32)
        wanted = (self.settings.tokens, self.settings.code_dim)
        if vectors.ndim != 3 or vectors.shape[1:] != wanted:
            raise MioError(f"code vectors for this decoder are [n, {wanted[0]}, {wanted[1]}], not {vectors.shape}")
        size = self.settings.picture.image_size
        out = [np.zeros((0, size, size, 3), np.uint8)]
        for start in range(0, len(vectors), BLOCK):  # one compiled shape
            block = vectors[start : start + BLOCK]
            padded = np.concatenate([block, np.repeat(block[-1:], BLOCK - len(block), axis=0)])
            out.append(np.asarray(self._draw(self._params, padded))[: len(block)])
        return np.concatenate(out)
