"""cuDNN's attention beside XLA's on one NVIDIA GPU: first that they agree, then their times. `make bench-gpu` runs it.

Exits with an error where output or a gradient differs by more than bfloat16's rounding; prints one line a case.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.nn.attention import MaskSpec, attention

ROWS, LENGTH, HEADS, KV_HEADS, HEAD_DIM = 4, 2048, 16, 4, 128
TOLERANCE = 0.02  # of the largest value


def inputs() -> tuple[list[jax.Array], jax.Array]:
    """q, k, v in bfloat16, and segments of packed rows with padding at the end."""
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = [(ROWS, LENGTH, n, HEAD_DIM) for n in (HEADS, KV_HEADS, KV_HEADS)]
    tensors = [jax.random.normal(key, shape, jnp.bfloat16) for key, shape in zip(keys, shapes, strict=True)]
    cuts = np.digitize(np.arange(LENGTH), [300, 1100, 1500, LENGTH - 50])
    return tensors, jnp.asarray(np.tile(np.where(cuts == 4, 0, cuts + 1), (ROWS, 1)), jnp.int32)


def step(backend: str, segments: jax.Array | None) -> Any:
    """Jitted (q, k, v) -> output and gradients."""

    def total(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
        given = {"q_segments": segments, "kv_segments": segments}
        out = attention(q, k, v, mask=MaskSpec(), backend=backend, **given)
        return jnp.sin(out.astype(jnp.float32)).sum(), out

    return jax.jit(jax.grad(total, argnums=(0, 1, 2), has_aux=True))


def seconds(run: Any, tensors: list[jax.Array]) -> float:
    times = []
    for _ in range(10):
        began = time.perf_counter()
        jax.block_until_ready(run(*tensors))
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> int:
    if jax.default_backend() != "gpu":
        print(f"attention_backends needs an NVIDIA GPU; this is a {jax.default_backend()}", file=sys.stderr)
        return 2
    tensors, packed = inputs()
    worst = 0.0
    for name, segments in (("causal", None), ("causal, packed", packed)):
        fused, plain = step("cudnn", segments), step("xla", segments)
        ours, theirs = (jax.tree.leaves(run(*tensors)) for run in (fused, plain))
        for a, b in zip(ours, theirs, strict=True):
            a, b = (np.asarray(x, np.float32) for x in (a, b))
            worst = max(worst, float(np.abs(a - b).max() / np.abs(b).max()))
        fast, slow = seconds(fused, tensors), seconds(plain, tensors)
        print(f"{name}: cudnn {1e3 * fast:.2f} ms, xla {1e3 * slow:.2f} ms, ratio {slow / fast:.2f}; worst {worst:.4f}")
    return 0 if worst < TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
