"""Several processes as one job: joining it, what they tell each other, and ending when one of them is gone.

JAX's own multi-controller runtime does the work. Every process runs the same program and sees all devices; process 0
also serves the coordinator, at which the others report and which notices who has fallen silent.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from mio_jax.errors import MioError

HEARTBEAT_SECONDS = 30
JOIN_SECONDS = 300
LOST_STATUS = 75  # EX_TEMPFAIL of sysexits.h: another process of the job ended; start all of them again

# What the runtime says when a peer is gone: gloo and NCCL from within a collective, the coordinator from anywhere.
_LOST = (
    *("Gloo", "NCCL", "Connection reset by peer", "Connection closed by peer", "Socket closed"),
    *("coordination service", "CoordinationService", "heartbeat", "Barrier failed", "Barrier timed out"),
    "UNAVAILABLE:",
)


@dataclass(frozen=True)
class Job:
    """This process's place in a job.

    Attributes:
      coordinator: `HOST:PORT` on which process 0 listens, or `auto`: JAX asks the platform (TPU pods, Slurm, Open MPI,
        Kubernetes) for all three.
      processes, index: how many there are, and which of them this is (from 0).
      heartbeat_seconds: a process silent for so long is taken for dead, and the others end.
      join_seconds: how long to wait at the start until all processes are there.
    """

    coordinator: str
    processes: int = 0
    index: int = 0
    heartbeat_seconds: int = HEARTBEAT_SECONDS
    join_seconds: int = JOIN_SECONDS

    def __post_init__(self) -> None:
        if self.heartbeat_seconds < 2:
            raise MioError(f"--heartbeat_seconds is {self.heartbeat_seconds}; it must be 2 or more")
        if self.join_seconds < 1:
            raise MioError(f"--join_seconds is {self.join_seconds}; it must be positive")
        if self.coordinator == "auto":
            return
        host, _, port = self.coordinator.rpartition(":")
        if not host or not port.isdigit():
            raise MioError(f"the coordinator is {self.coordinator!r}; it must be HOST:PORT of process 0, or auto")
        if not 0 <= self.index < self.processes:
            raise MioError(
                f"process_id is {self.index} of {self.processes} processes; it must be from 0 to num_processes - 1"
            )


def job_from(
    coordinator: str | None,
    processes: int | None,
    index: int | None,
    heartbeat_seconds: int = HEARTBEAT_SECONDS,
    join_seconds: int = JOIN_SECONDS,
    environment: Mapping[str, str] = os.environ,
) -> Job | None:
    """The job that flags, and where they are None the environment, describe; None: this process is alone.

    The environment: JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID.

    Raises:
      MioError: some of the three are given and others are not, or a value makes no sense.
    """
    coordinator = coordinator or environment.get("JAX_COORDINATOR_ADDRESS") or None
    processes = _number("JAX_NUM_PROCESSES", environment) if processes is None else processes
    index = _number("JAX_PROCESS_ID", environment) if index is None else index
    if coordinator == "auto":
        return Job("auto", heartbeat_seconds=heartbeat_seconds, join_seconds=join_seconds)
    given = {
        "--coordinator (JAX_COORDINATOR_ADDRESS)": coordinator,
        "--num_processes (JAX_NUM_PROCESSES)": processes,
        "--process_id (JAX_PROCESS_ID)": index,
    }
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if coordinator is None or processes is None or index is None:
        raise MioError(f"several processes need {missing[0]} too; on TPU pods and Slurm, --coordinator auto is enough")
    return Job(coordinator, processes, index, heartbeat_seconds, join_seconds)


def _number(name: str, environment: Mapping[str, str]) -> int | None:
    text = environment.get(name, "")
    if not text:
        return None
    if not text.isdigit():
        raise MioError(f"{name} is {text!r}; it must be a whole number")
    return int(text)


@contextlib.contextmanager
def joined(job: Job | None) -> Iterator[None]:
    """Makes this process part of `job` while entered; enter it before anything uses a device.

    An error within ends the process at once with one line: 2 for a MioError, LOST_STATUS if another process is gone or
    has not come in time, 1 with a traceback for anything else. An orderly exit would wait for processes that wait for
    this one.
    """
    if job is None:
        yield
        return
    # Its handler of SIGTERM would take the place of ours (train/signals.py), which finish the step and save.
    jax.config.update("jax_enable_preemption_service", False)
    auto = job.coordinator == "auto"
    try:
        jax.distributed.initialize(
            coordinator_address=None if auto else job.coordinator,
            num_processes=None if auto else job.processes,
            process_id=None if auto else job.index,
            initialization_timeout=job.join_seconds,
            heartbeat_timeout_seconds=job.heartbeat_seconds,
        )
    except (RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0][:160]
        _end(
            f"error: cannot join the job at {job.coordinator} within {job.join_seconds} s ({first}); "
            "look whether all of its processes were started and are alive",
            LOST_STATUS,
        )
    try:
        yield
    except BaseException as error:
        _leave(error)
    jax.distributed.shutdown()


def _leave(error: BaseException) -> NoReturn:
    where = f"process {jax.process_index()} of {jax.process_count()}"
    status = 1
    if isinstance(error, MioError):
        said, status = f"error: {where}: {error}", 2
    elif lost_peer(error):
        first = " ".join(str(error).split())[:160]
        said, status = (
            f"error: {where}: another process of this job ended ({first}); see its log, then start all of them again, "
            "on as many processes as you like: the run goes on from its last checkpoint",
            LOST_STATUS,
        )
    elif isinstance(error, KeyboardInterrupt):
        said, status = f"{where}: interrupted", 130
    else:
        said = "".join(traceback.format_exception(error))
    _end(said, status)


def _end(said: str, status: int) -> NoReturn:
    sys.stdout.flush()
    print(said, file=sys.stderr, flush=True)
    os._exit(status)


def lost_peer(error: BaseException | None) -> bool:
    """Whether `error` came about because another process of the job is gone."""
    if error is None or jax.process_count() == 1 or not isinstance(error, (ValueError, RuntimeError, TimeoutError)):
        return False
    return any(words in str(error) for words in _LOST)


# ---------------------------------------------------------------------------------------- between the processes


def meet(name: str) -> None:
    """Waits until every process has come here; `name` must be the same in all. Alone: returns at once."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def gather_json(value: Any) -> list[Any]:
    """The JSON value of every process, in the order of processes; every process must call it, and all get the list."""
    if jax.process_count() == 1:
        return [value]
    from jax.experimental import multihost_utils

    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(data.size))
    room = 1 << int(sizes.max() - 1).bit_length()  # powers of two: few programs to compile
    everything = multihost_utils.process_allgather(np.pad(data, (0, room - data.size)))
    return [json.loads(row[:size].tobytes()) for row, size in zip(everything, sizes, strict=True)]


def per_process(mesh: Mesh, value: int) -> jax.Array:
    """An int32 array [devices of the mesh] that holds this process's `value` on each of its devices."""
    sharding = NamedSharding(mesh, PartitionSpec(mesh.axis_names))
    return jax.make_array_from_callback((mesh.size,), sharding, lambda index: np.full(1, value, np.int32))


def rows_here(sharding: Sharding, rows: int, length: int) -> list[int]:
    """Which rows of a global batch [rows, length] lie on this process's devices, in order."""
    here = sharding.addressable_devices_indices_map((rows, length))
    return sorted({row for index in here.values() if index is not None for row in range(rows)[index[0]]})
