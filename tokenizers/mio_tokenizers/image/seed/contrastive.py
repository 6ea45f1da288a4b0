"""Stage 1 of SEED: the causal Q-Former learns to tell which text belongs to a picture.

Only the last query speaks for the picture, because it alone has seen all others (specification section 7.6). BLIP-2
shares BERT with the text; its weights are the user's, so the text tower here is a small one of our own over bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.config import require
from mio_jax.config_loading import from_dict, to_dict
from mio_jax.nn.base import Module, Param, Params, apply, param, split_model
from mio_jax.nn.layer_parts import LayerSpec, Row
from mio_jax.nn.layers import make_layers, run_layers
from mio_jax.nn.norms import RMSNorm, unit_norm
from mio_tokenizers.base import fingerprint_of
from mio_tokenizers.image.io import check_picture
from mio_tokenizers.image.seed.model import Trunk
from mio_tokenizers.image.seed.preprocess import resize, standardise
from mio_tokenizers.image.seed.settings import SeedSettings
from mio_tokenizers.layers import Dense
from mio_tokenizers.vq_tokenizer import BLOCK
from mio_tokenizers.weights_file import nested_arrays, read_weights, write_weights

KIND = "seed_qformer"
PADDING, CLASS, FIRST_BYTE = 0, 1, 2
NORM_EPS = 1e-6


@dataclass(frozen=True)
class TextTowerSettings:
    """`length`: bytes of a text that are read, the class token included."""

    length: int = 64
    dim: int = 256
    heads: int = 4
    mlp_dim: int = 512
    depth: int = 4

    def __post_init__(self) -> None:
        for name in ("length", "dim", "heads", "mlp_dim", "depth"):
            require(getattr(self, name) > 0, f"text.{name} is {getattr(self, name)}; it must be positive")
        require(self.dim % self.heads == 0, f"text.dim {self.dim} is no multiple of text.heads {self.heads}")


@dataclass(frozen=True)
class AlignerSettings:
    """Sizes of stage 1: of the tokenizer to be, of the text tower, and of the space in which both meet."""

    seed: SeedSettings = field(default_factory=SeedSettings)
    text: TextTowerSettings = field(default_factory=TextTowerSettings)
    projection: int = 256
    temperature: float = 0.07  # at the start; it is learned

    def __post_init__(self) -> None:
        require(self.projection > 0, f"projection is {self.projection}; it must be positive")
        require(self.temperature > 0, f"temperature is {self.temperature}; it must be positive")


def text_ids(texts: Sequence[str], length: int) -> np.ndarray:
    """Texts -> int32 [n, length]: the class token, then UTF-8 bytes, cut off or padded with 0."""
    out = np.full((len(texts), length), PADDING, np.int32)
    for row, text in zip(out, texts, strict=True):
        row[0] = CLASS
        piece = np.frombuffer(text.encode()[: length - 1], np.uint8)
        row[1 : 1 + len(piece)] = piece.astype(np.int32) + FIRST_BYTE
    return out


class TextTower(Module):
    """int32 [b, length] -> the class token's state, [b, dim]."""

    def __init__(self, settings: TextTowerSettings, key: jax.Array) -> None:
        e, p, k = jax.random.split(key, 3)
        std = settings.dim**-0.5
        self.embed = param(e, (FIRST_BYTE + 256, settings.dim), (None, "embed"), std)
        self.positions = param(p, (settings.length, settings.dim), (None, "embed"), std)
        self.layers = make_layers(
            LayerSpec(
                dim=settings.dim,
                heads=settings.heads,
                kv_heads=settings.heads,
                head_dim=settings.dim // settings.heads,
                mlp_dim=settings.mlp_dim,
                depth=settings.depth,
            ),
            k,
        )
        self.norm = RMSNorm(settings.dim, NORM_EPS)

    def __call__(self, ids: jax.Array) -> jax.Array:
        x = self.embed[...][ids] + self.positions[...]
        row = Row(segments=(ids != PADDING).astype(jnp.int32))
        return self.norm(run_layers(self.layers, x, row)[:, 0])


class Aligner(Module):
    """Pictures and texts as vectors of unit length in one space."""

    def __init__(self, settings: AlignerSettings, key: jax.Array) -> None:
        keys = jax.random.split(key, 4)
        self.trunk = Trunk(settings.seed, keys[0])
        self.image_project = Dense(settings.seed.hidden, settings.projection, keys[1])
        self.text = TextTower(settings.text, keys[2])
        self.text_project = Dense(settings.text.dim, settings.projection, keys[3])
        self.temperature = Param(jnp.asarray(settings.temperature, jnp.float32), axes=())

    def pictures(self, pictures: jax.Array) -> jax.Array:
        """Standardised pictures [b, size, size, 3] -> [b, projection], from the last query alone."""
        return unit_norm(self.image_project(self.trunk(pictures)[:, -1]))

    def texts(self, ids: jax.Array) -> jax.Array:
        """int32 [b, length] -> [b, projection]."""
        return unit_norm(self.text_project(self.text(ids)))


class SeedAligner:
    """What stage 1 leaves behind, as a file: it makes no tokens yet, but is kept like a tokenizer."""

    modality = "pairs"

    def __init__(self, settings: AlignerSettings, arrays: dict[str, np.ndarray]) -> None:
        """`arrays`: the flat names of an `Aligner`'s parameters."""
        self.settings, self._arrays = settings, arrays
        self._fingerprint = fingerprint_of(KIND, to_dict(settings), arrays)
        graphdef, abstract = split_model(functools.partial(Aligner, settings))
        floats = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
        self._params = nested_arrays(floats, abstract, KIND)

        @jax.jit
        def pictures(params: Params, batch: jax.Array) -> jax.Array:
            return apply(graphdef, params).pictures(standardise(batch.astype(jnp.float32) / 255))

        @jax.jit
        def texts(params: Params, batch: jax.Array) -> jax.Array:
            return apply(graphdef, params).texts(batch)

        self._pictures, self._texts = pictures, texts

    @classmethod
    def load(cls, path: str | Path) -> SeedAligner:
        """Raises MioError if the file is absent, damaged or of another kind."""
        arrays, settings = read_weights(path, KIND)
        return cls(from_dict(AlignerSettings, settings, str(path)), arrays)

    def save(self, path: str | Path, data: dict[str, str]) -> None:
        """`data`: name, licence and attribution of what it was trained on."""
        write_weights(path, KIND, to_dict(self.settings), data, self._arrays)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The parameters by their flat names, as they are stored."""
        return dict(self._arrays)

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def embed_pictures(self, pictures: Any) -> np.ndarray:
        """uint8 pictures -> float32 [n, projection]. Raises MioError on anything that is no picture."""
        size, how = self.settings.seed.img_size, self.settings.seed.resample
        return self._in_blocks(self._pictures, [resize(check_picture(p), size, how) for p in pictures])

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> float32 [n, projection]."""
        return self._in_blocks(self._texts, list(text_ids(texts, self.settings.text.length)))

    def _in_blocks(self, function: Any, items: list[np.ndarray]) -> np.ndarray:
        out = [np.zeros((0, self.settings.projection), np.float32)]
        for start in range(0, len(items), BLOCK):  # one compiled shape
            block = items[start : start + BLOCK]
            padded = np.stack(block + block[-1:] * (BLOCK - len(block)))
            out.append(np.asarray(function(self._params, padded))[: len(block)])
        return np.concatenate(out)
