"""Packed rows hold every valid token once and give it back; a packed transformer computes what an unpacked one does."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mio_jax.errors import MioError
from mio_jax.nn.attention import MaskSpec, attention
from mio_jax.nn.packing import pack, plan_packing, unpack
from mio_jax.nn.rotary import rotary_angles, rotate

EXAMPLES, ROWS, LENGTHS = 6, 3, (5, 3)


@st.composite
def batches(draw):
    flags = st.lists(st.booleans(), min_size=EXAMPLES * sum(LENGTHS), max_size=EXAMPLES * sum(LENGTHS))
    masks = np.split(np.asarray(draw(flags)).reshape(EXAMPLES, -1), [LENGTHS[0]], axis=1)
    rows = np.asarray(draw(st.lists(st.integers(-1, ROWS - 1), min_size=EXAMPLES, max_size=EXAMPLES)), np.int32)
    return masks, rows, draw(st.sampled_from((4, 8, 48)))


@partial(jax.jit, static_argnums=3)
def there_and_back(masks, rows, values, length):
    packing = plan_packing(masks, rows, num_rows=ROWS, length=length)
    packed = pack(packing, values)
    return packing, packed, unpack(packing, packed, LENGTHS)


@settings(max_examples=20)
@given(batches())
def test_every_token_stands_in_its_row_once_and_comes_back(batch):
    masks, rows, length = batch
    values = [np.arange(1, 1 + m.size).reshape(m.shape) + 100 * i for i, m in enumerate(masks)]
    packing, packed, unpacked = there_and_back(masks, rows, values, length)
    packed = np.asarray(packed)
    lost = 0
    for row in range(ROWS):
        wanted = [
            int(v[e, k])
            for e in np.flatnonzero(rows == row)
            for v, m in zip(values, masks, strict=True)
            for k in np.flatnonzero(m[e])
        ]
        lost += max(len(wanted) - length, 0)
        assert packed[row].tolist() == (wanted[:length] + [0] * length)[:length]
    assert int(packing.overflow) == lost
    assert float(packing.fill) == pytest.approx((packed > 0).mean())
    segments = np.asarray(packing.segment_ids)
    for row, column in zip(*np.nonzero(segments), strict=True):
        assert rows[segments[row, column] - 1] == row
    stays = set(packed[packed > 0].tolist())
    for value, back in zip(values, unpacked, strict=True):
        assert np.asarray(back).tolist() == np.where(np.isin(value, list(stays)), value, 0).tolist()


def test_groups_are_packed_as_if_alone():
    rng = np.random.default_rng(0)
    masks = [jnp.asarray(rng.random((EXAMPLES, n)) < 0.6) for n in LENGTHS]
    values = [jnp.asarray(rng.normal(size=(EXAMPLES, n, 2)), jnp.float32) for n in LENGTHS]
    rows = jnp.asarray([0, 1, 0, 3, 2, 3])
    whole = plan_packing(masks, rows, num_rows=4, length=12, groups=2)
    packed = pack(whole, values)
    for group in range(2):
        part = slice(3 * group, 3 * group + 3)
        alone = plan_packing([m[part] for m in masks], rows[part] - 2 * group, num_rows=2, length=12)
        np.testing.assert_array_equal(packed[2 * group : 2 * group + 2], pack(alone, [v[part] for v in values]))
        np.testing.assert_array_equal(whole.segment_ids[2 * group : 2 * group + 2], alone.segment_ids)
    for back, value, mask in zip(unpack(whole, packed, LENGTHS), values, masks, strict=True):
        np.testing.assert_array_equal(back, value * mask[..., None])
    astray = plan_packing(masks, rows.at[0].set(2), num_rows=4, length=12, groups=2)
    assert int(astray.overflow) == int(sum(m[0].sum() for m in masks))


DIM, HEADS, DEPTH = 8, 2, 2


def weights(seed: int) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    shape = (DEPTH, 8, DIM, DIM)
    return {"w": jnp.asarray(rng.normal(size=shape), jnp.float32) * 0.4 * DIM**-0.5}


def attend(x, memory, w, angles, memory_angles, segments, memory_segments, causal):
    q, k, v = (a.reshape(*a.shape[:2], HEADS, -1) for a in (x @ w[0], memory @ w[1], memory @ w[2]))
    q, k = rotate(q, *angles), rotate(k, *memory_angles)
    out = attention(q, k, v, mask=MaskSpec(causal), q_segments=segments, kv_segments=memory_segments, backend="xla")
    return x + out.reshape(x.shape) @ w[3]


def trunk(params, encoder, decoder):
    """Encoder and decoder layers over (states, angles, segments) pairs -> decoder states."""
    (x, at, here), (y, y_at, y_here) = encoder, decoder
    for layer in params["w"]:
        x = attend(x, x, layer, at, at, here, here, False)
    for layer in params["w"]:
        y = attend(y, y, layer[4:], y_at, y_at, y_here, y_here, True)
        y = attend(y, x, layer, y_at, at, y_here, here, False)
    return y


def angles_of(positions):
    return rotary_angles(positions, DIM // HEADS, 100.0)


def test_a_packed_encoder_decoder_gives_the_unpacked_states_and_gradients():
    rng = np.random.default_rng(3)
    sides = {"in": (6, 4), "out": (5, 3)}

    def make(one):
        return {side: [one(n, i) for i, n in enumerate(sizes)] for side, sizes in sides.items()}

    masks = make(lambda n, i: jnp.asarray(rng.random((EXAMPLES, n)) < 0.7).at[:, 0].set(True))
    values = make(lambda n, i: jnp.asarray(rng.normal(size=(EXAMPLES, n, DIM)), jnp.float32))
    positions = make(lambda n, i: jnp.broadcast_to(jnp.arange(n) + 7 * i, (EXAMPLES, n)))
    rows = jnp.asarray([1, 0, 1, 2, 0, 1])  # three examples, two, and one
    plans = {s: plan_packing(masks[s], rows, num_rows=ROWS, length=24) for s in sides}
    assert all(int(plan.overflow) == 0 for plan in plans.values())
    cotangents = [jnp.asarray(rng.normal(size=(EXAMPLES, n, DIM)), jnp.float32) for n in sides["out"]]

    def unpacked(params, values):
        ends = {}
        for s in sides:
            mask = jnp.concatenate(masks[s], axis=1).astype(jnp.int32)
            ends[s] = jnp.concatenate(values[s], axis=1), angles_of(jnp.concatenate(positions[s], axis=1)), mask
        out = trunk(params, ends["in"], ends["out"]) * ends["out"][2][..., None]
        return jnp.split(out, [sides["out"][0]], axis=1)

    def packed(params, values):
        ends = {}
        for s in sides:
            at = angles_of(pack(plans[s], positions[s]))
            ends[s] = pack(plans[s], values[s]), at, plans[s].segment_ids
        return unpack(plans["out"], trunk(params, ends["in"], ends["out"]), sides["out"])

    def loss(run):
        return lambda p, v: sum((a * c).sum() for a, c in zip(run(p, v), cotangents, strict=True))

    for a, b in zip(jax.jit(unpacked)(weights(0), values), jax.jit(packed)(weights(0), values), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    ours = jax.jit(jax.grad(loss(packed), argnums=(0, 1)))(weights(0), values)
    theirs = jax.jit(jax.grad(loss(unpacked), argnums=(0, 1)))(weights(0), values)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6 * float(jnp.abs(b).max()))
    assert all(float(jnp.abs(leaf).max()) > 0.01 for leaf in jax.tree.leaves(theirs))


def test_gradients_are_gathers():
    masks = [jnp.ones((EXAMPLES, n), bool) for n in LENGTHS]
    packing = plan_packing(masks, jnp.arange(EXAMPLES) % ROWS, num_rows=ROWS, length=16)
    values = [jnp.ones((EXAMPLES, n, 2)) for n in LENGTHS]
    text = str(jax.make_jaxpr(jax.grad(lambda v: (pack(packing, v) ** 2).sum()))(values))
    assert "gather" in text
    assert "scatter" not in text


def test_what_does_not_belong_together_is_said():
    masks = [jnp.ones((4, 3), bool)]
    with pytest.raises(MioError, match="same examples"):
        plan_packing(masks, jnp.zeros(5, jnp.int32), num_rows=2, length=8)
    with pytest.raises(MioError, match="3 groups do not divide"):
        plan_packing(masks, jnp.zeros(4, jnp.int32), num_rows=2, length=8, groups=3)
    packing = plan_packing(masks, jnp.zeros(4, jnp.int32), num_rows=2, length=8)
    with pytest.raises(MioError, match="do not belong"):
        pack(packing, [jnp.ones((4, 4))])
    with pytest.raises(MioError, match="do not belong"):
        unpack(packing, jnp.ones((2, 9)), (3,))
    with pytest.raises(MioError, match="do not make up"):
        unpack(packing, jnp.ones((2, 8)), (5,))
