"""Starting `mio train` in processes that can be killed, and reading what they left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mio_jax.config import RunConfig
from mio_jax.config_loading import save_json
from mio_jax.train.metrics import read_rows
from mio_jax.train.run_dir import stage_dir

PATIENCE = 300.0  # seconds for one process, on a machine that is busy with other things
TIMES = ("wall_s", "tokens_per_s")


class Server:
    """See fork_server.py."""

    def __init__(self, cache: Path) -> None:
        root = Path(__file__).parents[2]
        path = [str(root), str(root / "tokenizers"), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = os.environ | {
            "PYTHONPATH": os.pathsep.join(path),
            "XLA_FLAGS": "",  # one device
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        script = str(Path(__file__).with_name("fork_server.py"))
        self._process = subprocess.Popen(
            [sys.executable, script], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._read() == "ready"

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


def rows(config: RunConfig) -> list[dict[str, Any]]:
    found = [row for i in range(len(config.stages)) for row in read_rows(stage_dir(config, i) / "metrics.jsonl")]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in found]


def steps_done(config: RunConfig) -> int:
    """Rows written so far, by a cheap count of lines."""
    files = [stage_dir(config, i) / "metrics.jsonl" for i in range(len(config.stages))]
    return sum(file.read_bytes().count(b"\n") for file in files if file.is_file())


def start(server: Server, config: RunConfig) -> int:
    """`mio train --run` where there is a run already, else `mio train --config`."""
    folder = Path(config.run_dir)
    if (folder / "config.json").is_file():
        words = ["train", "--run", str(folder)]
    else:
        folder.mkdir(parents=True, exist_ok=True)
        save_json(config, folder / "as_given.json")
        loads = "from mio_jax.config import RunConfig\nfrom mio_jax.config_loading import load_json\n"
        body = f"def get_config():\n    return load_json(RunConfig, {str(folder / 'as_given.json')!r})\n"
        (folder / "given.py").write_text(loads + body)
        words = ["train", "--config", str(folder / "given.py")]
    return server.start(words, folder / "log.txt")
