"""What the loop needs to know of the other processes of a job: their tokens, their signals, their rows.

Every process runs the same loop over its own rows of each batch; the first one alone writes rows of metrics and the
progress line. What they must agree on is carried by small collectives, dispatched in the same order everywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mio_jax.parallel import replicated
from mio_jax.parallel.distributed import gather_json, per_process
from mio_jax.train.metrics import Row
from mio_jax.train.progress import RunProgress

Batch = dict[str, np.ndarray]


def sharding_of(shape: tuple[int, ...], sharding: NamedSharding, length: int) -> NamedSharding:
    """How arrays lie of which one row has this shape: [length] by `sharding`, others along their rows alone."""
    return sharding if shape == (length,) else NamedSharding(sharding.mesh, PartitionSpec(sharding.spec[0]))


def place(batch: Batch, sharding: NamedSharding, rows: int, length: int) -> dict[str, jax.Array]:
    """The global batch of `rows` rows, from this process's rows of it.

    Arrays [rows, length] are laid out by `sharding`, others along their rows alone.
    """
    with jax.transfer_guard("allow"):  # JAX takes it for a hidden transfer where there are several processes
        return {
            name: jax.make_array_from_process_local_data(
                sharding_of(array.shape[1:], sharding, length), array, (rows, *array.shape[1:])
            )
            for name, array in batch.items()
        }


class Alone:
    """One process: what it sees is all there is."""

    def tokens(self, batch: Batch, placed: dict[str, jax.Array]) -> Any:
        """How many places of the global batch are not padding: an int, or a device scalar that will be."""
        return int((batch["segment_ids"] != 0).sum())

    def stop(self, signum: int, *, now: bool = False) -> int:
        """The signal that all processes stop for (0: none), given the one that this process has received."""
        return signum

    def position(self, state: dict[str, Any]) -> dict[str, Any]:
        """The data position of the global batch, given this process's."""
        return state


class Together(Alone):
    """Several processes; each must call each method equally often."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        whole = replicated(mesh)
        self._count = jax.jit(lambda segments: jnp.sum(segments != 0), out_shardings=whole)
        self._largest = jax.jit(jnp.max, out_shardings=whole)
        self._asked: jax.Array | None = None

    def tokens(self, batch: Batch, placed: dict[str, jax.Array]) -> Any:
        return self._count(placed["segment_ids"])

    def stop(self, signum: int, *, now: bool = False) -> int:
        """As of the call before, so that nobody waits for a step still under way; `now`: as of this call."""
        asked = self._largest(per_process(self._mesh, signum))
        answered, self._asked = (asked if now else self._asked), asked
        return 0 if answered is None else int(jax.device_get(answered))

    def position(self, state: dict[str, Any]) -> dict[str, Any]:
        """Rows have states of their own, so the whole is that of one process, whatever the number of processes."""
        states = gather_json(state)
        return states[0] | {"rows": {number: row for part in states for number, row in part["rows"].items()}}


class SilentMetrics:
    """Stands for the metrics writer of a stage's folder in every process but the first."""

    kept: tuple[Row, ...] = ()

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, row: Row) -> None: ...

    def sync(self) -> None: ...

    def close(self) -> None: ...


class SilentProgress(RunProgress):
    """Stands for the progress line in every process but the first."""

    def update(self, stage: int, step: int, loss: float, tokens_per_s: float) -> None: ...

    def note(self, text: str) -> None: ...
