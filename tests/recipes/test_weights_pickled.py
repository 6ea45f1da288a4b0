"""PyTorch files and nested npz files are read without PyTorch, and without running what they may hold.

`torch_state.bin` was written by `torch.save({"state_dict": {...}, "epoch": 3}, ...)` of PyTorch 2.13, x being
`torch.arange(12.0).reshape(3, 4)`: wide=x, turned=x.bfloat16().t(), part=x[1:, ::2], count=7, none=zeros(0, 4),
weight=Parameter(x[:, :1]), half=x.half(). `torch_old_state.bin` is the same in the format before PyTorch 1.6
(`_use_new_zipfile_serialization=False`), in which torchvision's VGG16 and other older weights are published.
"""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from mio_jax.errors import MioError
from mio_jax.recipes.weights import open_weights
from mio_tokenizers.weights_pickled import TorchTensor, read_torch

FILE = Path(__file__).parent / "torch_state.bin"
OLD = FILE.with_name("torch_old_state.bin")
X = np.arange(12, dtype=np.float32).reshape(3, 4)
WANTED: dict[str, np.ndarray] = {
    "wide": X,
    "turned": X.astype(ml_dtypes.bfloat16).T,
    "part": X[1:, ::2],
    "count": np.asarray(7),
    "none": np.zeros((0, 4), np.float32),
    "weight": X[:, :1],
    "half": X.astype(np.float16),
}


class Marker:
    """Something that a file of weights has no business with; making one would be noticed."""

    made = 0

    def __init__(self) -> None:
        Marker.made += 1

    def __reduce__(self) -> Any:
        return Marker, ()


def test_a_pytorch_file_has_its_tensors_views_included(tmp_path: Path) -> None:
    shutil.copy(FILE, tmp_path / "pytorch_model.bin")
    for path in (FILE, OLD, tmp_path):
        found = open_weights(path)
        assert found.keys() == WANTED.keys()
        for name, wanted in WANTED.items():
            array = found[name].read()
            assert found[name].shape == array.shape == wanted.shape
            assert array.dtype == wanted.dtype
            np.testing.assert_array_equal(array, wanted)
    assert isinstance(read_torch(FILE)["wide"], TorchTensor)


def test_shards_of_pytorch_files(tmp_path: Path) -> None:
    shutil.copy(FILE, tmp_path / "pytorch_model-00001-of-00001.bin")
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"wide": "pytorch_model-00001-of-00001.bin"}}))
    np.testing.assert_array_equal(open_weights(tmp_path)["wide"].read(), X)
    index.write_text(json.dumps({"weight_map": {"tall": "pytorch_model-00001-of-00001.bin"}}))
    with pytest.raises(MioError, match=r"names 1 tensors that their shards lack: tall"):
        open_weights(tmp_path)


def changed(path: Path, change: Any) -> Path:
    """The file with each member's bytes replaced by `change(name, bytes)`."""
    with zipfile.ZipFile(FILE) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.infolist():
            new.writestr(member.filename, change(member.filename, old.read(member)))
    return path


def test_what_is_no_file_of_weights(tmp_path: Path) -> None:
    cut = tmp_path / "cut.bin"
    cut.write_bytes(FILE.read_bytes()[:400])
    with pytest.raises(MioError, match=r"cut.bin is cut off or is not a file of torch.save"):
        read_torch(cut)
    whole = OLD.read_bytes()
    for length in (3, 30, 300, len(whole) - 60, len(whole) - 1):
        cut.write_bytes(whole[:length])
        with pytest.raises(MioError, match=r"cut.bin is cut off or is not a file of torch.save"):
            read_torch(cut)
    cut.write_bytes(pickle.dumps([1, 2], 2) + whole)
    with pytest.raises(MioError, match=r"not a file of torch.save \(it begins with something else\)"):
        read_torch(cut)
    with pytest.raises(MioError, match="cannot read weights"):
        read_torch(tmp_path / "nowhere.bin")
    big = changed(tmp_path / "big.bin", lambda name, data: b"big" if name.endswith("byteorder") else data)
    with pytest.raises(MioError, match="is big-endian"):
        read_torch(big)
    evil = changed(tmp_path / "x.bin", lambda n, data: pickle.dumps(Marker()) if n.endswith("data.pkl") else data)
    before = Marker.made
    with pytest.raises(MioError, match=r"x.bin asks for .*Marker, which is no part of weights"):
        read_torch(evil)
    assert Marker.made == before


def nested(value: Any) -> np.ndarray:
    out = np.empty((), dtype=object)
    out[()] = value
    return out


def test_an_npz_file_of_nested_dicts(tmp_path: Path) -> None:
    file = tmp_path / "weights.npz"
    tree = {"layers_0": nested({"scale": X[0], "kernel": X}), "norm": {"scale": X[1]}}
    np.savez(file, encoder=nested(tree), table=X)
    found = open_weights(file)
    assert sorted(found) == ["encoder/layers_0/kernel", "encoder/layers_0/scale", "encoder/norm/scale", "table"]
    np.testing.assert_array_equal(found["encoder/layers_0/kernel"].read(), X)
    np.testing.assert_array_equal(found["table"].read(), X)
    np.savez(file, nested(tree))  # one dict and nothing else: its name says nothing
    assert "layers_0/kernel" in open_weights(file)
    np.savez(file, encoder=nested({"scale": "text"}), table=X)
    with pytest.raises(MioError, match=r"'encoder' holds str under scale, which is no array"):
        open_weights(file)
    before = Marker.made
    marker = Marker()
    np.savez(file, encoder=nested({"scale": marker}), table=X)
    with pytest.raises(MioError, match=r"'encoder' asks for .*Marker, which is no part of weights"):
        open_weights(file)
    assert Marker.made == before + 1
