"""Analytic FLOPs against counts made another way, and what is known of chips."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import Mesh

from mio_jax.config import ModelConfig
from mio_jax.errors import MioError
from mio_jax.nn.transformer import Decoder, DecoderSpec
from mio_jax.parallel import flops
from mio_jax.parallel.flops import forward_flops_per_token, mfu_per_speed, model_flops_per_token, stack_flops
from mio_jax.parallel.topologies import CHIPS, peak_flops, topology
from mio_jax.protocols import ModelSizes, StackSizes, load_recipe

SPEC = DecoderSpec(vocab_size=48, dim=16, depth=1, heads=4, kv_heads=2, head_dim=8, mlp_dim=24, attention="xla")


def test_every_weight_of_a_product_counts_twice_a_token() -> None:
    recipe = load_recipe("mio")
    space = recipe.published_space()
    spec = recipe.resolve_model(ModelConfig(preset="mio_7b"), space)
    assert space.vocab_size == 76_294
    # Specification 2.1: all parameters but the input table, which is looked up, and the norm scales.
    weights = 76_294 * 4096 + 32 * (2 * 4096 * 4096 + 2 * 4096 * 512 + 3 * 4096 * 11008)
    assert forward_flops_per_token(recipe.model_sizes(spec), 0) == 2 * weights
    assert model_flops_per_token(recipe.model_sizes(spec), 0) == 6 * weights


def test_a_forward_pass_agrees_with_the_compilers_count() -> None:
    """Of one layer, which is no loop; the whole score matrix is computed, of which causal counting takes half."""
    rows, length = 2, 16
    model = jax.eval_shape(lambda key: Decoder(SPEC, key), jax.random.key(0))
    tokens = jax.ShapeDtypeStruct((rows, length), jnp.int32)

    def logits(model: Decoder, tokens: jax.Array) -> jax.Array:
        return model.logits(model.hidden(tokens, jnp.arange(length)[None]))

    counted = jax.jit(logits).lower(model, tokens).compile().cost_analysis()["flops"]
    sizes = load_recipe("mio").model_sizes(SPEC)
    whole = ModelSizes((sizes.stacks[0]._replace(causal=False),), sizes.output_dim, sizes.vocab_size)
    ours = rows * length * forward_flops_per_token(whole, length)
    assert ours <= counted <= 1.25 * ours  # the compiler also counts norms, softmax, rotation and silu


def test_causal_attention_counts_half() -> None:
    stack = StackSizes(2, 16, 4, 2, 8, 24)
    scores = stack_flops(stack._replace(causal=False), 100) - stack_flops(stack, 0)
    assert scores == 2 * 4 * 4 * 8 * 100
    assert stack_flops(stack, 100) - stack_flops(stack, 0) == scores / 2


def test_a_topology_is_a_kind_and_sides() -> None:
    assert (topology("v5p:4x4x8").chips, topology("v6e:8x8").devices, topology("tpu7x:4x4x4").devices) == (128, 64, 128)
    for name, told in (
        ("v9:2x2", "no TPU is called 'v9'; there are: v4, v5e"),
        ("v5p:4x4", "3 sides"),
        ("v6e", "v6e:"),
    ):
        with pytest.raises(MioError, match=told):
            topology(name)


def test_peaks_are_of_one_device() -> None:
    assert peak_flops("TPU v5") == 459e12
    assert peak_flops("TPU v5 lite") == 197e12
    assert peak_flops("TPU7x") == CHIPS["tpu7x"].flops / 2
    assert peak_flops("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_flops("cpu") is None


def test_mfu_is_given_only_where_the_peak_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = ModelSizes((StackSizes(2, 16, 4, 2, 8, 24),), 16, 48)
    mesh = Mesh(jax.devices()[:4], ("data",))
    assert mfu_per_speed(sizes, 32, mesh) is None
    monkeypatch.setattr(flops, "peak_flops", {"cpu": 1e9}.get)
    assert mfu_per_speed(sizes, 32, mesh) == model_flops_per_token(sizes, 32) / 4e9
