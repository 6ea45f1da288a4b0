"""Files of trained tokenizers: safetensors arrays, and their kind, settings and data licence as JSON metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.errors import MioError
from mio_jax.nn.base import Params, to_pure_dict
from mio_tokenizers.training.checkpoint import read_safetensors, write_safetensors
from mio_tokenizers.weights_pickled import read_torch

FORMAT = "1"
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")  # of files of published weights


def write_weights(
    path: str | Path, kind: str, settings: dict[str, Any], data: dict[str, str], arrays: dict[str, np.ndarray]
) -> None:
    """`data`: {"name", "licence", "attribution"} of the training data. Written atomically."""
    metadata = {
        "format": FORMAT,
        "kind": kind,
        "settings": json.dumps(settings, sort_keys=True),
        "data": json.dumps(data, sort_keys=True, ensure_ascii=False),
    }
    write_safetensors(path, {name: np.asarray(array) for name, array in arrays.items()}, metadata)


def read_weights(path: str | Path, kind: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(arrays, settings) of a tokenizer file. Raises MioError if it is absent, damaged or of another kind."""
    arrays, metadata = read_safetensors(path)
    found = metadata.get("kind")
    if found != kind:
        what = f"a tokenizer of kind {found!r}" if found else "no tokenizer of this project"
        raise MioError(f"{path} is {what}; a tokenizer of kind {kind!r} was expected here")
    try:
        settings = json.loads(metadata["settings"])
    except (KeyError, json.JSONDecodeError) as error:
        raise MioError(f"{path} has no readable settings in its metadata ({error}); train it again") from error
    return arrays, settings


def read_kind(path: str | Path) -> str:
    """Kind of the tokenizer in a safetensors file ("" if it names none). Raises MioError on a damaged file."""
    return read_safetensors(path)[1].get("kind", "")


def read_data_notice(path: str | Path) -> dict[str, str]:
    """Name, licence and attribution of the data that the tokenizer in `path` was trained on."""
    return json.loads(read_safetensors(path)[1].get("data", "{}"))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of a safetensors or PyTorch file; PyTorch is not needed. Raises MioError if it cannot be read."""
    if path.suffix not in SUFFIXES:
        raise MioError(f"{path}: published weights are in files {', '.join(SUFFIXES)}")
    if path.suffix == ".safetensors":
        return read_safetensors(path)[0]
    return {name: tensor.read() for name, tensor in read_torch(path).items()}


def _named(tree: Any) -> tuple[dict[str, Any], Any]:
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    names = (".".join(str(getattr(k, "key", getattr(k, "idx", k))) for k in path) for path, _ in leaves)
    return dict(zip(names, (leaf for _, leaf in leaves), strict=True)), structure


def flat_arrays(params: Params) -> dict[str, Any]:
    """Nested parameters -> {"encoder.enter.kernel": array}."""
    return _named(params)[0]


def nested_arrays(arrays: dict[str, np.ndarray], abstract: Any, what: str) -> Params:
    """Inverse of `flat_arrays` for the model whose abstract state is given (see `nn.base.split_model`).

    Raises:
      MioError: names or shapes that are missing, unexpected or different.
    """
    expected, structure = _named(to_pure_dict(abstract))
    for verb, names in (
        ("lack", expected.keys() - arrays.keys()),
        ("have unexpected", arrays.keys() - expected.keys()),
    ):
        if names:
            raise MioError(f"the weights of this {what} tokenizer {verb} {len(names)} arrays, e.g. {min(names)}")
    for name, leaf in expected.items():
        if arrays[name].shape != tuple(leaf.shape):
            raise MioError(
                f"the weights of this {what} tokenizer: {name} has shape {arrays[name].shape}, not {leaf.shape}"
            )
    return jax.tree.unflatten(structure, [jnp.asarray(arrays[name]) for name in expected])
