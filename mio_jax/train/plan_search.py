"""Meshes and remat policies for a pod, tried one after another and ranked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from mio_jax.config import MeshConfig, RunConfig, StageConfig
from mio_jax.errors import MioError
from mio_jax.parallel.topologies import Topology
from mio_jax.train.plan import plan_train

TENSOR = (1, 2, 4, 8)  # ways that a layer is split; more would cut heads and tiles too small
REMAT = ("full", "dots", "none")  # from the least memory to the most


def candidates(topology: Topology) -> list[MeshConfig]:
    """fsdp over what tensor leaves; the same with the weights held twice (data=2), for shorter gathers."""
    out = []
    for tensor in TENSOR:
        for data in (1, 2):
            fsdp, rest = divmod(topology.devices, tensor * data)
            if fsdp and not rest:
                out.append(MeshConfig(data=data, fsdp=fsdp, tensor=tensor))
    return out


def search(config: RunConfig, stage: StageConfig, topology: Topology) -> Iterator[dict[str, Any]]:
    """A report (`plan_train`) for every candidate, as each is done; `error` where the config does not allow it.

    A mesh on which a policy does not fit is not tried with one that needs more memory.
    """
    for mesh in candidates(topology):
        for remat in REMAT:
            model = dataclasses.replace(config.model, remat=remat)
            try:
                report = plan_train(config.replace(mesh=mesh, model=model), stage, topology)
            except MioError as error:
                sizes = dataclasses.asdict(mesh)
                yield {"mesh": sizes, "remat": remat, "fits": False, "mfu": None, "error": str(error)}
                break
            yield report
            if not report["fits"]:
                break


def ranked(reports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The best first: those that fit by their time, then the others."""
    return sorted(reports, key=lambda r: (not r["fits"], r.get("step_seconds") or float("inf")))
