"""Starting `mio train` in processes that can be killed, and reading what they left."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mio_jax.config import RunConfig
from mio_jax.config_loading import save_json
from mio_jax.train.checkpoint import Checkpoints
from mio_jax.train.metrics import read_rows
from mio_jax.train.run import find_checkpoint
from mio_jax.train.run_dir import checkpoint_dir, stage_dir
from tests.environment import UNOPTIMISED

PATIENCE = 300.0  # seconds for one process, on a machine that is busy with other things
HEARTBEAT, JOIN = 20, 60  # seconds; a machine that does other things needs long to start four processes
TIMES = ("wall_s", "tokens_per_s")


class Server:
    """See fork_server.py."""

    def __init__(self, cache: Path) -> None:
        root = Path(__file__).parents[2]
        path = [str(root), str(root / "tokenizers"), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = os.environ | {
            "PYTHONPATH": os.pathsep.join(path),
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": UNOPTIMISED,  # one device
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        script = str(Path(__file__).with_name("fork_server.py"))
        cache.mkdir(parents=True, exist_ok=True)
        log = cache / "server.txt"
        with open(log, "a") as said:
            self._process = subprocess.Popen(
                [sys.executable, script], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
            )
        assert self._read() == "ready", log.read_text()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def start(self, words: list[str], log: Path) -> int:
        """Starts `mio words...` and returns its process id."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([words, str(log)]) + "\n")
        self._process.stdin.flush()
        return int(self._read())

    def wait(self) -> int:
        """Exit status of the process started, or minus the signal that ended it."""
        return os.waitstatus_to_exitcode(int(self._read()))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.kill()  # it has nothing to put away
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Group:
    """One server for each process of a job."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._servers: list[Server] = []
        self._pids: list[int] = []

    def server(self, process: int) -> Server:
        """Starts it, and those before it, if they are not there yet."""
        while len(self._servers) <= process:
            self._servers.append(Server(self._cache))
        return self._servers[process]

    def start(self, config: RunConfig, processes: int) -> None:
        """Starts the run, or what is left of it, as so many processes; each writes `log.I.txt` in the run's folder."""
        words = command(config)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            coordinator = f"127.0.0.1:{free.getsockname()[1]}"
        self._pids = []
        for i in range(processes):
            job = ["--coordinator", coordinator, "--num_processes", str(processes), "--process_id", str(i)]
            job += ["--heartbeat_seconds", str(HEARTBEAT), "--join_seconds", str(JOIN)]
            log = Path(config.run_dir) / f"log.{i}.txt"
            self._pids.append(self.server(i).start([*words, *(job if processes > 1 else [])], log))

    def alive(self) -> bool:
        """Whether all of the processes started are running."""
        return all(_running(pid) for pid in self._pids)

    def kill(self, process: int, signum: int) -> None:
        os.kill(self._pids[process], signum)

    def wait(self) -> list[int]:
        """Waits for all; exit statuses, or minus the signals that ended them."""
        return [server.wait() for server in self._servers[: len(self._pids)]]

    def log(self, config: RunConfig, process: int | None = None) -> str:
        """What a process, or each of them, has said last."""
        wanted = range(len(self._pids)) if process is None else [process]
        return "\n".join((Path(config.run_dir) / f"log.{i}.txt").read_text()[-3000:] for i in wanted)

    def close(self) -> None:
        for server in self._servers:
            server.close()


def _running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def last_arrays(config: RunConfig) -> dict[str, np.ndarray]:
    """Every array of the run's newest checkpoint."""
    index, step = find_checkpoint(config)
    with Checkpoints(checkpoint_dir(config, index)) as checkpoints:
        return checkpoints.read_arrays(step, list(checkpoints.describe(step)))


def rows(config: RunConfig) -> list[dict[str, Any]]:
    found = [row for i in range(len(config.stages)) for row in read_rows(stage_dir(config, i) / "metrics.jsonl")]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in found]


def steps_done(config: RunConfig) -> int:
    """Rows written so far, by a cheap count of lines."""
    files = [stage_dir(config, i) / "metrics.jsonl" for i in range(len(config.stages))]
    return sum(file.read_bytes().count(b"\n") for file in files if file.is_file())


def start(server: Server, config: RunConfig) -> int:
    """Starts the run, or what is left of it."""
    return server.start(command(config), Path(config.run_dir) / "log.txt")


def command(config: RunConfig) -> list[str]:
    """`mio train --run` where there is a run already, else `mio train --config`."""
    folder = Path(config.run_dir)
    if (folder / "config.json").is_file():
        return ["train", "--run", str(folder)]
    folder.mkdir(parents=True, exist_ok=True)
    save_json(config, folder / "as_given.json")
    loads = "from mio_jax.config import RunConfig\nfrom mio_jax.config_loading import load_json\n"
    body = f"def get_config():\n    return load_json(RunConfig, {str(folder / 'as_given.json')!r})\n"
    (folder / "given.py").write_text(loads + body)
    return ["train", "--config", str(folder / "given.py")]
