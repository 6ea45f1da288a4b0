"""The rules table: what is split, what is replicated, what is refused."""

from __future__ import annotations

import jax
import pytest
from jax.sharding import PartitionSpec as P

from mio_jax.config import MeshConfig
from mio_jax.errors import MioError
from mio_jax.nn.base import axes_of, split_model, to_pure_dict
from mio_jax.nn.transformer import Decoder, DecoderSpec
from mio_jax.parallel import RULES, batch_sharding, make_mesh, mesh_summary, param_shardings, param_spec


def mesh(**sizes: int) -> jax.sharding.Mesh:
    return make_mesh(MeshConfig(**({"data": 1} | sizes)))


def test_mesh_takes_what_is_left_and_the_first_devices() -> None:
    assert dict(make_mesh(MeshConfig(fsdp=2)).shape) == {"data": 4, "fsdp": 2, "seq": 1, "tensor": 1}
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
    shardings = param_shardings(axes_of(abstract), to_pure_dict(abstract), mesh(fsdp=2, tensor=4))
    leaves = jax.tree_util.tree_leaves_with_path(shardings)
    specs = {jax.tree_util.keystr(k, simple=True, separator="/"): s.spec for k, s in leaves}
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


def test_a_dimension_that_does_not_divide_names_the_parameter_and_the_way_out() -> None:
    with pytest.raises(MioError, match=r"parameter embed: its axis 'vocab' of 63 does not divide by 2 .* mesh.tensor"):
        param_spec("embed", ("vocab", "embed"), (63, 16), mesh(tensor=2))


def test_a_mesh_axis_is_used_once() -> None:
    assert param_spec("w", ("mlp", "heads"), (8, 8), mesh(tensor=2)) == P("tensor", None)


def test_only_the_rules_name_known_mesh_axes() -> None:
    assert {m for rule in RULES.values() for m in rule.mesh} == {"data", "fsdp", "seq", "tensor"}


def test_batch() -> None:
    assert batch_sharding(mesh(data=2, fsdp=2, seq=2), 8, 64).spec == P(("data", "fsdp"), "seq")
    with pytest.raises(MioError, match=r"rows of a batch: 6 does not divide by 4"):
        batch_sharding(mesh(data=2, fsdp=2), 6, 64)
    with pytest.raises(MioError, match=r"data.length: 63 does not divide by 2"):
        batch_sharding(mesh(seq=2), 8, 63)
