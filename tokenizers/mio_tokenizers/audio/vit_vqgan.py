"""ViT-VQGAN of the log-mel spectrogram (Unified-IO 2, audio tokenizer): patches to codes of unit length and back.

Spectrograms are normalised (`mel.CODE_SCALE`), [b, mels, frames, 1] in the model. Tokens are patches in raster order,
low frequencies first and time along a row. Parameters keep the names of the PyTorch port and the layouts of the JAX
weights (`published.py` has the other names).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from mio_jax.config import require
from mio_jax.errors import MioError
from mio_jax.nn.attention import MaskSpec, attention
from mio_jax.nn.base import Module, param
from mio_jax.nn.norms import LayerNorm
from mio_tokenizers.layers import Dense, depth_to_space, space_to_depth
from mio_tokenizers.quantize import normalise

NORM_EPS = 1e-6


@dataclass(frozen=True)
class ViTVQGANSettings:
    """Sizes; the defaults are the published ones (128 mels x 256 frames to 16 x 32 codes of 8192).

    The encoder and the decoder are equally deep and wide, as in every published configuration.
    """

    size: tuple[int, int] = (128, 256)  # mels, frames
    patch: int = 8
    dim: int = 512
    layers: int = 8
    heads: int = 8
    head_dim: int = 64
    mlp_dim: int = 2048
    codes: int = 8192
    code_dim: int = 32

    def __post_init__(self) -> None:
        for name in ("patch", "dim", "layers", "heads", "head_dim", "mlp_dim", "codes", "code_dim"):
            require(getattr(self, name) > 0, f"vit-vqgan: {name} is {getattr(self, name)}; it must be positive")
        require(
            len(self.size) == 2 and all(n > 0 and n % self.patch == 0 for n in self.size),
            f"vit-vqgan: size {self.size} must be mels and frames, both multiples of the patch, {self.patch}",
        )
        require(self.dim % 4 == 0, f"vit-vqgan: dim {self.dim} must be a multiple of 4 (two waves for each axis)")

    @property
    def code_grid(self) -> tuple[int, int]:
        return self.size[0] // self.patch, self.size[1] // self.patch

    @property
    def unit_codes(self) -> bool:
        return True


PRESETS = {
    "unified_io2": ViTVQGANSettings(),
    "tiny": ViTVQGANSettings(
        size=(128, 64), dim=128, layers=2, heads=4, head_dim=32, mlp_dim=256, codes=512, code_dim=16
    ),
}


def vit_vqgan_settings(config: Mapping[str, Any]) -> ViTVQGANSettings:
    """Settings from the published configuration. Raises MioError if it lacks a size or is of another variant."""
    sides = {
        "dim": "hidden_size",
        "layers": "num_layers",
        "heads": "num_heads",
        "head_dim": "head_dim",
        "mlp_dim": "mlp_dim",
    }
    names = [f"{side}_{n}" for side in ("encoder", "decoder") for n in sides.values()]
    names += ["default_input_size", "patch_size", "vocab_size", "proj_dim"]
    missing = [name for name in names if name not in config]
    if missing:
        raise MioError(f"the vit-vqgan config lacks {', '.join(missing)}")
    unlike = [n for n in sides.values() if config[f"encoder_{n}"] != config[f"decoder_{n}"]]
    if unlike or len(set(config["patch_size"])) > 1:
        what = ", ".join(unlike) or "patch_size"
        raise MioError(f"the vit-vqgan config has unequal sides: {what}; only equal ones are supported")
    for name, wanted in {"use_bias": False, "act_fn": "relu", "output_channel": 1, "use_decoder": True}.items():
        if config.get(name, wanted) != wanted:
            raise MioError(f"the vit-vqgan config has {name} {config[name]}; only {wanted} is supported")
    mels, frames = config["default_input_size"]
    return ViTVQGANSettings(
        size=(mels, frames),
        patch=config["patch_size"][0],
        codes=config["vocab_size"],
        code_dim=config["proj_dim"],
        **{ours: config[f"encoder_{theirs}"] for ours, theirs in sides.items()},
    )


@functools.lru_cache(maxsize=8)
def position_table(grid: tuple[int, int], dim: int) -> np.ndarray:
    """Fixed sine-cosine positions float32 [rows * columns, dim]: the first half from the column, the second the row."""
    frequencies = 10000.0 ** -(np.arange(dim // 4) / (dim // 4))
    rows, columns = (axis.reshape(-1, 1) for axis in np.meshgrid(*map(np.arange, grid), indexing="ij"))
    halves = [wave(places * frequencies) for places in (columns, rows) for wave in (np.sin, np.cos)]
    return np.concatenate(halves, axis=1).astype(np.float32)


class SelfAttention(Module):
    """Every token looks at every other; no biases, no positions of its own."""

    def __init__(self, dim: int, heads: int, head_dim: int, key: jax.Array) -> None:
        keys = jax.random.split(key, 4)
        inner = heads * head_dim
        self.query, self.key, self.value = (Dense(dim, inner, k, bias=False) for k in keys[:3])
        self.out = Dense(inner, dim, keys[3], bias=False)
        self.heads = heads

    def __call__(self, x: jax.Array) -> jax.Array:
        b, n, _ = x.shape
        q, k, v = (layer(x).reshape(b, n, self.heads, -1) for layer in (self.query, self.key, self.value))
        return self.out(attention(q, k, v, mask=MaskSpec(causal=False), backend="xla").reshape(b, n, -1))


class Mlp(Module):
    """Two layers with a rectifier between them."""

    def __init__(self, dim: int, hidden: int, key: jax.Array) -> None:
        first, second = jax.random.split(key)
        self.fc1, self.fc2 = Dense(dim, hidden, first), Dense(hidden, dim, second)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.fc2(jax.nn.relu(self.fc1(x)))


class Block(Module):
    """Attention, then the feed-forward layer, each on the normalised sum so far."""

    def __init__(self, s: ViTVQGANSettings, key: jax.Array) -> None:
        first, second = jax.random.split(key)
        self.ln_1, self.ln_2 = LayerNorm(s.dim, NORM_EPS), LayerNorm(s.dim, NORM_EPS)
        self.attn = SelfAttention(s.dim, s.heads, s.head_dim, first)
        self.mlp = Mlp(s.dim, s.mlp_dim, second)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(Module):
    """The blocks and a last norm. [b, tokens, dim] -> the same shape."""

    def __init__(self, s: ViTVQGANSettings, key: jax.Array) -> None:
        for i, k in enumerate(jax.random.split(key, s.layers)):
            setattr(self, f"encoderblock_{i}", Block(s, k))
        self.encoder_norm = LayerNorm(s.dim, NORM_EPS)
        self.layers = s.layers

    def __call__(self, x: jax.Array) -> jax.Array:
        for i in range(self.layers):
            x = getattr(self, f"encoderblock_{i}")(x)
        return self.encoder_norm(x)


class Encoder(Module):
    """Spectrograms [b, mels, frames, 1] -> [b, tokens, code_dim], not yet at unit length."""

    def __init__(self, s: ViTVQGANSettings, key: jax.Array) -> None:
        keys = jax.random.split(key, 3)
        self.embedding = Dense(s.patch**2, s.dim, keys[0])
        self.transformer = Transformer(s, keys[1])
        self.encoder_proj = Dense(s.dim, s.code_dim, keys[2], bias=False)
        self.encoder_norm = LayerNorm(s.code_dim, NORM_EPS, scale=False)
        self.settings = s

    def __call__(self, spectrograms: jax.Array) -> jax.Array:
        patches = space_to_depth(spectrograms, self.settings.patch)
        x = self.embedding(patches.reshape(len(patches), -1, patches.shape[-1]))
        x = self.transformer(x + position_table(self.settings.code_grid, self.settings.dim))
        return self.encoder_norm(self.encoder_proj(jax.nn.relu(x)))


class PatchTransposed(Module):
    """A transposed convolution whose stride is its kernel: every token becomes a patch of its own.

    The kernel [patch, patch, inputs, 1] lies as in the JAX weights, which is flipped both ways against what is drawn.
    """

    def __init__(self, inputs: int, patch: int, key: jax.Array) -> None:
        self.kernel = param(key, (patch, patch, inputs, 1), (None,) * 4, inputs**-0.5)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[b, rows, columns, inputs] -> [b, rows * patch, columns * patch, 1]."""
        kernel = self.kernel[...][::-1, ::-1]
        patch = kernel.shape[0]
        return depth_to_space(x @ kernel.transpose(2, 0, 1, 3).reshape(kernel.shape[2], -1), patch)


class Decoder(Module):
    """Code vectors of unit length [b, tokens, code_dim] -> spectrograms [b, mels, frames, 1]."""

    def __init__(self, s: ViTVQGANSettings, key: jax.Array) -> None:
        keys = jax.random.split(key, 3)
        self.decoder_proj = Dense(s.code_dim, s.dim, keys[0], bias=False)
        self.transformer = Transformer(s, keys[1])
        self.conv_transpose = PatchTransposed(s.dim, s.patch, keys[2])
        self.settings = s

    def __call__(self, vectors: jax.Array) -> jax.Array:
        s = self.settings
        x = self.transformer(self.decoder_proj(vectors) + position_table(s.code_grid, s.dim))
        return self.conv_transpose(x.reshape(len(x), *s.code_grid, s.dim))


class ViTVQGAN(Module):
    """Encoder and decoder; the codebook lies beside them."""

    def __init__(self, settings: ViTVQGANSettings, key: jax.Array) -> None:
        encoder_key, decoder_key = jax.random.split(key)
        self.encoder, self.decoder = Encoder(settings, encoder_key), Decoder(settings, decoder_key)
        self.settings = settings

    def latents(self, spectrograms: jax.Array) -> jax.Array:
        """[b, mels, frames, 1] -> [b, rows, columns, code_dim] of unit length."""
        s = self.settings
        return normalise(self.encoder(spectrograms)).reshape(-1, *s.code_grid, s.code_dim)

    def rebuild(self, vectors: jax.Array) -> jax.Array:
        """Inverse of `latents`."""
        return self.decoder(vectors.reshape(len(vectors), -1, self.settings.code_dim))
