"""Unified-IO 2's forward pass against the port and (`.jax`) the original: six combinations of modalities.

Pictures and sounds to be made come as the codes that the fixtures' targets are: the tokenizers have rows of their own.
Only places that hold a token are compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from mio_jax.recipes.unified_io2.loss import summed_means
from mio_jax.recipes.unified_io2.spec import TARGETS
from tests.parity.uio2 import NAME, Fixtures, assert_close, batch_of, erf, rows_of

CASES = (
    *("text_to_text", "image_text_to_text", "audio_text_to_text"),
    *("text_to_image", "text_audiohist_to_audio", "all_to_all"),
)
Z_LOSS = 1e-4
MODALITIES = [
    pytest.param(case, marks=pytest.mark.golden_row(NAME, case, files=[f"model_{case}.npz"])) for case in CASES
]


@pytest.fixture(scope="module")
def fixtures(golden: Callable[[str], Path]) -> Fixtures:
    return Fixtures(golden(NAME))


def forward(model: Any, batch: dict[str, jax.Array]) -> dict[str, Any]:
    inputs, targets = model.embed_inputs(batch), model.embed_targets(batch)
    encoded = model.encode(inputs)
    decoded = model.decoder(targets.row, encoded, inputs, patterns=model.patterns(batch, targets))
    states = targets.split(decoded)
    total, sums = summed_means(model, states, targets.said, z_loss=Z_LOSS)
    return {
        "inputs": inputs,
        "row": targets.row,
        "said": targets.said,
        "encoder_hidden": encoded,
        "decoder_hidden": decoded,
        "logits": {name: model.logits(name, part) for name, part in states.items()},
        "total": total,
        "without_z": summed_means(model, states, targets.said)[1],
        "sums": sums,
    }


@pytest.mark.parametrize("case", MODALITIES)
def test_forward(fixtures: Fixtures, case: str) -> None:
    arrays = fixtures.arrays(f"model_{case}")
    seen = set()

    def wanted(name: str) -> np.ndarray:
        seen.add(name)
        return arrays[name]

    batch = batch_of(arrays)
    said = [name for name in TARGETS if any(key.startswith(f"targets/{name}/") for key in batch)]
    port = jax.jit(forward)(fixtures.model(erf(fixtures.spec)), batch)
    here, there = np.asarray(port["inputs"].mask), np.asarray(port["row"].mask)
    assert np.array_equal(here, wanted("out.input_mask"))
    assert_close(port["inputs"].states, wanted("out.input_embed"), here, what="input_embed")
    if "out.input_position_embed" in arrays:
        assert_close(rows_of(port["inputs"].angles), wanted("out.input_position_embed"), here, what="rotary")
    checks = [("", port)]
    if any(name.endswith(".jax") for name in arrays):
        checks.append((".jax", jax.jit(forward)(fixtures.model(), batch)))
    for suffix, ours in checks:
        for name, mask in (("encoder_hidden", here), ("decoder_hidden", there)):
            assert_close(ours[name], wanted(f"out.{name}{suffix}"), mask, what=name + suffix)
        for name in said:
            mask = ours["said"][name].mask
            assert_close(ours["logits"][name], wanted(f"out.logits_{name}{suffix}"), mask, what=name + suffix)
    applied = dataclasses.replace(erf(fixtures.spec), sparse_patterns=True, dynamic_mask=True)
    if any(name.endswith(".pattern") for name in arrays):
        limited = jax.jit(forward)(fixtures.model(applied), batch)
        for name in said:
            if f"out.logits_{name}.pattern" in arrays:
                theirs = wanted(f"out.logits_{name}.pattern")
                assert_close(limited["logits"][name], theirs, limited["said"][name].mask, what=f"{name}.pattern")
    for name in said:
        told = port["said"][name]
        assert np.array_equal(told.targets, wanted(f"out.targets_{name}"))
        assert np.array_equal(told.weights, wanted(f"out.loss_mask_{name}"))
        weight = float(port["sums"][f"weight/{name}"])
        with_z = float(port["sums"][f"loss/{name}"]) / weight
        without = float(port["without_z"][f"loss/{name}"]) / weight
        z = wanted(f"out.z_loss_{name}")
        assert with_z == pytest.approx(float(wanted(f"out.loss_{name}")), rel=1e-5)
        assert with_z - without == pytest.approx(float(z), abs=1e-5 * with_z)
    assert float(port["total"]) == pytest.approx(float(wanted("out.loss_total")), rel=1e-5)
    given = {name for name in arrays if name.startswith("in.")}
    assert set(arrays) == seen | given
