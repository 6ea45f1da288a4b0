"""Losses for line art and masks, and the patch discriminator; pictures are float32 [b, h, w, 3] in [0, 1]."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mio_jax.nn.base import List, Module
from mio_tokenizers.layers import Conv2d, space_to_depth


def gradients(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Differences to the lower and to the right neighbour."""
    return x[:, 1:] - x[:, :-1], x[:, :, 1:] - x[:, :, :-1]


def edge_weights(target: jax.Array, strength: float) -> jax.Array:
    """1 on flat colour, up to 1 + `strength` on and beside edges; [b, h, w, 1]."""
    dy, dx = (jnp.max(jnp.abs(g), axis=-1, keepdims=True) for g in gradients(target))
    dy = jnp.maximum(jnp.pad(dy, ((0, 0), (0, 1), (0, 0), (0, 0))), jnp.pad(dy, ((0, 0), (1, 0), (0, 0), (0, 0))))
    dx = jnp.maximum(jnp.pad(dx, ((0, 0), (0, 0), (0, 1), (0, 0))), jnp.pad(dx, ((0, 0), (0, 0), (1, 0), (0, 0))))
    return 1.0 + strength * jnp.minimum(jnp.maximum(dx, dy), 1.0)


def halve(x: jax.Array) -> jax.Array:
    """Mean of 2x2 pixels."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))


def reconstruction_losses(output: jax.Array, target: jax.Array, edge_strength: float) -> dict[str, jax.Array]:
    """Scalars: `l1` and `l2` weighted at edges, `edge` (L1 of the differences), `multiscale` (L1 at 1/2, 1/4, 1/8)."""
    difference = output - target
    weights = edge_weights(target, edge_strength)
    losses = {
        "l1": jnp.mean(weights * jnp.abs(difference)),
        "l2": jnp.mean(weights * difference**2),
        "edge": jnp.sum(jnp.stack([jnp.mean(jnp.abs(g)) for g in gradients(difference)])),
    }
    coarse, scales = difference, []
    for _ in range(3):
        coarse = halve(coarse)
        scales.append(jnp.mean(jnp.abs(coarse)))
    losses["multiscale"] = jnp.mean(jnp.stack(scales))
    return losses


def psnr(output: jax.Array, target: jax.Array) -> jax.Array:
    """Peak signal-to-noise ratio in dB of each picture, [b]."""
    error = jnp.mean((jnp.clip(output, 0, 1) - target) ** 2, axis=(1, 2, 3))
    return -10 * jnp.log10(jnp.maximum(error, 1e-10))


class PatchDiscriminator(Module):
    """Scores [b, h/8, w/8] of overlapping patches of about 30 pixels: high for real ones."""

    def __init__(self, width: int, key: jax.Array, channels: int = 3) -> None:
        keys = jax.random.split(key, 4)
        self.enter = Conv2d(4 * channels, width, 3, keys[0], gain=1.4)
        self.body = List(
            [Conv2d(width, 2 * width, 3, keys[1], stride=2), Conv2d(2 * width, 4 * width, 3, keys[2], stride=2)]
        )
        self.leave = Conv2d(4 * width, 1, 3, keys[3])

    def __call__(self, pictures: jax.Array) -> jax.Array:
        x = jax.nn.leaky_relu(self.enter(space_to_depth(2 * pictures - 1, 2)), 0.2)
        for conv in self.body:
            x = jax.nn.leaky_relu(conv(x), 0.2)
        return self.leave(x)[..., 0]
