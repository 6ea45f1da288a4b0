"""The device mesh: axes `replica`, `data`, `fsdp`, `seq`, `tensor`, outermost first, on one device as on many.

Neighbours along the last axes are the best connected. `replica` joins the slices of a job, between which only the
data-center network runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from mio_jax.config import MESH_AXES, MeshConfig
from mio_jax.errors import MioError


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh that `config` asks for, with Auto axis types (the partitioner places what nobody constrains).

    Args:
      config: sizes of the axes and a preset; the axis that is -1 takes the devices that the others leave.
      devices: which to use (default: all of this job). Sizes that need fewer take the first ones.

    Raises:
      MioError: sizes that the number of devices does not allow.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes = config.axis_sizes()
    fixed = math.prod(size for size in sizes.values() if size != -1)
    asked = ", ".join(f"mesh.{axis}={size}" for axis, size in sizes.items() if size != 1)
    if fixed > len(devices):
        raise MioError(f"{asked} needs {fixed} devices, and there are {len(devices)}; lower one of them")
    for axis, size in sizes.items():
        if size == -1:
            if len(devices) % fixed:
                raise MioError(f"{asked}: {len(devices)} devices do not divide by {fixed}; mend the mesh sizes")
            sizes[axis] = len(devices) // fixed
    count = math.prod(sizes.values())
    if count < len(devices) and jax.process_count() > 1:
        raise MioError(f"{asked} uses {count} of {len(devices)} devices; a job of several processes must use them all")
    # JAX's default is Explicit since 0.7, in which every contraction over a sharded axis needs an annotation.
    auto = (AxisType.Auto,) * len(MESH_AXES)
    return Mesh(arrange(sizes, devices[:count]), MESH_AXES, axis_types=auto)


def arrange(sizes: Mapping[str, int], devices: Sequence[jax.Device]) -> np.ndarray:
    """The devices in the order of the mesh, an object array with the shape of `sizes` (by axis, outermost first).

    On TPU slices, each slice has one place along `replica`. Where devices are no slices (one slice, a CPU or GPU
    cluster), they fill the mesh process by process, so that `replica` still parts them by machines.

    Raises:
      MioError: several slices, and `replica` is not their number.
    """
    shape = tuple(sizes.values())
    slices = {getattr(device, "slice_index", None) for device in devices} - {None}
    if len(slices) < 2:
        return mesh_utils.create_device_mesh(shape, devices=list(devices), allow_split_physical_axes=True)
    if sizes["replica"] != len(slices):
        raise MioError(
            f"the devices lie on {len(slices)} slices and mesh.replica is {sizes['replica']}; set mesh.replica="
            f"{len(slices)}, so that only gradients cross the network between slices"
        )
    inner = (1, *shape[1:])
    outer = (len(slices),) + (1,) * len(shape[1:])
    return mesh_utils.create_hybrid_device_mesh(inner, outer, list(devices), allow_split_physical_axes=True)


def mesh_summary(mesh: Mesh) -> str:
    """`2 x 4 (data x fsdp) cpu devices`, or `1 cpu device`: for the log."""
    kind = mesh.devices.flat[0].device_kind
    if mesh.size == 1:
        return f"1 {kind} device"
    wide = {axis: size for axis, size in mesh.shape.items() if size > 1}
    return f"{' x '.join(map(str, wide.values()))} ({' x '.join(wide)}) {kind} devices"
