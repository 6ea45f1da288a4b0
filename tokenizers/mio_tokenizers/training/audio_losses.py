"""Losses of audio codecs, as published for SpeechTokenizer, and spectral ones for tones.

Waveforms are [B, N]; discriminator outputs are lists, one entry a discriminator.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from mio_tokenizers.audio.spectral import log_mel, magnitude

Outputs = Sequence[jax.Array]


def mel_distances(
    x: jax.Array,
    y: jax.Array,
    sizes: Sequence[int],
    hops: Sequence[int],
    mels: int,
    rate: int,
    high: float | None = None,
) -> list[jax.Array]:
    """L1 between log-mel spectrograms, one scalar for each (window, hop); the longer is cut to the shorter's frames."""
    out = []
    for size, hop in zip(sizes, hops, strict=True):
        a, b = (log_mel(wave, size, hop, mels, rate, high) for wave in (x, y))
        frames = min(a.shape[1], b.shape[1])
        out.append(jnp.mean(jnp.abs(a[:, :frames] - b[:, :frames])))
    return out


def stft_distance(x: jax.Array, y: jax.Array, sizes: Sequence[int], floor: float = 1e-3) -> jax.Array:
    """L1 of magnitudes (full-scale sine = 1) and of their logarithms above `floor`, averaged over window sizes.

    Linear magnitudes weigh what is loud, logarithms the quiet rest. Hop: a quarter of the window.
    """
    total = jnp.zeros(())
    for size in sizes:
        edge = size // 2
        a, b = (magnitude(jnp.pad(wave, ((0, 0), (edge, edge))), size, size // 4, 1e-9) * (4 / size) for wave in (x, y))
        total += 20 * jnp.mean(jnp.abs(a - b)) + jnp.mean(jnp.abs(jnp.log(a + floor) - jnp.log(b + floor)))
    return total / len(sizes)


def wave_l1(x: jax.Array, y: jax.Array) -> jax.Array:
    """Mean absolute difference of samples over the shorter length."""
    length = min(x.shape[1], y.shape[1])
    return jnp.mean(jnp.abs(x[:, :length] - y[:, :length]))


def cosine(a: jax.Array, b: jax.Array, axis: int) -> jax.Array:
    """Cosine along an axis of two arrays of equal shape."""
    norms = jnp.linalg.norm(a, axis=axis) * jnp.linalg.norm(b, axis=axis)
    return jnp.sum(a * b, axis) / jnp.maximum(norms, 1e-8)


def _cut(feature: jax.Array, teacher: jax.Array) -> tuple[jax.Array, jax.Array]:
    frames = min(feature.shape[1], teacher.shape[1])
    return feature[:, :frames], teacher[:, :frames]


def distill_by_dimension(feature: jax.Array, teacher: jax.Array) -> jax.Array:
    """Each dimension's course over time should point the teacher's way. [B, T, D] each -> scalar."""
    return -jnp.mean(jax.nn.log_sigmoid(cosine(*_cut(feature, teacher), axis=1)))


def distill_by_frame(feature: jax.Array, teacher: jax.Array, weight: float = 1.0) -> jax.Array:
    """Each frame should equal the teacher's (L1) and point its way. [B, T, D] each -> scalar."""
    a, b = _cut(feature, teacher)
    return jnp.mean(jnp.abs(a - b)) - weight * jnp.mean(jax.nn.log_sigmoid(cosine(a, b, axis=2)))


def feature_matching(real: Sequence[Outputs], made: Sequence[Outputs]) -> jax.Array:
    """2 * sum over discriminators and layers of the mean absolute difference of feature maps."""
    terms = [jnp.mean(jnp.abs(r - m)) for rs, ms in zip(real, made, strict=True) for r, m in zip(rs, ms, strict=True)]
    return 2 * sum(terms, jnp.zeros(()))


def discriminator_loss(real: Outputs, made: Outputs) -> jax.Array:
    """Least squares: real outputs towards 1, made ones towards 0; summed over discriminators."""
    terms = [jnp.mean((1 - r) ** 2) + jnp.mean(m**2) for r, m in zip(real, made, strict=True)]
    return sum(terms, jnp.zeros(()))


def adversarial_loss(made: Outputs) -> jax.Array:
    """Least squares: made outputs towards 1; summed over discriminators."""
    return sum((jnp.mean((1 - m) ** 2) for m in made), jnp.zeros(()))


def soft_cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Divergence of softmax(logits) from the distributions `targets`, [..., n] each; 0 where they are equal."""
    return jnp.mean(jnp.sum(targets * (jnp.log(targets + 1e-9) - jax.nn.log_softmax(logits)), -1))
