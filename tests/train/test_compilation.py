"""Compiled programs are found again by the next process, in the folder that the user's settings name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import jax
from mio_jax.train.compilation import use_compilation_cache

hits = []
jax.monitoring.register_event_listener(lambda event, **facts: hits.extend([event] * event.endswith("cache_hits")))
use_compilation_cache()
jax.jit(lambda x: (x @ x).sum())(jax.numpy.ones((8, 8))).block_until_ready()
print(jax.config.jax_compilation_cache_dir)
print(len(hits))
"""


def run(**settings: str) -> tuple[Path, int]:
    """Folder of the cache, and how many programs were found in it."""
    root = Path(__file__).parents[2]
    env = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    env |= {"PYTHONPATH": str(root), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", **settings}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    folder, hits = done.stdout.split()
    return Path(folder), int(hits)


def test_the_second_process_compiles_nothing(tmp_path: Path) -> None:
    folder, hits = run(XDG_CACHE_HOME=str(tmp_path))
    assert folder.parent == tmp_path / "mio_jax"
    assert hits == 0
    assert list(folder.iterdir())
    assert run(XDG_CACHE_HOME=str(tmp_path)) == (folder, hits + len(list(folder.glob("*-cache"))))


def test_jaxs_own_setting_wins_and_an_unwritable_folder_is_done_without(tmp_path: Path) -> None:
    own = tmp_path / "own"
    assert run(JAX_COMPILATION_CACHE_DIR=str(own), XDG_CACHE_HOME=str(tmp_path / "other"))[0] == own
    assert not (tmp_path / "other").exists()
    (tmp_path / "file").touch()
    assert run(XDG_CACHE_HOME=str(tmp_path / "file")) == (Path("None"), 0)
