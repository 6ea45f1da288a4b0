"""The decoder: its cache against its rows, packing, rematerialisation, precision, sharding, and its spec's errors."""

from __future__ import annotations

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from mio_jax.errors import MioError
from mio_jax.nn.base import Params, apply, axis_rules, init_params, split_model
from mio_jax.nn.transformer import Decoder, DecoderSpec

SPEC = DecoderSpec(vocab_size=19, dim=16, depth=2, heads=4, kv_heads=2, head_dim=4, mlp_dim=24, init_std=0.2)
LENGTH = 9
TOKENS = np.random.default_rng(3).integers(0, SPEC.vocab_size, (2, LENGTH))
PLACES = np.broadcast_to(np.arange(LENGTH), TOKENS.shape)


hidden = jax.jit(lambda model, *rows: model.hidden(*rows))
extend = jax.jit(lambda model, *rows: model.extend(*rows))


@cache
def params_of(spec: DecoderSpec) -> Params:
    return jax.jit(lambda key: init_params(lambda key: Decoder(spec, key), key))(jax.random.key(1))


def model_of(spec: DecoderSpec, params: Params | None = None) -> Decoder:
    return apply(split_model(lambda key: Decoder(spec, key))[0], params_of(spec) if params is None else params)


def logits(model: Decoder, tokens: np.ndarray, positions: np.ndarray, segments: np.ndarray | None) -> np.ndarray:
    return np.asarray(model.logits(hidden(model, tokens, positions, segments)))


def loss_and_gradient(spec: DecoderSpec, params: Params) -> tuple[jax.Array, Params]:
    def loss(p):
        return jnp.sum(jnp.sin(model_of(spec, p).hidden(TOKENS, PLACES, None).astype(jnp.float32)))

    return jax.jit(jax.value_and_grad(loss))(params)


def test_a_cache_filled_in_pieces_gives_the_states_of_the_whole_row() -> None:
    model = model_of(SPEC)
    cache = model.init_cache(2, LENGTH + 4)
    pieces = []
    for start, stop in ((0, 4), (4, 5), (5, 6), (6, 9)):
        tokens, positions = TOKENS[:, start:stop], PLACES[:, start:stop]
        states, cache = extend(model, tokens, positions, np.ones(tokens.shape, bool), cache)
        pieces.append(states)
    whole = hidden(model, TOKENS, PLACES, None)
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, atol=2e-5)
    assert int(cache.index) == LENGTH
    assert np.array_equal(np.asarray(cache.valid).sum(axis=1), [LENGTH, LENGTH])


def test_arranged_for_decoding_and_with_a_cache_that_grows_it_has_the_same_states() -> None:
    model = model_of(SPEC)
    decoding = jax.jit(lambda model: model.for_decoding())(model)
    cache = decoding.init_cache(2, 4)
    pieces = []
    for start, stop in ((0, 4), (4, 5), (5, 9)):
        tokens, positions = TOKENS[:, start:stop], PLACES[:, start:stop]
        states, cache = extend(decoding, tokens, positions, np.ones(tokens.shape, bool), cache)
        pieces.append(states)
        cache = cache.grown(LENGTH + 4)
    whole = hidden(model, TOKENS, PLACES, None)
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, atol=2e-5)
    assert np.array_equal(np.asarray(cache.valid).sum(axis=1), [LENGTH, LENGTH])


def test_left_padding_changes_nothing_for_the_tokens() -> None:
    model = model_of(SPEC)
    valid = np.asarray([[False] * 3 + [True] * (LENGTH - 3), [True] * LENGTH])
    positions = np.maximum(np.cumsum(valid, axis=1) - 1, 0)
    states, cache = extend(model, TOKENS, positions, valid, model.init_cache(2, LENGTH + 1))
    alone = hidden(model, TOKENS[:1, 3:], PLACES[:1, 3:], None)
    np.testing.assert_allclose(states[:1, 3:], alone, atol=2e-5)
    new = np.asarray([[4], [4]])
    states, _ = extend(model, new, positions[:, -1:] + 1, np.ones((2, 1), bool), cache)
    alone = hidden(model, np.concatenate([TOKENS[:1, 3:], new[:1]], axis=1), np.arange(LENGTH - 2)[None], None)
    np.testing.assert_allclose(states[0, 0], alone[0, -1], atol=2e-5)


def test_packed_examples_are_as_if_alone() -> None:
    model = model_of(SPEC)
    segments = np.asarray([[1, 1, 1, 1, 2, 2, 2, 0, 0]])
    positions = np.asarray([[0, 1, 2, 3, 0, 1, 2, 0, 0]])
    packed = logits(model, TOKENS[:1], positions, segments)
    np.testing.assert_allclose(packed[:, :4], logits(model, TOKENS[:1, :4], positions[:, :4], None), atol=1e-5)
    np.testing.assert_allclose(packed[:, 4:7], logits(model, TOKENS[:1, 4:7], positions[:, 4:7], None), atol=1e-5)


def test_no_token_sees_a_later_one() -> None:
    model = model_of(SPEC)
    changed = TOKENS.copy()
    changed[:, 5:] = (changed[:, 5:] + 1) % SPEC.vocab_size
    before, after = logits(model, TOKENS, PLACES, None), logits(model, changed, PLACES, None)
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert np.abs(before[:, 5:] - after[:, 5:]).min(axis=-1).max() > 0


@pytest.mark.parametrize("remat", ["dots", "full"])
def test_rematerialisation_changes_no_gradient(remat: str) -> None:
    params = params_of(SPEC)
    loss, gradient = loss_and_gradient(SPEC, params)
    again, regradient = loss_and_gradient(dataclasses.replace(SPEC, remat=remat), params)
    np.testing.assert_allclose(loss, again, rtol=1e-6)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(regradient), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_full_rematerialisation_keeps_less() -> None:
    spec = dataclasses.replace(SPEC, depth=8)
    tokens = jax.ShapeDtypeStruct((4, 64), jnp.int32)

    def temporaries(remat: str) -> int:
        def build(key):
            return Decoder(dataclasses.replace(spec, remat=remat), key)

        graphdef, _ = split_model(build)
        shapes = jax.eval_shape(lambda: init_params(build, jax.random.key(0)))

        def loss(p, t):
            return apply(graphdef, p).hidden(t, t, None).sum()

        return jax.jit(jax.grad(loss)).lower(shapes, tokens).compile().memory_analysis().temp_size_in_bytes

    assert temporaries("full") < 0.6 * temporaries("none")


def test_bfloat16_compute_on_float32_parameters() -> None:
    spec = dataclasses.replace(SPEC, dtype="bfloat16")
    model = model_of(spec)
    states = hidden(model, TOKENS, PLACES, None)
    assert states.dtype == jnp.bfloat16
    assert model.logits(states).dtype == jnp.float32
    _, gradient = loss_and_gradient(spec, params_of(spec))
    assert {x.dtype for x in jax.tree.leaves(gradient)} == {jnp.dtype("float32")}
    exact = logits(model_of(SPEC, params_of(spec)), TOKENS, PLACES, None)
    np.testing.assert_allclose(logits(model, TOKENS, PLACES, None), exact, atol=0.1 * np.abs(exact).max())


def test_tied_embeddings_have_no_head() -> None:
    model = model_of(dataclasses.replace(SPEC, tie_embeddings=True))
    assert not hasattr(model, "head")
    np.testing.assert_array_equal(model.output_table(), model.embed[...])


@pytest.mark.parametrize("tied", [False, True])
def test_arranged_for_decoding_it_has_the_same_logits(tied: bool) -> None:
    model = model_of(dataclasses.replace(SPEC, tie_embeddings=tied))
    decoding = model.for_decoding()
    states = np.random.default_rng(0).normal(size=(2, 3, SPEC.dim)).astype(np.float32)
    np.testing.assert_allclose(decoding.logits(states), model.logits(states), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(decoding.output_table(), model.output_table())


def test_a_sharded_model_computes_the_same() -> None:
    rules = {
        "batch": ("data", "fsdp"), "length": None, "vocab": "tensor", "embed": "fsdp", "act_embed": None,
        "mlp": "tensor", "heads": "tensor", "kv_heads": "tensor", "kv": None, "norm": None, "layers": None,
    }  # fmt: skip
    params = params_of(SPEC)
    tokens, places = (np.concatenate([x, x]) for x in (TOKENS, PLACES))
    alone = logits(model_of(SPEC), tokens, places, None)
    mesh = jax.make_mesh((2, 2, 2), ("data", "fsdp", "tensor"), axis_types=(AxisType.Auto,) * 3)
    with jax.set_mesh(mesh), axis_rules(rules):
        np.testing.assert_allclose(logits(model_of(SPEC, params), tokens, places, None), alone, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kv_heads": 3}, "model.heads is 4; it must be a multiple of model.kv_heads, 3"),
        ({"head_dim": 5}, "model.head_dim is 5; rotary embedding needs an even number"),
        ({"depth": 0}, "model.depth is 0; it must be positive"),
        ({"dtype": "float16"}, "model.dtype is 'float16'; it must be one of float32, bfloat16"),
        ({"remat": "some"}, "model.remat is 'some'; it must be one of none, full, dots, save_attention"),
        ({"attention": "flash"}, "model.attention is 'flash'; it must be one of auto, xla, chunked"),
    ],
)
def test_impossible_specs(change: dict, message: str) -> None:
    with pytest.raises(MioError) as error:
        dataclasses.replace(SPEC, **change)
    assert str(error.value).startswith(message)
