"""The convolutional encoder and decoder of the image tokenizer.

Normalisation is over channels at each position, not over the picture (GroupNorm): a code then depends on its
neighbourhood only, so that equal patches get equal codes wherever the rest of the picture differs. The encoder sees
about 40 pixels around each code; the decoder looks wider, to join the patches.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import jax

from mio_jax.config import require
from mio_jax.nn.base import List, Module
from mio_jax.nn.norms import RMSNorm
from mio_tokenizers.layers import Conv2d, depth_to_space, space_to_depth
from mio_tokenizers.quantize import normalise

NORM_EPS = 1e-6


@dataclass(frozen=True)
class ImageVQSettings:
    """Sizes of the tokenizer: everything that the weights file must say to rebuild it."""

    image_size: int = 64
    codes: int = 512
    code_dim: int = 16
    patch: int = 2  # pixels folded into channels before the first and after the last convolution
    channels: tuple[int, ...] = (48, 96, 128)  # at size/patch, and after each halving
    encoder_blocks: tuple[int, ...] = (1, 1, 0)  # residual blocks at each resolution
    decoder_blocks: tuple[int, ...] = (2, 2, 2)

    def __post_init__(self) -> None:
        depth = len(self.channels)
        require(
            len(self.encoder_blocks) == depth == len(self.decoder_blocks) and depth > 0,
            f"image vq: channels, encoder_blocks and decoder_blocks must have one length, not "
            f"{depth}, {len(self.encoder_blocks)}, {len(self.decoder_blocks)}",
        )
        for name in ("image_size", "codes", "code_dim", "patch"):
            require(getattr(self, name) > 0, f"image vq: {name} is {getattr(self, name)}; it must be positive")
        require(
            self.image_size % self.stride == 0,
            f"image vq: image_size {self.image_size} is no multiple of {self.stride} (patch x halvings)",
        )

    @property
    def stride(self) -> int:
        """Pixels along an edge of what one code covers."""
        return self.patch * 2 ** (len(self.channels) - 1)

    @property
    def grid(self) -> int:
        """Codes along an edge."""
        return self.image_size // self.stride

    @property
    def tokens(self) -> int:
        return self.grid**2

    @property
    def code_grid(self) -> tuple[int, int]:
        return self.grid, self.grid

    @property
    def unit_codes(self) -> bool:
        return False  # its codebook is kept at unit length while it is learned


class ResBlock(Module):
    """x + conv(silu(norm(conv(silu(norm(x))))))."""

    def __init__(self, channels: int, key: jax.Array) -> None:
        first, second = jax.random.split(key)
        self.norm1, self.norm2 = RMSNorm(channels, NORM_EPS), RMSNorm(channels, NORM_EPS)
        self.conv1 = Conv2d(channels, channels, 3, first)
        self.conv2 = Conv2d(channels, channels, 3, second, gain=0.1)  # near identity at the start

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.conv1(jax.nn.silu(self.norm1(x)))
        return x + self.conv2(jax.nn.silu(self.norm2(y)))


class Encoder(Module):
    """Pictures [b, size, size, 3] in [0, 1] -> [b, grid, grid, code_dim], not yet normalised or quantised."""

    def __init__(self, settings: ImageVQSettings, key: jax.Array) -> None:
        channels, patch = settings.channels, settings.patch
        keys = iter(jax.random.split(key, 3 + sum(settings.encoder_blocks) + len(channels)))
        self.patch = patch
        # White paper is 0 here: without a bias the norms below would divide 0 by 0 and their gradients explode.
        self.enter = Conv2d(3 * patch * patch, channels[0], 3, next(keys), gain=2.0, bias=0.5)
        self.stages = List(
            List([ResBlock(c, next(keys)) for _ in range(blocks)])
            for c, blocks in zip(channels, settings.encoder_blocks, strict=True)
        )
        self.downs = List(Conv2d(a, b, 3, next(keys), stride=2) for a, b in itertools.pairwise(channels))
        self.norm1, self.mix = RMSNorm(channels[-1], NORM_EPS), Conv2d(channels[-1], channels[-1], 1, next(keys))
        self.norm2, self.leave = RMSNorm(channels[-1], NORM_EPS), Conv2d(channels[-1], settings.code_dim, 1, next(keys))

    def __call__(self, pictures: jax.Array) -> jax.Array:
        x = self.enter(space_to_depth(1.0 - pictures, self.patch))  # white is 0, as the padding is
        for i, stage in enumerate(self.stages):
            x = self.downs[i - 1](x) if i else x
            for block in stage:
                x = block(x)
        x = x + self.mix(jax.nn.silu(self.norm1(x)))
        return self.leave(jax.nn.silu(self.norm2(x)))


class Decoder(Module):
    """Code vectors [b, grid, grid, code_dim] -> pictures [b, size, size, 3], not clipped."""

    def __init__(self, settings: ImageVQSettings, key: jax.Array) -> None:
        channels, patch = settings.channels[::-1], settings.patch
        keys = iter(jax.random.split(key, 2 + sum(settings.decoder_blocks) + len(channels)))
        self.patch = patch
        self.enter = Conv2d(settings.code_dim, channels[0], 3, next(keys), gain=settings.code_dim**0.5)
        self.stages = List(
            List([ResBlock(c, next(keys)) for _ in range(blocks)])
            for c, blocks in zip(channels, settings.decoder_blocks[::-1], strict=True)
        )
        self.ups = List(Conv2d(a, 4 * b, 1, next(keys)) for a, b in itertools.pairwise(channels))
        self.norm = RMSNorm(channels[-1], NORM_EPS)
        self.leave = Conv2d(channels[-1], 3 * patch * patch, 3, next(keys), gain=0.1)

    def __call__(self, vectors: jax.Array) -> jax.Array:
        x = self.enter(vectors)
        for i, stage in enumerate(self.stages):
            x = depth_to_space(self.ups[i - 1](x), 2) if i else x
            for block in stage:
                x = block(x)
        return 1.0 - depth_to_space(self.leave(jax.nn.silu(self.norm(x))), self.patch)


class ImageVQ(Module):
    """Encoder and decoder; the codebook is not a parameter (it is learned by moving averages) and lies beside them."""

    def __init__(self, settings: ImageVQSettings, key: jax.Array) -> None:
        encoder_key, decoder_key = jax.random.split(key)
        self.encoder = Encoder(settings, encoder_key)
        self.decoder = Decoder(settings, decoder_key)

    def latents(self, pictures: jax.Array) -> jax.Array:
        """Pictures [b, size, size, 3] in [0, 1] -> [b, grid, grid, code_dim] of unit length."""
        return normalise(self.encoder(pictures))

    def rebuild(self, vectors: jax.Array) -> jax.Array:
        """Inverse of `latents`, not clipped."""
        return self.decoder(vectors)
