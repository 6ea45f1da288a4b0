"""Light augmentation of pictures on the device, so that the tokenizer serves pictures it has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.config import require

_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], np.float32)
_TO_RGB = np.linalg.inv(_TO_YIQ).astype(np.float32)


@dataclass(frozen=True)
class AugmentConfig:
    """Probabilities by picture. Shifts are by whole pixels, which keeps edges sharp; scaling blurs them a little."""

    flip: float = 0.5
    transpose: float = 0.15
    shift: float = 0.6
    max_shift: int = 8
    scale: float = 0.25
    min_scale: float = 0.7
    max_scale: float = 1.3
    hue: float = 0.2

    def __post_init__(self) -> None:
        for name in ("flip", "transpose", "shift", "scale", "hue"):
            require(0 <= getattr(self, name) <= 1, f"augment.{name} is {getattr(self, name)}; it must be in [0, 1]")
        require(self.max_shift >= 0, f"augment.max_shift is {self.max_shift}; it must be 0 or more")
        require(
            0 < self.min_scale <= self.max_scale,
            f"augment.min_scale {self.min_scale} and max_scale {self.max_scale} must be positive and in order",
        )


def rotate_hue(pictures: jax.Array, angles: jax.Array) -> jax.Array:
    """Rotates the colours of [b, h, w, 3] by [b] radians; greys, black and white stay."""
    yiq = jnp.matmul(pictures, _TO_YIQ.T, precision="highest")
    cos, sin = jnp.cos(angles)[:, None, None], jnp.sin(angles)[:, None, None]
    y, i, q = yiq[..., 0], yiq[..., 1], yiq[..., 2]
    turned = jnp.stack([y, cos * i - sin * q, sin * i + cos * q], axis=-1)
    return jnp.clip(jnp.matmul(turned, _TO_RGB.T, precision="highest"), 0, 1)


def move(pictures: jax.Array, scales: jax.Array, shifts: jax.Array) -> jax.Array:
    """Scales [b, h, w, 3] about the middle by [b] and shifts by [b, 2] pixels; the corner's colour fills up."""
    size = pictures.shape[1]
    background = pictures[:, :1, :1]

    def one(picture: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
        translation = shift + (1 - scale) * size / 2
        scale = jnp.stack([scale, scale])
        return jax.image.scale_and_translate(
            picture, picture.shape, (0, 1), scale, translation, "linear", precision=jax.lax.Precision.HIGHEST
        )

    return jnp.clip(jax.vmap(one)(pictures - background, scales, shifts) + background, 0, 1)


def augment(pictures: jax.Array, key: jax.Array, config: AugmentConfig) -> jax.Array:
    """float32 [b, size, size, 3] in [0, 1] -> the same shape and range."""
    batch = pictures.shape[0]
    keys = jax.random.split(key, 8)

    def chance(i: int, probability: float) -> jax.Array:
        return jax.random.bernoulli(keys[i], float(probability), (batch,))

    def pick(condition: jax.Array, yes: jax.Array, no: jax.Array) -> jax.Array:
        return jnp.where(condition.reshape((batch,) + (1,) * (yes.ndim - 1)), yes, no)

    pictures = pick(chance(0, config.flip), pictures[:, :, ::-1], pictures)
    pictures = pick(chance(1, config.transpose), pictures.transpose(0, 2, 1, 3), pictures)
    scales = jax.random.uniform(keys[2], (batch,), minval=config.min_scale, maxval=config.max_scale)
    scales = pick(chance(3, config.scale), scales, jnp.ones((batch,)))
    shifts = jax.random.randint(keys[4], (batch, 2), -config.max_shift, config.max_shift + 1).astype(jnp.float32)
    shifts = pick(chance(5, config.shift), shifts, jnp.zeros((batch, 2)))
    pictures = move(pictures, scales, shifts)
    angles = jax.random.uniform(keys[6], (batch,), minval=-np.pi, maxval=np.pi)
    return pick(chance(7, config.hue), rotate_hue(pictures, angles), pictures)
