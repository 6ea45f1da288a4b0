"""The folder of a run: who owns it, which config it was started with, where its stages lie.

config.json           the resolved config of the last start; only CHANGEABLE parts may differ from the first one's
tokenizers.json       fingerprints of the tokenizers that its tokens mean something to
stages/<00_name>/     checkpoints/, metrics.jsonl, tensorboard/
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import jax

from mio_jax.config import RunConfig
from mio_jax.config_loading import load_json, save_json, to_dict
from mio_jax.errors import MioError
from mio_jax.parallel.distributed import meet

# On which devices a run is computed, how often it is saved and watched: not what is trained.
CHANGEABLE = ("mesh", "checkpoint", "log")
FIRST_FILES = ("config.json", "tokenizers.json", "goodput.jsonl", ".lock", ".lock.others")  # before a stage is begun


def config_path(run_dir: Path) -> Path:
    return run_dir / "config.json"


def load_config(run_dir: str | os.PathLike[str]) -> RunConfig:
    """The stored config of a run, with `run_dir` where the folder is now. Raises MioError if it is no run."""
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise MioError(f"there is no run directory {run_dir}")
    if not config_path(run_dir).is_file():
        raise MioError(f"{run_dir} is not a run directory: it has no config.json")
    return load_json(RunConfig, config_path(run_dir)).replace(run_dir=str(run_dir))


def stage_dir(config: RunConfig, index: int) -> Path:
    """Where stage number `index` (from 0) keeps its files."""
    return Path(config.run_dir) / "stages" / f"{index:02d}_{config.stages[index].name}"


def checkpoint_dir(config: RunConfig, index: int) -> Path:
    return stage_dir(config, index) / "checkpoints"


@contextlib.contextmanager
def open_run(config: RunConfig) -> Iterator[Path]:
    """Makes or re-opens the folder of a run and holds it: no second job may train in it.

    The first process of a job makes the folder and takes `.lock`; the others hold `.lock.others` together, so that what
    is left of a job whose first process has died keeps the next one out until it too has ended.

    Raises:
      MioError: another job is training there, the folder belongs to another config (the first key that differs is
        named), or it cannot be written.
    """
    run_dir = Path(config.run_dir)
    if jax.process_index() > 0:
        meet("mio_jax: the run directory is there")
        with _opened(run_dir / ".lock.others") as others:
            fcntl.flock(others, fcntl.LOCK_SH)
            _check_same(load_config(run_dir), config)
            yield run_dir
        return
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock, others = _opened(run_dir / ".lock"), _opened(run_dir / ".lock.others")
    except OSError as error:
        raise MioError(f"cannot write in the run directory {run_dir}: {error.strerror}") from error
    with lock, others:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel lets go of it however the process ends
            fcntl.flock(others, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(others, fcntl.LOCK_UN)
        except BlockingIOError:
            raise MioError(f"another process is training in {run_dir}; wait for it or use another run_dir") from None
        new = not config_path(run_dir).is_file()
        if not new:
            stored = load_config(run_dir)
            _check_same(stored, config)
        if new or stored != config:
            save_json(config, config_path(run_dir))
        meet("mio_jax: the run directory is there")
        try:
            yield run_dir
        except MioError:
            if new:
                _unmake(run_dir)
            raise


def _unmake(run_dir: Path) -> None:
    """Takes away what `open_run` and the start of a run have written, where no stage was begun.

    So a config that turned out to be wrong can be mended and given again for the same folder.
    """
    if (run_dir / "stages").exists():
        return
    for name in FIRST_FILES:
        (run_dir / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # something of the user's lies there, too
        run_dir.rmdir()


def _opened(path: Path) -> IO[str]:
    return open(path, "a+")


def _check_same(stored: RunConfig, given: RunConfig) -> None:
    old, new = ({k: v for k, v in to_dict(config).items() if k not in CHANGEABLE} for config in (stored, given))
    difference = first_difference(old, new)
    if difference is not None:
        key, was, now = difference
        raise MioError(
            f"{given.run_dir} was started with {key}={_shown(was)}, and the config given says {_shown(now)}; "
            f"use another run_dir, or go on with the stored config: mio train --run {given.run_dir}"
        )


def first_difference(old: Any, new: Any, path: str = "") -> tuple[str, Any, Any] | None:
    """(dotted key, old, new) of the first value in which two plain configs differ, or None."""
    if isinstance(old, dict) and isinstance(new, dict):
        items = [(key, old.get(key), new.get(key)) for key in [*old, *(k for k in new if k not in old)]]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        items = [(str(i), a, b) for i, (a, b) in enumerate(zip(old, new, strict=True))]
    else:
        return None if old == new and type(old) is type(new) else (path, old, new)
    for key, a, b in items:
        found = first_difference(a, b, f"{path}.{key}" if path else str(key))
        if found is not None:
            return found
    return None


def _shown(value: Any) -> str:
    text = f"{len(value)} items" if isinstance(value, list) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def check_tokenizers(run_dir: Path, fingerprints: dict[str, str], *, write: bool) -> None:
    """Compares with the tokenizers that the run was started with; `write`: notes them if it is a new run.

    Raises:
      MioError: naming the modality whose tokenizer is another one.
    """
    path = run_dir / "tokenizers.json"
    if not path.is_file():
        if write:
            new = path.with_suffix(".tmp")
            new.write_text(json.dumps(fingerprints, indent=2) + "\n", encoding="utf-8")
            os.replace(new, path)
        return
    stored = json.loads(path.read_text(encoding="utf-8"))
    for modality in sorted(stored.keys() | fingerprints.keys()):
        old, new_print = stored.get(modality), fingerprints.get(modality)
        if old != new_print:
            raise MioError(
                f"{run_dir} was trained with {modality} tokenizer {old}, and config.tokenizers.{modality} is now "
                f"{new_print}: its tokens would mean something else; bring the tokenizer back or start another run"
            )
