"""VQGAN: the convolutional encoder and decoder of taming-transformers, which Unified-IO 2 uses for pictures (§ image).

Parameters keep the names and the layouts of the published JAX weights (`published.py` has the other names). Levels of
the decoder are counted from the lowest resolution. Pictures are [b, size, size, 3] in [-1, 1] inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from mio_jax.config import require
from mio_jax.errors import MioError
from mio_jax.nn.attention import MaskSpec, attention
from mio_jax.nn.base import Module
from mio_tokenizers.layers import Conv2d, GroupNorm

GROUPS = 32
NORM_EPS = 1e-6


@dataclass(frozen=True)
class VQGANSettings:
    """Sizes under their published names; the defaults are Unified-IO 2's (256 pixels to 32 x 32 codes of 16384)."""

    resolution: int = 256
    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 2, 2, 4)  # at full resolution, and after each halving
    num_res_blocks: int = 2
    attn_resolutions: tuple[int, ...] = (32,)  # the levels, by pixels along an edge, that have attention
    z_channels: int = 4
    n_embed: int = 16384

    def __post_init__(self) -> None:
        for name in ("resolution", "ch", "num_res_blocks", "z_channels", "n_embed"):
            require(getattr(self, name) > 0, f"vqgan: {name} is {getattr(self, name)}; it must be positive")
        require(
            bool(self.ch_mult) and all(m > 0 and (self.ch * m) % GROUPS == 0 for m in self.ch_mult)
            and self.ch % GROUPS == 0,
            f"vqgan: ch {self.ch} times each of ch_mult {self.ch_mult} must be a multiple of {GROUPS} (group norm)",
        )  # fmt: skip
        require(
            self.resolution % self.stride == 0,
            f"vqgan: resolution {self.resolution} is no multiple of {self.stride} (a halving between levels)",
        )
        unknown = set(self.attn_resolutions) - set(self.resolutions)
        require(
            not unknown,
            f"vqgan: attn_resolutions {sorted(unknown)} are none of the levels' {self.resolutions}",
        )

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Pixels along an edge at each level of the encoder."""
        return tuple(self.resolution // 2**level for level in range(len(self.ch_mult)))

    @property
    def channels(self) -> tuple[int, ...]:
        return tuple(self.ch * m for m in self.ch_mult)

    @property
    def image_size(self) -> int:
        return self.resolution

    @property
    def stride(self) -> int:
        """Pixels along an edge of what one code covers."""
        return 2 ** (len(self.ch_mult) - 1)

    @property
    def grid(self) -> int:
        """Codes along an edge."""
        return self.resolution // self.stride

    @property
    def code_grid(self) -> tuple[int, int]:
        return self.grid, self.grid

    @property
    def codes(self) -> int:
        return self.n_embed

    @property
    def code_dim(self) -> int:
        return self.z_channels

    @property
    def unit_codes(self) -> bool:
        return False


PRESETS = {
    "unified_io2": VQGANSettings(),
    "tiny": VQGANSettings(
        resolution=64, ch=32, ch_mult=(1, 2, 2, 2), num_res_blocks=1, attn_resolutions=(8,), z_channels=8, n_embed=512
    ),
}


def vqgan_settings(config: Mapping[str, Any]) -> VQGANSettings:
    """Settings from the published configuration (`ddconfig` with `n_embed`; `embed_dim` is not used there either).

    Raises:
      MioError: it lacks a size, or asks for a variant that is not this model.
    """
    names = ("resolution", "ch", "ch_mult", "num_res_blocks", "attn_resolutions", "z_channels", "n_embed")
    missing = [name for name in names if name not in config]
    if missing:
        raise MioError(f"the vqgan config lacks {', '.join(missing)}")
    for name, wanted in {"double_z": False, "in_channels": 3, "out_ch": 3}.items():
        if config.get(name, wanted) != wanted:
            raise MioError(f"the vqgan config has {name} {config[name]}; only {wanted} is supported")
    sizes: dict[str, Any] = {n: tuple(config[n]) if isinstance(config[n], list) else config[n] for n in names}
    return VQGANSettings(**sizes)


class ResnetBlock(Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), with a 1 x 1 convolution on x where the channels change."""

    def __init__(self, inputs: int, outputs: int, key: jax.Array) -> None:
        keys = jax.random.split(key, 3)
        self.norm1 = GroupNorm(inputs, GROUPS, NORM_EPS)
        self.conv1 = Conv2d(inputs, outputs, 3, keys[0])
        self.norm2 = GroupNorm(outputs, GROUPS, NORM_EPS)
        self.conv2 = Conv2d(outputs, outputs, 3, keys[1])
        self.nin_shortcut = Conv2d(inputs, outputs, 1, keys[2]) if inputs != outputs else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.conv1(jax.nn.silu(self.norm1(x)))
        y = self.conv2(jax.nn.silu(self.norm2(y)))
        return (x if self.nin_shortcut is None else self.nin_shortcut(x)) + y


class AttentionBlock(Module):
    """Every pixel looks at every other, with one head as wide as the channels."""

    def __init__(self, channels: int, key: jax.Array) -> None:
        keys = jax.random.split(key, 4)
        self.norm = GroupNorm(channels, GROUPS, NORM_EPS)
        self.q, self.k, self.v, self.proj_out = (Conv2d(channels, channels, 1, k) for k in keys)

    def __call__(self, x: jax.Array) -> jax.Array:
        b, h, w, c = x.shape
        y = self.norm(x)
        q, k, v = (layer(y).reshape(b, h * w, 1, c) for layer in (self.q, self.k, self.v))
        y = attention(q, k, v, mask=MaskSpec(causal=False), backend="xla")
        return x + self.proj_out(y.reshape(b, h, w, c))


class Resample(Module):
    """A convolution that halves the resolution, or one after each pixel has been repeated 2 x 2."""

    def __init__(self, channels: int, up: bool, key: jax.Array) -> None:
        # "SAME" with stride 2 pads an even picture at the right and the bottom only, as published.
        self.conv = Conv2d(channels, channels, 3, key, stride=1 if up else 2)
        self.up = up

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.conv(jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2) if self.up else x)


class _Stack(Module):
    """What both ways share: a first convolution, the middle at the lowest resolution, levels, norm and last one."""

    def __init__(self, inputs: int, first: int, middle: int, last: int, outputs: int, keys: Any) -> None:
        self.conv_in = Conv2d(inputs, first, 3, next(keys))
        self.mid_block_1 = ResnetBlock(middle, middle, next(keys))
        self.mid_attn_1 = AttentionBlock(middle, next(keys))
        self.mid_block_2 = ResnetBlock(middle, middle, next(keys))
        self.norm_out = GroupNorm(last, GROUPS, NORM_EPS)
        self.conv_out = Conv2d(last, outputs, 3, next(keys))

    def _add_levels(
        self, name: str, channels: tuple[int, ...], attend: tuple[bool, ...], blocks: int, up: bool, keys: Any
    ) -> None:
        """`channels`: of what comes in, and of every level."""
        self.levels, self.blocks, self.name = len(attend), blocks, name
        for level in range(self.levels):
            inputs, outputs = channels[level : level + 2]
            for block in range(blocks):
                block_inputs = outputs if block else inputs
                setattr(self, f"{name}_{level}_block_{block}", ResnetBlock(block_inputs, outputs, next(keys)))
                if attend[level]:
                    setattr(self, f"{name}_{level}_attn_{block}", AttentionBlock(outputs, next(keys)))
            if level < self.levels - 1:
                setattr(self, f"{name}_{level}_{name}sample", Resample(outputs, up, next(keys)))

    def _run_levels(self, x: jax.Array) -> jax.Array:
        for level in range(self.levels):
            for block in range(self.blocks):
                x = getattr(self, f"{self.name}_{level}_block_{block}")(x)
                attend = getattr(self, f"{self.name}_{level}_attn_{block}", None)
                x = x if attend is None else attend(x)
            if level < self.levels - 1:
                x = getattr(self, f"{self.name}_{level}_{self.name}sample")(x)
        return x

    def _run_middle(self, x: jax.Array) -> jax.Array:
        return self.mid_block_2(self.mid_attn_1(self.mid_block_1(x)))

    def _leave(self, x: jax.Array) -> jax.Array:
        return self.conv_out(jax.nn.silu(self.norm_out(x)))


class Encoder(_Stack):
    """Pictures [b, size, size, 3] in [-1, 1] -> [b, grid, grid, z_channels]."""

    def __init__(self, settings: VQGANSettings, key: jax.Array) -> None:
        keys = iter(jax.random.split(key, 6 + len(settings.ch_mult) * (2 * settings.num_res_blocks + 1)))
        channels = settings.channels
        super().__init__(3, settings.ch, channels[-1], channels[-1], settings.z_channels, keys)
        attend = tuple(r in settings.attn_resolutions for r in settings.resolutions)
        self._add_levels("down", (settings.ch, *channels), attend, settings.num_res_blocks, False, keys)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self._leave(self._run_middle(self._run_levels(self.conv_in(x))))


class Decoder(_Stack):
    """[b, grid, grid, z_channels] -> pictures [b, size, size, 3], about [-1, 1]."""

    def __init__(self, settings: VQGANSettings, key: jax.Array) -> None:
        keys = iter(jax.random.split(key, 6 + len(settings.ch_mult) * (2 * settings.num_res_blocks + 3)))
        channels = settings.channels[::-1]
        super().__init__(settings.z_channels, channels[0], channels[0], channels[-1], 3, keys)
        attend = tuple(r in settings.attn_resolutions for r in settings.resolutions[::-1])
        self._add_levels("up", (channels[0], *channels), attend, settings.num_res_blocks + 1, True, keys)

    def __call__(self, z: jax.Array) -> jax.Array:
        return self._leave(self._run_levels(self._run_middle(self.conv_in(z))))


class VQGAN(Module):
    """Encoder and decoder with the 1 x 1 convolutions around the codes; the codebook lies beside them."""

    def __init__(self, settings: VQGANSettings, key: jax.Array) -> None:
        keys = jax.random.split(key, 4)
        z = settings.z_channels
        self.encoder, self.decoder = Encoder(settings, keys[0]), Decoder(settings, keys[1])
        self.quant_conv, self.post_quant_conv = Conv2d(z, z, 1, keys[2]), Conv2d(z, z, 1, keys[3])

    def latents(self, pictures: jax.Array) -> jax.Array:
        """Pictures [b, size, size, 3] in [0, 1] -> [b, grid, grid, code_dim]."""
        return self.quant_conv(self.encoder(2 * pictures - 1))

    def rebuild(self, vectors: jax.Array) -> jax.Array:
        """[b, grid, grid, code_dim] -> pictures, about [0, 1] and not clipped."""
        return (self.decoder(self.post_quant_conv(vectors)) + 1) / 2
