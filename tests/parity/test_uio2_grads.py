"""Gradients of Unified-IO 2's total loss with every modality, by every parameter's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.nn.base import apply, split_model
from mio_jax.recipes.unified_io2.checkpoint import published_tensors
from mio_jax.recipes.unified_io2.loss import loss
from mio_jax.recipes.unified_io2.model import UnifiedIO2
from mio_jax.recipes.unified_io2.packed import PackedShape, packed_loss, packed_sizes
from tests.parity.uio2 import NAME, Fixtures, assert_close

pytestmark = pytest.mark.golden_row(NAME, "grads", files=["grads.npz"])
Z_LOSS = 1e-4
TOLERANCE = 2e-5  # sums over a few hundred places in float32


@pytest.fixture(scope="module")
def fixtures(golden: Callable[[str], Path]) -> Fixtures:
    return Fixtures(golden(NAME))


@pytest.mark.parametrize("packed", [False, True], ids=["", "packed into one row"])
def test_gradients(fixtures: Fixtures, packed: bool) -> None:
    arrays, batch, spec = fixtures.arrays("grads"), fixtures.batch("all_to_all"), fixtures.spec
    graphdef, _ = split_model(lambda key: UnifiedIO2(spec, key))

    shape = PackedShape(1, *packed_sizes(spec, batch).sum(0).tolist())
    rows = jnp.zeros(len(batch["inputs/text/tokens"]), jnp.int32)

    def total(params: dict) -> jax.Array:
        model = apply(graphdef, params)
        return (
            packed_loss(model, batch, rows, shape, z_loss=Z_LOSS)[0] if packed else loss(model, batch, z_loss=Z_LOSS)[0]
        )

    value, gradient = jax.jit(jax.value_and_grad(total))(jax.tree.map(jnp.asarray, fixtures.imported.params))
    assert float(value) == pytest.approx(float(arrays["loss_total"]), rel=1e-5)
    ours = {plan.name: read() for plan, read in published_tensors(gradient, spec)}
    names = sorted(fixtures.arrays("state_dict"))
    norms = dict(zip(names, arrays["norms_sorted_by_name"], strict=True))
    for name, norm in norms.items():
        if ".vqgan." in name:
            assert np.isnan(norm), f"{name}: the tokenizers are frozen"
        elif np.isnan(norm):
            assert not ours[name].any(), f"{name} is frozen and has a gradient"
        else:
            assert np.linalg.norm(ours[name].astype(np.float64)) == pytest.approx(norm, rel=TOLERANCE), name
    seen = {"loss_total", "norms_sorted_by_name"}
    for key, theirs in arrays.items():
        kind, _, name = key.partition(".")
        if kind == "grad":
            assert_close(ours[name], theirs, what=name, tolerance=TOLERANCE)
        elif kind == "grad_rows0to3":
            assert_close(ours[name][:4], theirs, what=name, tolerance=TOLERANCE)
        else:
            continue
        seen.add(key)
    assert seen == set(arrays)
