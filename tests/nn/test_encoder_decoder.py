"""Encoder and decoder stacks: who sees whom, packing, cached steps, empty rows, and each setting of a layer."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.errors import MioError
from mio_jax.nn.base import Module
from mio_jax.nn.cache import KVCache
from mio_jax.nn.encoder_decoder import CrossDecoder, Embedded, Encoder, join
from mio_jax.nn.layer_parts import Context, LayerSpec, Row
from mio_jax.nn.layers import Layer, Patterns, apart, make_layers, run_layers
from mio_jax.nn.rotary import grid_angles, rotary_angles

DIM, HEADS, KV = 16, 2, 8
SPEC = LayerSpec(DIM, HEADS, HEADS, KV, 24, depth=2, qk="rms", rotary="pairs", kv_heads_axis="heads")
CROSS = dataclasses.replace(SPEC, causal=True, context=DIM)


class Pair(Module):
    def __init__(self, key: jax.Array) -> None:
        a, b = jax.random.split(key)
        self.encoder, self.decoder = Encoder(SPEC, a), CrossDecoder(CROSS, b)

    def __call__(self, inputs: Embedded, targets: Embedded) -> jax.Array:
        return self.decoder(targets, self.encoder(inputs), inputs)


@cache
def pair() -> Pair:
    return jax.jit(Pair)(jax.random.key(0))


run = jax.jit(lambda model, *rows: model(*rows))


def row(length: int, seed: int, used: int | None = None, batch: int = 1) -> Embedded:
    """Random states; the first `used` places hold a token."""
    states = jnp.asarray(np.random.default_rng(seed).normal(size=(batch, length, DIM)), jnp.float32)
    mask = jnp.broadcast_to(jnp.arange(length) < (length if used is None else used), (batch, length))
    places = jnp.broadcast_to(jnp.arange(length), (batch, length))
    nothing = jnp.zeros_like(places)
    return Embedded(states, mask, rotary_angles(places, KV, 1e4), nothing, nothing)


def test_packed_rows_give_what_each_example_gives_alone() -> None:
    ins, outs = (row(6, 1, 5), row(4, 2)), (row(5, 3, 4), row(5, 4))
    alone = [np.asarray(run(pair(), a, b)) for a, b in zip(ins, outs, strict=True)]

    def packed(parts: tuple[Embedded, ...]) -> Embedded:
        return join([p._replace(segments=p.segments + i, examples=p.examples + i) for i, p in enumerate(parts)])

    both = np.asarray(run(pair(), packed(ins), packed(outs)))
    np.testing.assert_allclose(both[:, :4], alone[0][:, :4], atol=2e-5)
    np.testing.assert_allclose(both[:, 5:], alone[1], atol=2e-5)
    mixed = packed(outs)._replace(examples=jnp.zeros_like(packed(outs).examples))
    assert np.abs(np.asarray(run(pair(), packed(ins), mixed))[:, 5:] - alone[1]).max() > 1e-2


def test_segments_of_one_example_do_not_see_each_other_and_share_the_encoder() -> None:
    inputs, outs = row(6, 1), (row(3, 3), row(4, 4))
    alone = [np.asarray(run(pair(), inputs, part)) for part in outs]
    both = join([part._replace(segments=part.segments + i) for i, part in enumerate(outs)])
    np.testing.assert_allclose(run(pair(), inputs, both), np.concatenate(alone, axis=1), atol=2e-5)


def test_what_padding_holds_is_of_no_account() -> None:
    inputs, targets = row(6, 1, 4), row(5, 2, 3)
    other_in = inputs._replace(states=inputs.states.at[:, 4:].add(9.0))
    other_out = targets._replace(states=targets.states.at[:, 3:].add(9.0))
    before, after = run(pair(), inputs, targets), run(pair(), other_in, other_out)
    np.testing.assert_array_equal(before[:, :3], after[:, :3])


def test_the_encoder_sees_both_ways_and_the_decoder_what_came_before() -> None:
    inputs, targets = row(6, 1), row(5, 2)

    def changed(part: Embedded, at: int) -> Embedded:
        return part._replace(states=part.states.at[:, at].add(1.0))

    encode = jax.jit(lambda model, inputs: model.encoder(inputs))
    moved = np.abs(np.asarray(encode(pair(), changed(inputs, 5)) - encode(pair(), inputs))).max(axis=(0, 2))
    assert moved.min() > 1e-4
    moved = np.abs(np.asarray(run(pair(), inputs, changed(targets, 3)) - run(pair(), inputs, targets))).max(axis=(0, 2))
    assert moved[:3].max() == 0
    assert moved[3:].min() > 1e-4


def test_an_example_without_inputs_or_without_targets_gives_numbers() -> None:
    def total(model: Pair, inputs: Embedded, targets: Embedded) -> jax.Array:
        return jnp.sum(jnp.square(model(inputs, targets)))

    value = jax.jit(jax.value_and_grad(total))
    for inputs, targets in ((row(6, 1, 0), row(5, 2)), (row(6, 1), row(5, 2, 0))):
        found, gradient = value(pair(), inputs, targets)
        assert np.isfinite(found)
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))


@pytest.mark.parametrize("rows", [1, 3])
def test_cached_steps_give_the_states_of_whole_rows(rows: int) -> None:
    """`rows` of tokens to one row of the encoder, as beams are."""
    model, inputs = pair(), row(6, 1, 4, batch=2)
    targets = row(5, 2, batch=2 * rows)
    repeated = jax.tree.map(lambda x: jnp.repeat(x, rows, axis=0), inputs)
    whole = run(model, repeated, targets)
    memory = jax.jit(lambda m, i: m.decoder.remember(m.encoder(i), i))(model, inputs)
    cache = KVCache.empty(SPEC.depth, 2 * rows, 7, HEADS, KV, jnp.dtype("float32"))
    extend = jax.jit(lambda m, *a: m.decoder.extend(*a))
    steps = []
    for start, stop in ((0, 2), (2, 3), (3, 4), (4, 5)):
        part = slice(start, stop)
        angles = tuple(x[:, part] for x in targets.angles)
        states, cache = extend(model, targets.states[:, part], angles, targets.mask[:, part], cache, memory)
        steps.append(states)
    np.testing.assert_allclose(np.concatenate(steps, axis=1), whole, atol=2e-5)


def test_patterns_limit_single_layers() -> None:
    model, inputs, targets = pair(), row(4, 1), row(6, 2)
    everything, own = jnp.ones((1, 6, 6), bool), jnp.eye(6, dtype=bool)[None]
    limited = jax.jit(lambda m, kinds: m.decoder(
        targets, m.encoder(inputs), inputs, patterns=Patterns(jnp.stack([everything, own]), kinds)
    ))  # fmt: skip
    plain = run(model, inputs, targets)
    np.testing.assert_allclose(limited(model, jnp.asarray([0, 0])), plain, atol=2e-5)
    alone = [run(model, inputs, jax.tree.map(lambda x, i=i: x[:, i : i + 1], targets)) for i in range(6)]
    np.testing.assert_allclose(limited(model, jnp.asarray([1, 1])), np.concatenate(alone, axis=1), atol=2e-5)
    half = np.asarray(limited(model, jnp.asarray([0, 1])))
    assert np.abs(half - plain).max() > 1e-3
    assert np.abs(half[:, 3:] - np.concatenate(alone, axis=1)[:, 3:]).max() > 1e-3


SETTINGS: list[dict[str, Any]] = [
    {"norm": "layer", "bias": True, "mlp": "gelu"},
    {"mlp": "relu", "qk": "cosine"},
    {"mlp": "gelu_tanh", "kv_heads": 1, "rotary": "half", "init_std": 0.1},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_setting_learns_with_every_parameter(settings: dict[str, Any]) -> None:
    spec = dataclasses.replace(SPEC, **{"qk": "plain", **settings})
    model = jax.jit(lambda key: Encoder(spec, key))(jax.random.key(1))
    inputs = row(6, 1, 5)
    gradient = jax.jit(jax.grad(lambda m: jnp.sum(jnp.sin(3 * m(inputs)) * inputs.mask[..., None])))(model)
    for path, x in jax.tree_util.tree_leaves_with_path(gradient):
        name = jax.tree_util.keystr(path)
        if "key_bias" not in name:  # it moves all scores of a query alike
            assert np.abs(np.asarray(x)).max() > 1e-6, name


@pytest.mark.parametrize("settings", [*SETTINGS, {"qk": "rms", "kv_heads": 1}])
def test_layers_arranged_for_decoding_compute_the_same(settings: dict[str, Any]) -> None:
    spec = dataclasses.replace(CROSS, **{"qk": "plain", **settings})
    layers = jax.jit(lambda key: jax.tree.map(jnp.cos, make_layers(spec, key)))(jax.random.key(2))  # no bias is 0
    targets, inputs = row(5, 1), row(6, 2)
    context = Context(inputs.states, Row(inputs.angles))

    def one_by_one(layers: Layer) -> jax.Array:
        x = targets.states
        for layer in apart(layers):
            assert all(part.arranged for part in (layer.attention, layer.cross, layer.mlp))  # on a CPU
            x = layer(x, Row(targets.angles), context=context)
        return x

    whole = jax.jit(lambda layers: run_layers(layers, targets.states, Row(targets.angles), context=context))(layers)
    np.testing.assert_allclose(jax.jit(one_by_one)(layers), whole, rtol=1e-5, atol=1e-5 * np.abs(whole).max())


def test_angles_of_a_grid() -> None:
    cos, sin = grid_angles(jnp.asarray([0.0, 2.5]), jnp.asarray([3.0, 1.0]), 8)
    angle = np.asarray([[0, 0, 3, 0.03], [2.5, 0.025, 1, 0.01]])
    np.testing.assert_allclose(cos, np.cos(angle), atol=1e-6)
    np.testing.assert_allclose(sin, np.sin(angle), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norm": "batch"}, "model.norm is 'batch'; it must be one of rms, layer"),
        ({"bias": True}, "the gated feed-forward has no biases"),
        ({"self_attention": False}, "a layer attends to its own row, to a context, or to both; this one to neither"),
        ({"kv_heads": 3}, "model.heads is 2; it must be a multiple of model.kv_heads, 3"),
    ],
)
def test_impossible_layers(change: dict[str, Any], message: str) -> None:
    with pytest.raises(MioError, match=message):
        dataclasses.replace(SPEC, **change)
