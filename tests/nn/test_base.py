"""Logical axes: what they resolve to, where they come from, and that an unknown one is an error."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, PartitionSpec

from mio_jax.errors import MioError
from mio_jax.nn.base import apply as apply_model
from mio_jax.nn.base import (
    axes_of,
    axis_rules,
    constrain,
    init_params,
    params_of,
    partition_spec,
    split_model,
    to_pure_dict,
)
from mio_jax.nn.transformer import Decoder, DecoderSpec

RULES = {"batch": ("data", "fsdp"), "embed": "fsdp", "heads": "tensor", "kv": None}
MESH = {"data": 2, "fsdp": 2, "tensor": 2}
SPEC = DecoderSpec(vocab_size=11, dim=8, depth=3, heads=4, kv_heads=2, head_dim=2, mlp_dim=12)


@pytest.mark.parametrize(
    ("axes", "shape", "spec"),
    [
        (("embed", "heads", "kv"), None, PartitionSpec("fsdp", "tensor", None)),
        (("batch", None, "embed"), None, PartitionSpec(("data", "fsdp"), None, None)),  # fsdp serves one dimension only
        (("batch", "embed"), (4, 8), PartitionSpec(("data", "fsdp"), None)),
        (("heads",), (3,), PartitionSpec(None)),  # 2 does not divide 3
    ],
)
def test_partition_spec(axes: tuple, shape: tuple | None, spec: PartitionSpec) -> None:
    assert partition_spec(axes, RULES, MESH, shape) == spec


def test_an_axis_without_a_rule_is_an_error() -> None:
    with pytest.raises(
        MioError, match="logical axis 'mlp' has no sharding rule; the rules name batch, embed, heads, kv"
    ):
        partition_spec(("mlp",), RULES, MESH)


def test_constrain_follows_the_rules_in_force() -> None:
    x = jnp.ones((4, 6))
    assert constrain(x, "batch", "nowhere") is x  # neither mesh nor rules
    mesh = jax.make_mesh((2, 2), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2, devices=jax.devices()[:4])
    with jax.set_mesh(mesh), axis_rules(RULES):
        placed = jax.jit(lambda x: constrain(x, "batch", None))(x)
    assert placed.sharding.shard_shape(x.shape) == (1, 6)


def test_shapes_axes_and_arrays_have_one_structure() -> None:
    def build(key):
        return Decoder(SPEC, key)

    graphdef, abstract = split_model(build)
    shapes, axes = to_pure_dict(abstract), axes_of(abstract)
    params = jax.jit(lambda key: init_params(build, key))(jax.random.key(0))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), shapes) == jax.tree.map(lambda x: (x.shape, x.dtype), params)
    assert axes["layers"]["attention"]["query"] == ("layers", "embed", "heads", "kv")
    assert axes["embed"] == ("vocab", "embed")
    assert axes["layers"]["mlp_norm"]["scale"] == ("layers", "norm")
    ranks = jax.tree.map(lambda names: len(names), axes, is_leaf=lambda x: isinstance(x, tuple))
    assert ranks == jax.tree.map(lambda x: x.ndim, params)
    again = params_of(apply_model(graphdef, params))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), params, again))
