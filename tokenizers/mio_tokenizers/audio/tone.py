"""Harmonic-plus-noise synthesis from frames: sines at the multiples of a fundamental, and bands of fixed noise.

At 25 frames a second a convolutional decoder cannot keep a tone's phase from frame to frame unless the codes spell it
out, which costs most of their bits and makes them look random to a language model. Here the fundamental is a number
for each frame and its phase is integrated, so that steady codes sound as a steady note in tune. The idea is DDSP's.

Frames describe the middle of their hop; between middles every control is interpolated linearly.
Legend: B batch, T frames, N = T * hop samples, K harmonics.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mio_tokenizers.audio.spectral import mel_filters

NOISE_PERIOD = 16384  # samples after which the noise repeats
NYQUIST_MARGIN = 0.47  # harmonics above this share of the rate are silent


def _share(hop: int) -> np.ndarray:
    """How far each sample lies on the way from one frame middle to the next. float32 [hop]."""
    return (np.arange(hop, dtype=np.float32) + 0.5) / hop


def _segments(x: jax.Array, hop: int) -> jax.Array:
    """[B, T, C] -> [B, T + 1, hop, C]: straight lines between frame middles, from half a hop before the first one."""
    padded = jnp.concatenate([x[:, :1], x, x[:, -1:]], 1)
    share = _share(hop)[:, None]
    return padded[:, :-1, None] * (1 - share) + padded[:, 1:, None] * share


def _trim(x: jax.Array, hop: int) -> jax.Array:
    """[B, T + 1, hop, ...] -> [B, T * hop, ...]: drops the half hop at both ends."""
    flat = x.reshape(x.shape[0], -1, *x.shape[3:])
    return flat[:, hop // 2 : hop // 2 + (x.shape[1] - 1) * hop]


def interpolate(x: jax.Array, hop: int) -> jax.Array:
    """[B, T, C] -> [B, T * hop, C]."""
    return _trim(_segments(x, hop), hop)


def phase_of(f0: jax.Array, hop: int, rate: int) -> tuple[jax.Array, jax.Array]:
    """f0 [B, T] in Hz -> frequency in Hz and phase in cycles of the fundamental, [B, T + 1, hop] each.

    Like the segments of `_segments` they begin half a hop before the first sample.
    """
    frequency = _segments(f0[..., None], hop)[..., 0]
    within = jnp.cumsum(frequency / rate, -1)
    # Whole cycles are dropped hop by hop, so that float32 holds the phase of a long sound as well as of a short one.
    starts = jnp.cumsum(within[..., -1] % 1.0, -1) % 1.0
    return frequency, within + jnp.pad(starts[:, :-1], ((0, 0), (1, 0)))[..., None]


def harmonics(f0: jax.Array, levels: jax.Array, hop: int, rate: int) -> jax.Array:
    """Sum of sines at multiples 1..K of the fundamental.

    Args:
      f0: [B, T] in Hz; no gradient passes (the phase of a distant sample swings too fast with it to be of use).
      levels: [B, T, K] amplitudes.

    Returns:
      [B, N].
    """
    frequency, phase = phase_of(jax.lax.stop_gradient(f0), hop, rate)
    number = np.arange(1, levels.shape[-1] + 1, dtype=np.float32)
    audible = frequency[..., None] * number < NYQUIST_MARGIN * rate
    waves = jnp.where(audible, jnp.sin(2 * jnp.pi * ((phase[..., None] * number) % 1.0)), 0)  # [B, T + 1, hop, K]
    # Between two frame middles the levels are straight lines, so the sum over harmonics is two small matrix products
    # and the levels of every sample are never written out: half the time of a training step on a CPU.
    padded = jnp.concatenate([levels[:, :1], levels, levels[:, -1:]], 1)
    ends = jnp.stack([padded[:, :-1], padded[:, 1:]], -1)  # [B, T + 1, K, 2]
    sums = jnp.einsum("bsnk,bske->bsne", jax.lax.stop_gradient(waves), ends)
    share = _share(hop)
    return _trim(sums[..., 0] * (1 - share) + sums[..., 1] * share, hop)


@functools.lru_cache(maxsize=4)
def noise_bank(bands: int, rate: int) -> np.ndarray:
    """Fixed noise in mel-spaced bands, each of unit power, periodic without a seam. float32 [NOISE_PERIOD, bands]."""
    # RandomState's stream is frozen for good, unlike that of the newer generators: the same codes sound the same later.
    noise = np.fft.rfft(np.random.RandomState(0).standard_normal(NOISE_PERIOD))
    filters = mel_filters(NOISE_PERIOD, bands, rate)
    signals = np.fft.irfft(noise[:, None] * np.sqrt(filters / filters.max(0)), NOISE_PERIOD, axis=0)
    return (signals / np.sqrt(np.mean(signals**2, 0))).astype(np.float32)


def noise(levels: jax.Array, hop: int, rate: int) -> jax.Array:
    """[B, T, bands] amplitudes -> [B, N] noise shaped by them."""
    bank = noise_bank(levels.shape[-1], rate)
    samples = levels.shape[1] * hop
    return jnp.sum(interpolate(levels, hop) * np.resize(bank, (samples, bank.shape[1])), -1)
