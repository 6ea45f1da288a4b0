"""Optimizer state that rests in the host's memory and visits the device for the update."""

from __future__ import annotations

from typing import Any

import jax
from jax.sharding import Mesh

from mio_jax.errors import MioError

HOST = "pinned_host"  # memory that a device reads and writes by itself


def rest_on_host(opt_state: Any, mesh: Mesh) -> Any:
    """Abstract optimizer state with its arrays laid in the host's memory, split as before; scalars stay.

    Raises:
      MioError: devices that cannot reach the host's memory.
    """
    device = mesh.devices.flat[0]
    kinds = sorted(memory.kind for memory in device.addressable_memories())
    if HOST not in kinds:
        raise MioError(
            f"mesh.offload_optimizer needs devices that reach the host's memory ({HOST}); {device.device_kind} has "
            f"{', '.join(kinds)}; leave it false"
        )

    def rest(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        kind = HOST if leaf.shape else None
        sharding = leaf.sharding.with_memory_kind(kind) if kind else leaf.sharding
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(rest, opt_state)


def fetch(opt_state: Any, abstract: Any) -> Any:
    """Within a compiled step: what rests on the host is brought to the device; the rest as it is."""

    def bring(x: jax.Array, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        if leaf.sharding.memory_kind != HOST:
            return x
        return jax.device_put(x, leaf.sharding.with_memory_kind("device"))

    return jax.tree.map(bring, opt_state, abstract)
