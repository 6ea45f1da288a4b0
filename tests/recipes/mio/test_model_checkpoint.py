"""Published weights: both directions, shards, and everything that can be wrong with a file."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mio_jax.errors import MioError
from mio_jax.nn.base import Params, split_model, to_pure_dict
from mio_jax.nn.transformer import Decoder, DecoderSpec
from mio_jax.recipes.mio.checkpoint import HEAD, TABLE, export_params, import_params, read_spec
from mio_jax.recipes.weights import INDEX, SINGLE

SPEC = DecoderSpec(vocab_size=10, dim=8, depth=2, heads=4, kv_heads=2, head_dim=4, mlp_dim=12, rope_theta=5e6)
TIED = DecoderSpec(vocab_size=10, dim=8, depth=1, heads=4, kv_heads=2, head_dim=4, mlp_dim=12, tie_embeddings=True)


def draw(spec: DecoderSpec) -> Params:
    """Random parameters of this model's shapes, without running it."""
    rng = np.random.default_rng(0)
    _, abstract = split_model(lambda key: Decoder(spec, key))
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), to_pure_dict(abstract))


@pytest.fixture(scope="module")
def params() -> Params:
    return draw(SPEC)


def rewrite(file: Path, change: dict[str, np.ndarray | None]) -> None:
    """Replaces, adds or (None) removes tensors of a file."""
    tensors = {**load_file(file), **change}
    save_file({k: v for k, v in tensors.items() if v is not None}, file)


def assert_equal(a: Params, b: Params) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("max_shard_bytes", [1 << 30, 1500])
def test_round_trip(params: Params, tmp_path: Path, max_shard_bytes: int) -> None:
    files = export_params(params, SPEC, tmp_path, max_shard_bytes=max_shard_bytes)
    assert (len(files) > 2) == (tmp_path / INDEX).exists() == (max_shard_bytes == 1500)
    assert not list(tmp_path.glob("*.part"))
    assert read_spec(tmp_path) == SPEC
    assert_equal(import_params(tmp_path, SPEC), params)
    if max_shard_bytes == 1500:
        assert all(f.stat().st_size < 1500 + 4096 for f in files)


def test_files_hold_the_layout_that_others_read(params: Params, tmp_path: Path) -> None:
    (file,) = export_params(params, SPEC, tmp_path)
    tensors = load_file(file)  # the library's own reader
    layer = {name: x[1] for name, x in params["layers"]["attention"].items()}
    x = np.random.default_rng(0).normal(size=(3, SPEC.dim)).astype(np.float32)
    ours = np.einsum("nd,dhk->nhk", x, layer["query"]).reshape(3, -1)
    np.testing.assert_allclose(x @ tensors["model.layers.1.self_attn.q_proj.weight"].T, ours, atol=1e-4)
    heads = np.random.default_rng(1).normal(size=(3, 16)).astype(np.float32)
    ours = np.einsum("nhk,hkd->nd", heads.reshape(3, 4, 4), layer["out"])
    np.testing.assert_allclose(heads @ tensors["model.layers.1.self_attn.o_proj.weight"].T, ours, atol=1e-4)


def test_bfloat16_weights_are_read(params: Params, tmp_path: Path) -> None:
    (file,) = export_params(params, SPEC, tmp_path)
    rewrite(file, {k: v.astype(ml_dtypes.bfloat16) for k, v in load_file(file).items()})
    rounded = jax.tree.map(lambda x: x.astype(ml_dtypes.bfloat16).astype(np.float32), params)
    assert_equal(import_params(file, SPEC), rounded)


def test_each_array_can_be_placed_as_it_is_read(params: Params, tmp_path: Path) -> None:
    export_params(params, SPEC, tmp_path)
    placed = import_params(tmp_path, SPEC, place=lambda path, x: jnp.asarray(x))
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(placed))
    assert_equal(placed, params)


def test_tied_embeddings(tmp_path: Path) -> None:
    params = draw(TIED)
    (file,) = export_params(params, TIED, tmp_path)
    assert HEAD not in load_file(file)
    rewrite(
        file, {HEAD: load_file(file)[TABLE], "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(2, np.float32)}
    )
    assert_equal(import_params(tmp_path, read_spec(tmp_path)), params)
    rewrite(file, {HEAD: np.ones((10, 8), np.float32)})
    with pytest.raises(MioError, match=r"differs from model.embed_tokens.weight"):
        import_params(tmp_path, TIED)


def test_every_difference_is_listed_in_one_line(params: Params, tmp_path: Path) -> None:
    (file,) = export_params(params, SPEC, tmp_path)
    rewrite(file, {"model.norm.weight": None, "extra": np.ones(1, np.float32), HEAD: np.ones((10, 9), np.float32)})
    with pytest.raises(MioError) as error:
        import_params(tmp_path, SPEC)
    message = str(error.value)
    assert "\n" not in message
    assert (
        "1 missing (model.norm.weight); 1 unexpected (extra); 1 misshapen (lm_head.weight is (10, 9), not (10, 8))"
        in message
    )


def test_parameters_of_another_model_are_not_exported(params: Params, tmp_path: Path) -> None:
    with pytest.raises(MioError, match=r"do not fit|does not fit the model: 1 unexpected \(head\)"):
        export_params(params, DecoderSpec(**{**SPEC.__dict__, "tie_embeddings": True}), tmp_path)
    assert not (tmp_path / SINGLE).exists()


@pytest.mark.parametrize("keep", [3, 100, -7])
def test_a_file_cut_off(params: Params, tmp_path: Path, keep: int) -> None:
    (file,) = export_params(params, SPEC, tmp_path)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(MioError, match="is cut off"):
        import_params(tmp_path, SPEC)


def test_files_that_are_not_weights(params: Params, tmp_path: Path) -> None:
    with pytest.raises(MioError, match=r"cannot read weights .*: No such file or directory"):
        import_params(tmp_path / "absent.safetensors", SPEC)
    with pytest.raises(MioError, match=r"holds none of model.safetensors, model.safetensors.index.json"):
        import_params(tmp_path, SPEC)
    (tmp_path / SINGLE).write_bytes((20).to_bytes(8, "little") + b"this is not json at all")
    with pytest.raises(MioError, match="its header is not JSON"):
        import_params(tmp_path, SPEC)


def test_shards_that_are_not_all_there(params: Params, tmp_path: Path) -> None:
    files = export_params(params, SPEC, tmp_path, max_shard_bytes=1500)
    index = json.loads((tmp_path / INDEX).read_text())
    index["weight_map"]["lost"] = files[0].name
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(MioError, match="names 1 tensors that their shards lack: lost"):
        import_params(tmp_path, SPEC)
    files[1].unlink()
    with pytest.raises(MioError, match="cannot read weights"):
        import_params(tmp_path, SPEC)
    (tmp_path / INDEX).write_text("[]")
    with pytest.raises(MioError, match="is not an index"):
        import_params(tmp_path, SPEC)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rotary scaling 'llama3' is not supported"),
        ({"attention_bias": True}, "attention_bias is True; this decoder has False"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'; this decoder has 'silu'"),
        ({"num_hidden_layers": None}, "it has no 'num_hidden_layers'"),
    ],
)
def test_configs_of_other_models(params: Params, tmp_path: Path, change: dict, message: str) -> None:
    export_params(params, SPEC, tmp_path)
    config = {**json.loads((tmp_path / "config.json").read_text()), **change}
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    with pytest.raises(MioError, match=message):
        read_spec(tmp_path)


def test_newer_configs_keep_theta_in_rope_parameters(params: Params, tmp_path: Path) -> None:
    export_params(params, SPEC, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["rope_parameters"] = {"rope_theta": config.pop("rope_theta"), "rope_type": "default"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_spec(tmp_path) == SPEC
