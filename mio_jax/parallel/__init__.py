"""Meshes and the one table that says how logical axes lie on them. Imports only `nn`, JAX and the config."""

from mio_jax.parallel.mesh import make_mesh, mesh_summary
from mio_jax.parallel.rules import RULES, Rule, axis_table, batch_sharding, param_shardings, param_spec, replicated

__all__ = [
    "RULES",
    "Rule",
    "axis_table",
    "batch_sharding",
    "make_mesh",
    "mesh_summary",
    "param_shardings",
    "param_spec",
    "replicated",
]
