"""Meshes and the one table that says how logical axes lie on them. Imports only `nn`, JAX and the config."""

from mio_jax.parallel.compiler_options import compiler_options
from mio_jax.parallel.mesh import make_mesh, mesh_summary
from mio_jax.parallel.padding import pad_to, strip_to
from mio_jax.parallel.rules import (
    RULES,
    Rules,
    axis_table,
    batch_sharding,
    param_spec,
    place_params,
    replicated,
    rules_in_force,
    rules_of,
)

__all__ = [
    "RULES",
    "Rules",
    "axis_table",
    "batch_sharding",
    "compiler_options",
    "make_mesh",
    "mesh_summary",
    "pad_to",
    "param_spec",
    "place_params",
    "replicated",
    "rules_in_force",
    "rules_of",
    "strip_to",
]
