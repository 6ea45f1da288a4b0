"""What the compiler is asked for beyond its defaults, by kind of device."""

from __future__ import annotations

from jax.sharding import Mesh

# Collectives run beside arithmetic, whole. By default a gather of weights in a scan over layers holds the device up.
OVERLAP = {
    "xla_enable_async_all_gather": "true",
    "xla_tpu_prefer_async_allgather_to_allreduce": "true",
    "xla_tpu_enable_async_collective_fusion": "true",
    "xla_tpu_enable_async_collective_fusion_fuse_all_gather": "true",
    "xla_tpu_enable_async_collective_fusion_multiple_steps": "true",
    "xla_tpu_overlap_compute_collective_tc": "true",
    # From some size on, the partitioner makes a product with a gathered weight in as many turns as there are devices,
    # and adds up: results of activations' size go to memory and back in each (three times the step of Unified-IO 2 L).
    "xla_jf_spmd_threshold_for_windowed_einsum_mib": "1000000",
}


def compiler_options(mesh: Mesh) -> dict[str, str]:
    """Options of `jax.jit(compiler_options=)` for programs on this mesh; none where there is nothing to overlap."""
    device = mesh.devices.flat[0]
    return dict(OVERLAP) if device.platform == "tpu" and mesh.size > 1 else {}
