"""Attention kernels of others: cuDNN's on NVIDIA GPUs, Pallas splash attention on TPUs."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from mio_jax.errors import MioError
from mio_jax.nn.base import platform
from mio_jax.nn.local_heads import on_each_device
from mio_jax.nn.remat import ATTENTION

LANES = 128  # of a TPU's vector unit: splash works on blocks that are multiples of it
BLOCKS = (  # tokens that a step of the kernels takes: forward, gradient to keys and values, gradient to queries
    *("block_q", "block_kv", "block_kv_compute"),
    *("block_q_dkv", "block_kv_dkv", "block_kv_dkv_compute"),
    *("block_q_dq", "block_kv_dq"),
)


def cudnn_serves() -> bool:
    """Whether this host's GPUs are NVIDIA's, Ampere or later (others have no kernel)."""
    found = re.fullmatch(r"(\d+)\.\d+", str(getattr(jax.local_devices()[0], "compute_capability", "")))
    return found is not None and int(found[1]) >= 8


def cudnn_attention(q: jax.Array, k: jax.Array, v: jax.Array, allowed: jax.Array | None, *, causal: bool) -> jax.Array:
    """Shapes as in `mio_jax.nn.attention.attention`; `allowed` is bool [batch or 1, q_length, kv_length].

    cuDNN takes a mask as an additive bias of that size: with segments or a prefix, the mask is stored if the scores are
    not.

    Raises:
      MioError: no NVIDIA GPU in the mesh in force, or a dtype or head width that cuDNN does not take.
    """
    if platform() != "gpu":
        raise MioError(f"model.attention 'cudnn' runs on NVIDIA GPUs, and this is a {platform()}; use 'auto'")
    if q.dtype not in (jnp.bfloat16, jnp.float16):
        raise MioError(
            f"model.attention 'cudnn' takes bfloat16, not {q.dtype}; set model.dtype=bfloat16, or use 'auto'"
        )
    if q.shape[-1] % 8 or q.shape[-1] > 128:
        raise MioError(
            f"model.attention 'cudnn' takes heads of up to 128 in steps of 8, and model.head_dim is {q.shape[-1]}; "
            "use 'auto'"
        )
    mask = None if allowed is None else allowed[:, None]
    out = jax.nn.dot_product_attention(q, k, v, mask=mask, is_causal=causal, implementation="cudnn")
    if allowed is not None:  # a query that may see nothing: cuDNN gives the mean of all
        out = jnp.where(allowed.any(axis=-1)[:, :, None, None], out, 0)
    return checkpoint_name(out, ATTENTION)


def splash_attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    segments: jax.Array | None,
    kv_segments: jax.Array | None,
    prefix: jax.Array | None,
    causal: bool,
    *,
    interpret: bool = False,
) -> jax.Array:
    """Shapes as in `mio_jax.nn.attention.attention`, of whole rows; they are padded to whole blocks.

    Queries and keys may be of different rows, and of different lengths, where the mask is not causal. `interpret` runs
    the kernel in the Pallas interpreter, on any device and slowly (for tests).

    Raises:
      MioError: no TPU in the mesh in force, rows split over devices, or a prefix (the kernel's masks are known when it
        is compiled, a prefix only when it runs).
    """
    if platform() != "tpu" and not interpret:
        raise MioError(f"model.attention 'splash' runs on TPUs, and this is a {platform()}; use 'auto'")
    if prefix is not None:
        raise MioError("model.attention 'splash' has no prefix masks that differ by row; use 'chunked' or 'auto'")
    unlike = segments is not kv_segments
    if segments is None or kv_segments is None:
        segments, kv_segments = (jnp.ones(x.shape[:2], jnp.int32) for x in (q, k))
    local = partial(_splash, causal=causal, unlike=unlike, interpret=interpret)
    return on_each_device(local, q, k, v, segments, kv_segments, whole_rows="splash")


def padded(length: int) -> tuple[int, int]:
    """(length, block) of a row as the kernel takes it: large blocks, unless they pad it by more than an eighth."""
    for block in (512, 256):
        whole = -(-length // block) * block
        if 8 * whole <= 9 * length:
            return whole, block
    return -(-length // LANES) * LANES, LANES


def _splash(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    segments: jax.Array,
    kv_segments: jax.Array,
    causal: bool,
    unlike: bool,
    interpret: bool,
) -> jax.Array:
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    (q_whole, q_block), (kv_whole, kv_block), heads = padded(q.shape[1]), padded(k.shape[1]), q.shape[2]
    one = masks.CausalMask((q_whole, kv_whole)) if causal else masks.FullMask((q_whole, kv_whole))
    blocks: Any = {name: q_block if name.startswith("block_q") else kv_block for name in BLOCKS}
    kernel = splash.make_splash_mha(
        mask=masks.MultiHeadMask([one] * heads),
        head_shards=1,
        q_seq_shards=1,
        block_sizes=splash.BlockSizes(**blocks),
        residual_checkpoint_name=ATTENTION,
        mask_value=float(np.finfo(np.float32).min) / 2,
        interpret=interpret,
    )

    def filled(x: jax.Array, whole: int) -> jax.Array:
        """[T, H, K] -> [H, whole, K]."""
        return jnp.pad(x.swapaxes(0, 1), ((0, 0), (0, whole - x.shape[0]), (0, 0)))

    def row(q: jax.Array, k: jax.Array, v: jax.Array, own: jax.Array, theirs: jax.Array) -> jax.Array:
        # What is added has segment 0: only padding sees it.
        ids = splash.SegmentIds(jnp.pad(own, (0, q_whole - own.size)), jnp.pad(theirs, (0, kv_whole - theirs.size)))
        out = kernel(
            filled(q * q.shape[-1] ** -0.5, q_whole), filled(k, kv_whole), filled(v, kv_whole), segment_ids=ids
        )
        return out[:, : own.size].swapaxes(0, 1)

    out = jax.vmap(row)(q, k, v, segments, kv_segments).astype(q.dtype)
    # A query that may see nothing gets some mean from the kernel: padding, or one whose segment the keys do not have.
    served = segments != 0
    if unlike:
        served &= (segments[:, :, None] == kv_segments[:, None]).any(axis=-1)
    return jnp.where(served[:, :, None, None], out, 0)
