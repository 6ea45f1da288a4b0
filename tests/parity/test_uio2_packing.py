"""The streaming pairer and the history constraint batching against the numbers of the released data pipeline."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mio_jax.data.constrained_batches import ConstrainedBatcher
from mio_jax.data.pairing import StreamingPairer
from mio_jax.errors import MioError

pytestmark = pytest.mark.golden_row("unified-io-2", "packing", files=["packing.json"])


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Path]) -> dict[str, Any]:
    return json.loads((golden("unified-io-2") / "packing.json").read_text(encoding="utf-8"))


def check_pairs(case: dict[str, Any]) -> None:
    assert set(case) == {"max_in", "max_out", "pool", "in_lens", "out_lens", "emitted_pairs"}
    packer: StreamingPairer[int] = StreamingPairer((case["max_in"], case["max_out"]), case["pool"], lambda sizes: sizes)
    emitted = []
    for number, sizes in enumerate(zip(case["in_lens"], case["out_lens"], strict=True), 1):
        row = packer.add(number, sizes)
        if row is not None:
            emitted.append(([key for key, _ in row] + [0])[:2])
    assert emitted == case["emitted_pairs"]


def check_batches(case: dict[str, Any]) -> None:
    assert set(case) == {"batch", "pool", "bound", "counts", "batches"}
    batcher: ConstrainedBatcher[int] = ConstrainedBatcher(case["batch"], case["pool"], (case["bound"],), refill="one")
    batches = (batcher.add(number, (count,)) for number, count in enumerate(case["counts"]))
    padded = [(batch + [0] * case["batch"])[: case["batch"]] for batch in batches if batch is not None]
    assert padded == case["batches"]


def test_every_case_is_answered_for(fixture: dict[str, Any]) -> None:
    assert set(fixture) == {"pairing", "constraints"}
    assert fixture["pairing"]
    assert fixture["constraints"]


def test_pairs(fixture: dict[str, Any]) -> None:
    for case in fixture["pairing"]:
        check_pairs(case)


def test_batches(fixture: dict[str, Any]) -> None:
    for case in fixture["constraints"]:
        check_batches(case)


def test_changing_what_comes_out_is_noticed(fixture: dict[str, Any]) -> None:
    for name, key, check in (("pairing", "emitted_pairs", check_pairs), ("constraints", "batches", check_batches)):
        for case in fixture[name]:
            changed = copy.deepcopy(case)
            changed[key][len(changed[key]) // 2][0] += 1
            with pytest.raises((AssertionError, MioError)):
                check(changed)
