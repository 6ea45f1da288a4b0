"""Blocked cross-entropy against the slow twin, its gradient against autodiff's, and the memory it takes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mio_jax.errors import MioError
from mio_jax.objectives.cross_entropy import blocked_cross_entropy, count_blocks, tokens_per_block
from tests import reference

ROWS, LENGTH, DIM, VOCAB = 3, 7, 5, 11
RNG = np.random.default_rng(0)
HIDDEN = RNG.normal(size=(ROWS, LENGTH, DIM)).astype(np.float32)
TABLE = RNG.normal(size=(VOCAB, DIM)).astype(np.float32)
TARGETS = RNG.integers(0, VOCAB, (ROWS, LENGTH))
WEIGHTS = np.where(RNG.random((ROWS, LENGTH)) < 0.5, 0.0, RNG.random((ROWS, LENGTH))).astype(np.float32)


def plain(hidden: jax.Array, table: jax.Array, weights: jax.Array, z_loss: float) -> jax.Array:
    logits = hidden @ table.T
    lse = jax.nn.logsumexp(logits, axis=-1)
    picked = jnp.take_along_axis(logits, TARGETS[..., None], axis=-1)[..., 0]
    return jnp.sum(weights * (lse - picked + z_loss * lse**2))


@pytest.mark.parametrize("block_size", [None, 1, 6, 9, 15])
@pytest.mark.parametrize("z_loss", [0.0, 0.1])
def test_values_and_gradients(block_size: int | None, z_loss: float) -> None:
    def ours(h, t):
        return 0.5 * blocked_cross_entropy(h, t, TARGETS, WEIGHTS, z_loss=z_loss, block_size=block_size)[0]

    def theirs(h, t):
        return 0.5 * plain(h, t, WEIGHTS, z_loss)

    (value, gradients), (wanted, wanted_gradients) = (
        jax.jit(jax.value_and_grad(f, argnums=(0, 1)))(HIDDEN, TABLE) for f in (ours, theirs)
    )
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    np.testing.assert_allclose(ours(HIDDEN, TABLE), wanted, rtol=1e-5)  # without a gradient
    for a, b in zip(gradients, wanted_gradients, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@given(
    weights=st.lists(st.sampled_from([0.0, 0.25, 1.0, 3.0]), min_size=ROWS * LENGTH, max_size=ROWS * LENGTH),
    block_size=st.sampled_from([1, 6, 12, 1000]),
)
def test_what_each_token_contributes(weights: list[float], block_size: int) -> None:
    """Wherever the weights are, also where whole blocks, rows or everything has none."""
    given_weights = np.asarray(weights, np.float32).reshape(ROWS, LENGTH)
    f = jax.jit(blocked_cross_entropy, static_argnames=("z_loss", "block_size"))
    total, losses = f(HIDDEN, TABLE, TARGETS, given_weights, z_loss=0.01, block_size=block_size)
    wanted = given_weights * reference.cross_entropy(HIDDEN @ TABLE.T, TARGETS, 0.01)
    np.testing.assert_allclose(losses, wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(total, wanted.sum(), rtol=1e-4, atol=1e-5)


def test_bfloat16_hidden() -> None:
    hidden, table = jnp.asarray(HIDDEN, jnp.bfloat16), jnp.asarray(TABLE, jnp.bfloat16)

    def f(h, t):
        return blocked_cross_entropy(h, t, TARGETS, WEIGHTS, block_size=6)[0]

    value, gradients = jax.value_and_grad(f, argnums=(0, 1))(hidden, table)
    assert value.dtype == jnp.float32
    assert all(g.dtype == jnp.bfloat16 for g in gradients)
    exact = plain(hidden.astype(jnp.float32), table.astype(jnp.float32), WEIGHTS, 0.0)
    np.testing.assert_allclose(value, exact, rtol=1e-3)


def test_logits_of_the_whole_batch_never_exist() -> None:
    rows, length, dim, vocab, block = 2, 512, 16, 4096, 32
    shapes = [
        jax.ShapeDtypeStruct(shape, dtype)
        for shape, dtype in (
            ((rows, length, dim), jnp.float32),
            ((vocab, dim), jnp.float32),
            ((rows, length), jnp.int32),
            ((rows, length), jnp.float32),
        )
    ]

    def f(*x):
        return blocked_cross_entropy(*x, block_size=block)[0]

    compiled = jax.jit(jax.grad(f, argnums=(0, 1))).lower(*shapes).compile()
    whole = 4 * rows * length * vocab
    assert compiled.memory_analysis().temp_size_in_bytes < whole / 4


def test_blocks_of_a_row_are_counted_as_they_are_cut() -> None:
    assert count_blocks(rows=2, length=10, vocab_size=7, dim=3, block_size=4) == 5  # two tokens of each row
    assert count_blocks(rows=8, length=10, vocab_size=7, dim=3, block_size=4) == 10  # never less than one
    assert count_blocks(rows=1, length=10, vocab_size=7, dim=3, block_size=100) == 1


def test_a_block_on_a_cpu_fits_its_cache_or_is_twice_as_long_as_the_table_is_wide() -> None:
    assert tokens_per_block(vocab_size=4096, dim=64) == (8 << 20) // (4 * 4096)
    assert tokens_per_block(vocab_size=32_000, dim=512) == 1024
    assert tokens_per_block(vocab_size=1 << 20, dim=512) == 64  # never more logits than elsewhere
    assert tokens_per_block(vocab_size=1 << 30, dim=512) == 1


def test_a_block_needs_a_token() -> None:
    with pytest.raises(MioError, match="block_size of the cross-entropy is 0"):
        blocked_cross_entropy(HIDDEN, TABLE, TARGETS, WEIGHTS, block_size=0)


def test_memory_grows_with_the_block_and_not_the_vocabulary() -> None:
    """Of the compiled loss and gradient, beside arguments, results and the table's own gradient."""
    rows, length, dim = 4, 512, 4

    def bytes_beside_the_table(vocab: int, block_size: int | None) -> int:
        shapes = [(rows, length, dim), (vocab, dim), (rows, length), (rows, length)]
        dtypes = [jnp.float32, jnp.float32, jnp.int32, jnp.float32]
        args = [jax.ShapeDtypeStruct(s, d) for s, d in zip(shapes, dtypes, strict=True)]

        def total(hidden: jax.Array, table: jax.Array, targets: jax.Array, weights: jax.Array) -> jax.Array:
            return blocked_cross_entropy(hidden, table, targets, weights, block_size=block_size)[0]

        compiled = jax.jit(jax.value_and_grad(total, argnums=(0, 1))).lower(*args).compile()
        return compiled.memory_analysis().temp_size_in_bytes - 4 * (4 * vocab * dim)

    # The default block has a fixed number of logits, 8 MB on a CPU: four times the vocabulary, a quarter of the tokens.
    small, large = bytes_beside_the_table(16_384, None), bytes_beside_the_table(65_536, None)
    assert large < 1.1 * small
    assert large < 4 * rows * length * 65_536 / 10  # all logits at once would be 537 MB
    blocks = [bytes_beside_the_table(16_384, n) for n in (64, 128, 256)]
    logits = 4 * 16_384 * 64  # bytes of the first block
    assert blocks[1] - blocks[0] > 0.9 * logits
    assert blocks[2] - blocks[1] > 1.8 * logits
