"""Resumable state of a tokenizer's training: one safetensors file, replaced atomically."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from mio_jax.errors import MioError

FILE = "state.safetensors"


def write_safetensors(path: str | Path, arrays: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Writes beside `path`, flushes to disk and renames: a killed writer leaves the old file whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".tmp")
    try:
        save_file({k: np.asarray(v, order="C") for k, v in arrays.items()}, partial, metadata=metadata)
        partial.chmod(0o644)  # the library makes files that only their owner may read
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise MioError(f"cannot write {path}: {error}") from error


def read_safetensors(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a file. Raises MioError if it is absent, truncated or no safetensors file."""
    path = Path(path)
    if not path.is_file():
        raise MioError(f"there is no file {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise MioError(f"{path} is not a whole safetensors file ({error}); fetch or train it again") from error


def flatten(tree: Any) -> dict[str, Any]:
    """Leaves by path name."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def save_state(directory: str | Path, step: int, state: Any, identity: dict[str, Any]) -> None:
    """`state`: a pytree of arrays; `identity`: what a resumed training must agree on (JSON)."""
    arrays = {name: np.asarray(leaf) for name, leaf in flatten(state).items()}
    metadata = {"step": str(step), "identity": json.dumps(identity, sort_keys=True)}
    write_safetensors(Path(directory) / FILE, arrays, metadata)


def restore_state(directory: str | Path, like: Any, identity: dict[str, Any]) -> tuple[int, Any] | None:
    """(step, state) with the structure of `like`, or None if nothing was saved.

    Raises:
      MioError: the checkpoint belongs to another configuration, or the file is damaged.
    """
    path = Path(directory) / FILE
    if not path.exists():
        return None
    arrays, metadata = read_safetensors(path)
    names = flatten(like)
    same = json.loads(metadata.get("identity", "null")) == json.loads(json.dumps(identity))
    shapes = {name: tuple(np.shape(leaf)) for name, leaf in names.items()}
    if not same or shapes != {name: array.shape for name, array in arrays.items()}:
        raise MioError(
            f"the checkpoint in {directory} is of another configuration; remove that folder or set another work_dir"
        )
    leaves = [jax.numpy.asarray(arrays[name]) for name in names]
    return int(metadata["step"]), jax.tree.unflatten(jax.tree.structure(like), leaves)
