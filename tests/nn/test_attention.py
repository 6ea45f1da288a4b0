"""Both backends of attention against the slow twin, and their gradients against each other."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.errors import MioError
from mio_jax.nn.attention import MaskSpec, attention
from mio_jax.nn.chunked_attention import MAX_BLOCKS, MIN_BLOCK, query_blocks
from tests import reference

LENGTH = 2 * MIN_BLOCK + 9  # three blocks, the last one short


def draw(length: int, heads: int = 4, kv_heads: int = 2, head_dim: int = 6, batch: int = 2) -> list[jax.Array]:
    rng = np.random.default_rng(length)
    shapes = [(batch, length, n, head_dim) for n in (heads, kv_heads, kv_heads)]
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def packed(length: int, batch: int = 2) -> jax.Array:
    """Rows of three examples and a tail of padding; the second row begins with padding too."""
    rows = np.zeros((batch, length), np.int32)
    for row in range(batch):
        cuts = np.linspace(7 * row, length - 5, 4).astype(int)
        for i in range(3):
            rows[row, cuts[i] : cuts[i + 1]] = i + 1
    return jnp.asarray(rows)


@pytest.mark.parametrize("backend", ["xla", "chunked"])
@pytest.mark.parametrize(("causal", "segmented"), [(True, True), (True, False), (False, True), (False, False)])
def test_equals_slow_twin(backend: str, causal: bool, segmented: bool) -> None:
    q, k, v = draw(LENGTH)
    segments = packed(LENGTH) if segmented else None
    ours = attention(q, k, v, mask=MaskSpec(causal), q_segments=segments, kv_segments=segments, backend=backend)
    theirs = reference.attention(q, k, v, causal=causal, segments=None if segments is None else np.asarray(segments))
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_gradients_of_the_backends_agree() -> None:
    q, k, v = draw(LENGTH)
    segments, probe = packed(LENGTH), jnp.sin(jnp.arange(q.size).reshape(q.shape))

    def gradients(backend: str) -> tuple[jax.Array, ...]:
        def see(q, k, v):
            return attention(q, k, v, mask=MaskSpec(), q_segments=segments, kv_segments=segments, backend=backend)

        return jax.jit(jax.grad(lambda *x: jnp.sum(see(*x) * probe), argnums=(0, 1, 2)))(q, k, v)

    for ours, theirs in zip(gradients("chunked"), gradients("xla"), strict=True):
        assert np.isfinite(ours).all()
        np.testing.assert_allclose(ours, theirs, atol=5e-6)


@pytest.mark.parametrize("backend", ["xla", "chunked"])
def test_a_query_that_sees_nothing_yields_zeros_and_passes_no_gradient(backend: str) -> None:
    q, k, v = draw(5)
    segments = jnp.asarray([[0, 0, 1, 1, 0], [0, 0, 0, 0, 0]])

    def see(q, k, v):
        return attention(q, k, v, mask=MaskSpec(), q_segments=segments, kv_segments=segments, backend=backend)

    blind = np.asarray(segments) == 0
    assert not np.asarray(see(q, k, v))[blind].any()
    for gradient in jax.grad(lambda *x: see(*x).sum(), argnums=(0, 1, 2))(q, k, v):
        assert np.isfinite(gradient).all()
        assert not np.asarray(gradient)[blind].any()


def test_places_given_as_positions() -> None:
    """Queries at the end of a longer row of keys, as in a cache."""
    q, k, v = draw(12)
    whole = attention(q, k, v, mask=MaskSpec(), backend="xla")
    tail = attention(q[:, 8:], k, v, mask=MaskSpec(), q_positions=8 + jnp.arange(4))
    np.testing.assert_allclose(tail, whole[:, 8:], atol=1e-6)


def test_bfloat16_keeps_its_dtype() -> None:
    q, k, v = (x.astype(jnp.bfloat16) for x in draw(LENGTH))
    exact = attention(*draw(LENGTH), mask=MaskSpec())
    for backend in ("xla", "chunked"):
        ours = attention(q, k, v, mask=MaskSpec(), backend=backend)
        assert ours.dtype == jnp.bfloat16
        np.testing.assert_allclose(ours.astype(jnp.float32), exact, atol=0.03)


@pytest.mark.parametrize("length", [1, MIN_BLOCK, LENGTH, 5000])
def test_blocks_tile_the_row(length: int) -> None:
    blocks = query_blocks(length)
    assert [i for start, stop in blocks for i in range(start, stop)] == list(range(length))
    assert len(blocks) <= max(MAX_BLOCKS, -(-length // MIN_BLOCK))


def test_bad_requests() -> None:
    q, k, v = draw(4)
    with pytest.raises(MioError, match=r"model.attention is 'flash'; it must be one of auto, xla, chunked"):
        attention(q, k, v, mask=MaskSpec(), backend="flash")
    with pytest.raises(MioError, match="whole rows attending to themselves"):
        attention(q[:, 2:], k, v, mask=MaskSpec(), q_positions=jnp.arange(2, 4), backend="chunked")
