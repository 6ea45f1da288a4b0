"""Published weights in every container, and what is refused; parity with the published names is in tests/parity."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.serialization import msgpack_serialize

from mio_jax.errors import MioError
from mio_jax.nn.base import Params, init_params
from mio_jax.nn.vit import ViTSpec
from mio_jax.recipes.unified_io2.checkpoint import export_params, import_params, published_tensors, read_spec
from mio_jax.recipes.unified_io2.model import UnifiedIO2
from mio_jax.recipes.unified_io2.presets import preset

TINY = preset("unified_io2_tiny")
VIT = ViTSpec(patch_dim=12, dim=8, heads=2, head_dim=4, mlp_dim=8, depth=3, positions=17)
SPEC = dataclasses.replace(
    TINY,
    dim=16,
    heads=2,
    head_dim=8,
    mlp_dim=16,
    encoder_depth=2,
    decoder_depth=2,
    text_vocab=12,
    image_vocab=8,
    image_vit=VIT,
    trained_encoders=(),
    input_modalities=("text", "image"),
    target_modalities=("text", "image"),
)
TOKENIZER = {"image": {"quant_conv.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}}


@pytest.fixture(scope="module")
def params() -> Params:
    made = jax.jit(lambda key: init_params(lambda key: UnifiedIO2(SPEC, key), key))(jax.random.key(0))
    return jax.device_get(made)


def write_t5x_folder(params: Params, folder: Path, large: int) -> None:
    """As T5X lays a checkpoint out: tensors of `large` numbers or more are zarr arrays beside the msgpack file."""
    tree: dict = {}
    for plan, read in published_tensors(params, SPEC, "t5x"):
        *path, last = plan.name.split("/")
        node, value = tree, read()
        for name in path:
            node = node.setdefault(name, {})
        node[last] = np.asarray(value)
        if value.size < large:
            continue
        dotted = f"target.{plan.name.replace('/', '.')}"
        node[last] = f"//{dotted}"
        (folder / dotted).mkdir(parents=True)
        meta = {"shape": value.shape, "chunks": value.shape, "dtype": "<f4", "order": "C", "fill_value": None}
        meta |= {"zarr_format": 2, "filters": None, "compressor": {"id": "gzip", "level": 1}}
        (folder / dotted / ".zarray").write_text(json.dumps(meta))
        chunk = gzip.compress(np.ascontiguousarray(value, "<f4").tobytes())
        (folder / dotted / ".".join("0" * value.ndim)).write_bytes(chunk)
    state = {"version": 3, "optimizer": {"target": tree, "state": {"step": np.int32(7)}}}
    (folder / "checkpoint").write_bytes(msgpack_serialize(state))


def same(a: Params, b: Params) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


@pytest.mark.parametrize("names", ["pytorch", "t5x"])
def test_there_and_back(params: Params, tmp_path: Path, names: str) -> None:
    files = export_params(params, SPEC, tmp_path, names=names, tokenizers=TOKENIZER, max_shard_bytes=4000)
    found = import_params(tmp_path if names == "pytorch" else files[0], SPEC)
    assert same(found.params, params)
    assert np.array_equal(
        found.tokenizers["image"]["quant_conv.weight"].read(), TOKENIZER["image"]["quant_conv.weight"]
    )
    assert len(files) > 1 or names == "t5x", "several shards were asked for"


def test_a_t5x_folder(params: Params, tmp_path: Path) -> None:
    write_t5x_folder(params, tmp_path, large=100)
    assert len(list(tmp_path.glob("target.*"))) > 5
    assert same(import_params(tmp_path, SPEC).params, params)


def test_a_t5x_folder_that_lost_a_tensor(params: Params, tmp_path: Path) -> None:
    write_t5x_folder(params, tmp_path, large=100)
    (tmp_path / "target.text_token_embedder.embedding" / ".zarray").unlink()
    with pytest.raises(MioError, match=r"lacks 1 tensors that its checkpoint names: target.text_token_embedder"):
        import_params(tmp_path, SPEC)


def test_each_array_may_be_placed_as_it_comes(params: Params, tmp_path: Path) -> None:
    export_params(params, SPEC, tmp_path)
    placed = []
    found = import_params(tmp_path, SPEC, lambda path, value: placed.append(path) or value.shape)
    assert found.params["text_table"] == (12, 16)
    assert len(placed) == len(jax.tree.leaves(params))


def broken(change: Callable[[dict[str, np.ndarray]], object], folder: Path, params: Params) -> Path:
    arrays = {plan.name: read() for plan, read in published_tensors(params, SPEC)}
    change(arrays)
    np.savez(folder / "weights.npz", **arrays)
    return folder / "weights.npz"


def test_what_does_not_fit_is_listed(params: Params, tmp_path: Path) -> None:
    def change(arrays: dict[str, np.ndarray]) -> None:
        del arrays["encoder.encoder_norm.scale"]
        arrays["encoder.layers_9.pre_mlp_norm.scale"] = np.ones(16, np.float32)
        arrays["text_token_embedder.weight"] = np.ones((13, 16), np.float32)

    file = broken(change, tmp_path, params)
    with pytest.raises(MioError) as error:
        import_params(file, SPEC)
    assert str(error.value) == (
        f"{file} does not fit the model: 1 missing (encoder.encoder_norm.scale); "
        "1 unexpected (encoder.layers_9.pre_mlp_norm.scale); "
        "1 misshapen (text_token_embedder.weight is (13, 16), not (12, 16))"
    )


def test_parts_that_are_not_built_must_be_named(params: Params, tmp_path: Path) -> None:
    file = broken(lambda arrays: None, tmp_path, params)
    text = dataclasses.replace(SPEC, input_modalities=("text",), target_modalities=("text",))
    with pytest.raises(MioError, match=r"unexpected \(image_token_embedder.weight, input_embedders.image"):
        import_params(file, text)
    found = import_params(file, text, ignore=["image_token_embedder.*", "*_embedders.image.*"])
    assert np.array_equal(found.params["text_table"], params["text_table"])


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", x=np.asarray([{"a": 1}], dtype=object))
    with pytest.raises(MioError, match="'x' holds int under a, which is no array"):
        import_params(tmp_path / "objects.npz", SPEC)
    (tmp_path / "short.npz").write_bytes((tmp_path / "objects.npz").read_bytes()[:40])
    with pytest.raises(MioError, match="is cut off or is not an npz file"):
        import_params(tmp_path / "short.npz", SPEC)
    (tmp_path / "checkpoint").write_bytes(b"\x00")
    with pytest.raises(MioError, match="is cut off or is not a T5X checkpoint"):
        import_params(tmp_path, SPEC)


def test_a_config_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(MioError, match="is not the config of a Unified-IO 2 model: it has no 't5_config'"):
        read_spec(tmp_path)
