"""Starts several processes of one training job on this machine.

    python -m launch.local --processes 2 --cpu_devices 4 -- --config configs/quickstart.py --config.mesh.fsdp=8
    python -m launch.local --processes 4 --gpus 2 -- --config configs/quickstart.py

Each process gets JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, and its part of the devices. Their
output is shown line by line behind the number of the process. When one ends with an error the others are asked to stop,
and after --grace seconds made to; Ctrl-C and SIGTERM reach all of them. With --restarts the job is started again when a
process was lost, and goes on from its last checkpoint. --program runs another program in the place of `mio train`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO

from launch.actions import PEER_LOST, Parser, entry, need_config
from mio_jax.errors import MioError

PROGRAM = (sys.executable, "-m", "mio_jax.train")


def free_port() -> int:
    """A port of this machine that is free now."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def environment(args: argparse.Namespace, index: int, port: int) -> dict[str, str]:
    """What process `index` finds in its environment beside the rest."""
    found = {
        "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
        "JAX_NUM_PROCESSES": str(args.processes),
        "JAX_PROCESS_ID": str(index),
    }
    if args.gpus:
        found["CUDA_VISIBLE_DEVICES"] = ",".join(str(index * args.gpus + k) for k in range(args.gpus))
    if args.cpu_devices:
        found["JAX_PLATFORMS"] = "cpu"
        flags = [f for f in os.environ.get("XLA_FLAGS", "").split() if "host_platform_device_count" not in f]
        found["XLA_FLAGS"] = " ".join([*flags, f"--xla_force_host_platform_device_count={args.cpu_devices}"])
    return found


def place(args: argparse.Namespace, command: list[str]) -> list[tuple[list[str], dict[str, str]]]:
    """The command of every process with its environment."""
    port = args.port or free_port()
    return [(command, environment(args, index, port)) for index in range(args.processes)]


class Job:
    """The processes of one attempt."""

    def __init__(self, commands: list[tuple[list[str], dict[str, str]]], grace: float) -> None:
        self._grace = grace
        self._processes = []
        self._readers = []
        for index, (command, found) in enumerate(commands):
            process = subprocess.Popen(
                command, env=os.environ | found, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
            )
            assert process.stdout is not None
            reader = threading.Thread(target=_show, args=(index, process.stdout), daemon=True)
            reader.start()
            self._processes.append(process)
            self._readers.append(reader)

    def signal(self, signum: int) -> None:
        """Passes a signal on to every process that still runs."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signum)

    def wait(self) -> list[int]:
        """Exit statuses of all processes in the order in which they ended, 128 + N for one that signal N ended.

        When one fails the others are asked to stop, and made to after the time of grace.
        """
        ended: list[int] = []
        asked = 0.0
        running = list(self._processes)
        while running:
            gone = [process for process in running if process.poll() is not None]
            running = [process for process in running if process not in gone]
            ended.extend(p.returncode if p.returncode >= 0 else 128 - p.returncode for p in gone)
            if not asked and any(ended):
                asked = time.monotonic()
                self.signal(signal.SIGTERM)
            if asked and time.monotonic() - asked > self._grace:
                self.signal(signal.SIGKILL)
            time.sleep(0.1)
        for reader in self._readers:
            reader.join()
        return ended


def _show(index: int, lines: IO[str]) -> None:
    with lines:
        for line in lines:
            sys.stdout.write(f"[{index}] {line}")
            sys.stdout.flush()


def cause(statuses: Sequence[int]) -> int:
    """The status that says why a job ended: an error before a signal, and what came first before what followed."""
    errors = [s for s in statuses if s not in (0, PEER_LOST) and s < 128]
    return next(iter([*errors, *(s for s in statuses if s)]), 0)


def lost(statuses: Sequence[int]) -> bool:
    """Whether a process was killed or lost another one: starting again goes on, where an error would come again."""
    return cause(statuses) == PEER_LOST or cause(statuses) >= 128


def main(argv: Sequence[str]) -> int:
    parser = Parser(__doc__)
    parser.add_argument("--processes", type=int, required=True)
    parser.add_argument("--cpu_devices", type=int, default=0, metavar="N", help="virtual CPU devices of each process")
    parser.add_argument("--gpus", type=int, default=0, metavar="N", help="GPUs of each process")
    parser.add_argument("--port", type=int, default=0, help="of the coordinator (default: a free one)")
    parser.add_argument("--grace", type=float, default=60.0, help="seconds to save and stop in (60)")
    parser.add_argument("--restarts", type=int, default=0, help="how often a job that lost a process starts again (0)")
    parser.add_argument("--program", type=shlex.split, help="instead of `mio train`; quote it")
    args, words = parser.parse(argv)
    if args.processes < 1:
        raise MioError(f"--processes is {args.processes}; it must be at least 1")
    if args.gpus and args.cpu_devices:
        raise MioError("--gpus and --cpu_devices exclude each other")
    if not args.program:
        need_config(words)
    command = [*(args.program or PROGRAM), *words]
    stopped: list[int] = []
    jobs: list[Job] = []

    def stop(signum: int, frame: object) -> None:
        stopped.append(signum)
        for job in jobs[-1:]:
            job.signal(signum)

    if args.dry_run:
        for one, found in place(args, command):
            print(f"# would run {' '.join(f'{k}={shlex.quote(v)}' for k, v in found.items())} {shlex.join(one)}")
        return 0
    before = {signum: signal.signal(signum, stop) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        for attempt in range(args.restarts + 1):
            jobs.append(Job(place(args, command), args.grace))
            if stopped:  # while they were being started
                jobs[-1].signal(stopped[-1])
            statuses = jobs[-1].wait()
            if stopped or not lost(statuses) or attempt == args.restarts:
                break
            print(f"statuses {statuses}: starting again ({attempt + 1} of {args.restarts})", flush=True)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    return cause(statuses)


if __name__ == "__main__":
    entry(main)
