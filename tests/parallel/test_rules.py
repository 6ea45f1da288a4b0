"""The rules table: what is split, what is replicated, what is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from mio_jax.config import AxisRule, MeshConfig, RunConfig
from mio_jax.config_loading import apply_overrides
from mio_jax.errors import MioError
from mio_jax.nn.base import axes_of, split_model, to_pure_dict
from mio_jax.nn.transformer import Decoder, DecoderSpec
from mio_jax.parallel import (
    RULES,
    batch_sharding,
    compiler_options,
    make_mesh,
    mesh_summary,
    param_spec,
    place_params,
    rules_of,
)
from mio_jax.parallel.mesh import arrange


def mesh(**sizes: int) -> jax.sharding.Mesh:
    return make_mesh(MeshConfig(**({"data": 1} | sizes)))


def test_mesh_takes_what_is_left_and_the_first_devices() -> None:
    assert dict(make_mesh(MeshConfig(fsdp=2)).shape) == {"replica": 1, "data": 4, "fsdp": 2, "seq": 1, "tensor": 1}
    small = mesh(tensor=2)
    assert small.size == 2
    assert list(small.devices.flat) == jax.devices()[:2]
    assert mesh_summary(small) == "2 (tensor) cpu devices"
    assert mesh_summary(mesh()) == "1 cpu device"
    assert mesh_summary(mesh(fsdp=2, tensor=4)) == "2 x 4 (fsdp x tensor) cpu devices"


@pytest.mark.parametrize(
    ("sizes", "said"), [({"tensor": 16}, "needs 16 devices"), ({"data": -1, "fsdp": 3}, "do not divide by 3")]
)
def test_mesh_that_the_devices_do_not_allow(sizes: dict[str, int], said: str) -> None:
    with pytest.raises(MioError, match=said):
        mesh(**sizes)


def test_every_parameter_of_the_decoder_is_split_by_the_table() -> None:
    spec = DecoderSpec(vocab_size=64, dim=16, depth=2, heads=4, kv_heads=1, head_dim=4, mlp_dim=32)
    _, abstract = split_model(lambda key: Decoder(spec, key))
    placed = place_params(axes_of(abstract), to_pure_dict(abstract), mesh(fsdp=2, tensor=4))
    leaves = jax.tree_util.tree_leaves_with_path(placed)
    specs = {jax.tree_util.keystr(k, simple=True, separator="/"): x.sharding.spec for k, x in leaves}
    assert specs == {
        "embed": P("tensor", "fsdp"),
        "head": P("tensor", "fsdp"),
        "final_norm/scale": P(None),
        "layers/attention/query": P(None, "fsdp", "tensor", None),
        "layers/attention/key": P(None, "fsdp", None, None),  # one head on four devices: may be replicated
        "layers/attention/value": P(None, "fsdp", None, None),
        "layers/attention/out": P(None, "tensor", None, "fsdp"),
        "layers/attention_norm/scale": P(None, None),
        "layers/mlp_norm/scale": P(None, None),
        "layers/mlp/gate": P(None, "fsdp", "tensor"),
        "layers/mlp/up": P(None, "fsdp", "tensor"),
        "layers/mlp/down": P(None, "tensor", "fsdp"),
    }


def test_unknown_logical_axis_is_an_error_that_names_it_and_the_parameter() -> None:
    with pytest.raises(MioError, match=r"parameter layers/router: logical axis 'experts' has no sharding rule"):
        param_spec("layers/router", ("embed", "experts"), (16, 4), mesh())


def test_a_dimension_that_does_not_divide_names_the_parameter_and_the_ways_out() -> None:
    said = r"parameter a/up: its axis 'mlp' of 63 .* by 2 .*; choose a mesh.tensor that .* mesh.rules.mlp.may_replicate"
    with pytest.raises(MioError, match=said):
        param_spec("a/up", ("embed", "mlp"), (16, 63), mesh(tensor=2))
    rules = rules_of(MeshConfig(rules=(AxisRule("mlp", ("tensor",), may_replicate=True),)))
    assert param_spec("a/up", ("embed", "mlp"), (16, 63), mesh(tensor=2), rules) == (P("fsdp", None), (16, 63))


def test_a_vocabulary_is_padded_to_what_the_mesh_divides() -> None:
    assert param_spec("embed", ("vocab", "embed"), (76294, 16), mesh(tensor=8)) == (P("tensor", "fsdp"), (76296, 16))
    assert param_spec("embed", ("vocab", "embed"), (76294, 16), mesh(tensor=2))[1] == (76294, 16)
    rules = rules_of(MeshConfig(rules=(AxisRule("vocab", ("tensor",)),)))
    with pytest.raises(MioError, match=r"parameter embed: its axis 'vocab' of 76294 does not divide by 8"):
        param_spec("embed", ("vocab", "embed"), (76294, 16), mesh(tensor=8), rules)


def test_a_mesh_axis_is_used_once() -> None:
    assert param_spec("w", ("mlp", "heads"), (8, 8), mesh(tensor=2))[0] == P("tensor", None)


def test_only_the_rules_name_known_mesh_axes() -> None:
    assert {m for rule in RULES.values() for m in rule.mesh} == {"replica", "data", "fsdp", "seq", "tensor"}


def test_batch() -> None:
    assert batch_sharding(mesh(data=2, fsdp=2, seq=2), 8, 64).spec == P(("replica", "data", "fsdp"), "seq")
    with pytest.raises(MioError, match=r"rows of a batch: 6 does not divide by 4"):
        batch_sharding(mesh(data=2, fsdp=2), 6, 64)
    with pytest.raises(MioError, match=r"data.length: 63 does not divide by 2"):
        batch_sharding(mesh(seq=2), 8, 63)


@pytest.mark.parametrize(
    ("config", "wide"),
    [
        (MeshConfig(), {"data": 8}),
        (MeshConfig(preset="data"), {"data": 8}),
        (MeshConfig(preset="fsdp"), {"fsdp": 8}),
        (MeshConfig(preset="fsdp", fsdp=4), {"fsdp": 4}),
        (MeshConfig(preset="tensor"), {"tensor": 8}),
        (MeshConfig(preset="sequence"), {"seq": 8}),
        (MeshConfig(preset="fsdp+tensor", tensor=2), {"fsdp": 4, "tensor": 2}),
        (MeshConfig(preset="tensor+fsdp", fsdp=2), {"fsdp": 2, "tensor": 4}),
        (MeshConfig(preset="data+fsdp", fsdp=2), {"data": 4, "fsdp": 2}),
        (MeshConfig(preset="multislice"), {"replica": 8}),
        (MeshConfig(preset="multislice+fsdp", replica=2), {"replica": 2, "fsdp": 4}),
        (MeshConfig(preset="multislice+data+tensor", replica=2, tensor=2), {"replica": 2, "data": 2, "tensor": 2}),
    ],
)
def test_presets_say_which_axis_takes_what_is_left(config: MeshConfig, wide: dict[str, int]) -> None:
    assert {axis: size for axis, size in make_mesh(config).shape.items() if size > 1} == wide


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"preset": "fsdp+tensr"}, r"mesh.preset, or a part of it, is 'tensr'; it must be one of data, fsdp, tensor"),
        ({"preset": "fsdp+fsdp"}, "names a part twice"),
        ({"preset": "fsdp", "tensor": 2}, r"mesh.tensor is 2, but mesh.preset 'fsdp' does not use that axis"),
        ({"rules": (AxisRule("mlp"), AxisRule("mlp"))}, "mesh.rules names mlp twice"),
    ],
)
def test_mesh_configs_that_contradict_themselves(values: dict, said: str) -> None:
    with pytest.raises(MioError, match=said):
        MeshConfig(**values)


def test_a_rule_over_an_unknown_mesh_axis() -> None:
    with pytest.raises(MioError, match=r"mesh.rules.mlp.mesh is 'model'; it must be one of replica, data"):
        AxisRule("mlp", ("model",))


def test_single_rules_are_overridden_from_the_command_line() -> None:
    flags = ["mesh.rules.vocab.mesh=fsdp,tensor", "mesh.rules.embed.mesh=", "mesh.rules.kv_heads.may_replicate=false"]
    rules = rules_of(apply_overrides(RunConfig(), flags).mesh)
    assert rules["vocab"] == AxisRule("vocab", ("fsdp", "tensor"), pad=True)
    assert rules["mlp"] == RULES["mlp"]
    table = ("vocab", "embed")
    assert param_spec("embed", table, (64, 16), mesh(fsdp=2, tensor=4), rules)[0] == P(("fsdp", "tensor"), None)
    with pytest.raises(MioError, match=r"parameter key: its axis 'kv_heads' of 1 does not divide"):
        param_spec("key", ("embed", "kv_heads", "kv"), (16, 1, 4), mesh(tensor=4), rules)


class SliceDevice:
    """As much of a TPU device as the arrangement looks at: two slices of four chips in a row."""

    platform, device_kind, process_index = "cpu", "chip", 0

    def __init__(self, index: int) -> None:
        self.id, self.slice_index = index, index // 4


def test_slices_lie_along_replica() -> None:
    devices = [SliceDevice(i) for i in (0, 4, 1, 5, 2, 6, 3, 7)]
    placed = arrange({"replica": 2, "data": 1, "fsdp": 2, "seq": 1, "tensor": 2}, devices)  # type: ignore[arg-type]
    assert placed.shape == (2, 1, 2, 1, 2)
    assert [[d.slice_index for d in half.flat] for half in placed] == [[0] * 4, [1] * 4]
    with pytest.raises(MioError, match=r"lie on 2 slices and mesh.replica is 1; set mesh.replica=2"):
        arrange({"replica": 1, "data": 8, "fsdp": 1, "seq": 1, "tensor": 1}, devices)  # type: ignore[arg-type]


def test_only_several_tpus_are_asked_to_overlap_their_exchange() -> None:
    def several(platform: str, size: int) -> Any:
        return SimpleNamespace(devices=np.asarray([SimpleNamespace(platform=platform)] * size), size=size)

    assert compiler_options(make_mesh(MeshConfig(data=-1))) == compiler_options(several("tpu", 1)) == {}
    assert compiler_options(several("tpu", 2))["xla_tpu_enable_async_collective_fusion"] == "true"
