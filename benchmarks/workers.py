"""Processes that take turns: each holds one side of a benchmark, on the same CPU cores."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from mio_jax.errors import MioError

HERE = Path(__file__).resolve().parent


class Worker:
    """A process that holds one side: takes a JSON command a line on its standard input, answers with a line of JSON."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parent, env=environment
        )

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise MioError(f"the {self.name} worker ended during {command!r}; its output above says why")
        return json.loads(line)

    def close(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()


def same_cores(peer_python: str, threads: int) -> dict[str, str]:
    """The environment of both workers. Keeps this process, and so what it starts, to `threads` cores.

    Raises MioError if there is no interpreter of the peer, or if there are fewer cores.
    """
    if not Path(peer_python).exists():
        raise MioError(f"no interpreter of the peer at {peer_python}; make it with: scripts/bootstrap.sh peers")
    cores = sorted(os.sched_getaffinity(0))[:threads]
    if len(cores) < threads:
        raise MioError(f"--threads is {threads}, but this process may use {len(cores)} cores")
    os.sched_setaffinity(0, cores)  # before any library counts cores
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    environment |= {"JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment.pop("XLA_FLAGS", None)
    return environment
