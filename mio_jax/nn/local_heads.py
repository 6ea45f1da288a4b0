"""Attention written for one device, run on every device's own rows and heads.

The partitioner cannot cut a kernel, nor a loop that passes blocks around a ring; here the cut is written out, by the
rules in force.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from mio_jax.errors import MioError
from mio_jax.nn.base import spec_in_force

Local = Callable[..., jax.Array]  # of q, k, v and arrays of rows


def length_axes(q: jax.Array) -> tuple[str, ...]:
    """The mesh axes that the rules in force lay the length of q [B, T, H, K] on."""
    spec = spec_in_force(("batch", "length", "heads", "kv"), q.shape)
    over = None if spec is None else spec[1]
    mesh = jax.sharding.get_abstract_mesh()
    return tuple(axis for axis in ((over,) if isinstance(over, str) else over or ()) if mesh.shape[axis] > 1)


def on_each_device(
    local: Local,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *rows: jax.Array,
    whole_rows: str = "",
) -> jax.Array:
    """`local(q, k, v, *rows)` on each device's part; on the arrays as they are where no mesh is in force.

    Args:
      q: [B, T, H, K]. k, v: [B, S, G, K]. rows: what is said of each place of a row, [B, T] or [B, S].
      whole_rows: name of a backend that needs them.

    Raises:
      MioError: the rules split the length of rows that must be whole.
    """
    spec = spec_in_force(("batch", "length", "heads", "kv"), q.shape)
    if spec is None:
        return local(q, k, v, *rows)
    if whole_rows and length_axes(q):
        raise MioError(
            f"model.attention {whole_rows!r} needs whole rows, and the mesh splits their length over "
            f"{' x '.join(length_axes(q))}; use 'ring' or 'auto'"
        )
    kv_spec = spec_in_force(("batch", "length", "kv_heads", "kv"), k.shape)
    if kv_spec != spec:  # fewer key heads than devices: each query head brings its own copy of one
        k, v = (jnp.repeat(x, q.shape[2] // k.shape[2], axis=2) for x in (k, v))
    row: Any = PartitionSpec(spec[0], spec[1])
    # Kernels and ring steps do not say how their results vary over the mesh, so that JAX cannot check it.
    specs = (spec, spec, spec, *[row] * len(rows))
    return jax.shard_map(local, in_specs=specs, out_specs=spec, check_vma=False)(q, k, v, *rows)
