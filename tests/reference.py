"""Slow twins: each part of a model in about ten lines of float64 numpy, written to be read rather than to be fast."""

from __future__ import annotations

import numpy as np


def rms_norm(x: np.ndarray, scale: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt(np.mean(np.square(x, dtype=np.float64), axis=-1, keepdims=True) + eps) * scale


def rotate(x: np.ndarray, positions: np.ndarray, theta: float) -> np.ndarray:
    """x [batch, length, heads, head_dim], positions [batch, length]."""
    half = x.shape[-1] // 2
    angle = positions[..., None, None] * theta ** (-np.arange(half) / half)
    angle = np.concatenate([angle, angle], axis=-1)
    turned = np.concatenate([-x[..., half:], x[..., :half]], axis=-1)
    return x * np.cos(angle) + turned * np.sin(angle)


def attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, *, causal: bool, segments: np.ndarray | None = None
) -> np.ndarray:
    """One loop over batch, head and query; a query that may see nothing yields zeros. Rows of q and k are the same."""
    q, k, v = (np.asarray(x) for x in (q, k, v))
    out = np.zeros(q.shape)
    for b, t, h in np.ndindex(q.shape[:3]):
        g = h // (q.shape[2] // k.shape[2])
        sees = [s for s in range(k.shape[1]) if s <= t or not causal]
        if segments is not None:
            sees = [s for s in sees if segments[b, s] == segments[b, t] != 0]
        if sees:
            score = k[b, sees, g].astype(np.float64) @ q[b, t, h] / np.sqrt(q.shape[-1])
            p = np.exp(score - score.max())
            out[b, t, h] = p / p.sum() @ v[b, sees, g]
    return out


def cross_entropy(logits: np.ndarray, targets: np.ndarray, z_loss: float = 0.0) -> np.ndarray:
    """[..., vocab] and [...] -> [...]."""
    logits = logits.astype(np.float64)
    top = logits.max(axis=-1)
    lse = top + np.log(np.exp(logits - top[..., None]).sum(axis=-1))
    return lse - np.take_along_axis(logits, targets[..., None], axis=-1)[..., 0] + z_loss * lse**2
