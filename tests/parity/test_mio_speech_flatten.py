"""MIO's flattening of residual speech codes, its completeness test and image spans, against the published code."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mio_jax.errors import MioError
from mio_jax.recipes.mio import prompts
from mio_jax.recipes.mio.features import audio_ids, image_ids
from mio_jax.recipes.mio.tokens import mio_token_space
from tests.parity.test_mio_prompts import Sizes, numbers

pytestmark = pytest.mark.golden_row("mio", "speech_flatten")


@pytest.fixture(scope="module")
def fixtures(golden: Callable[[str], Path]) -> tuple[dict[str, Any], dict[str, Any]]:
    """speech_flatten.json, and prompts.json for the token ids."""
    read = lambda name: json.loads((golden("mio") / name).read_text(encoding="utf-8"))  # noqa: E731
    return read("speech_flatten.json"), read("prompts.json")


def check(fixture: dict[str, Any], prompts_fixture: dict[str, Any]) -> None:
    layers, size = fixture["used_layers"], fixture["codebook_size"]
    sizes = Sizes(prompts_fixture, size, layers)
    clips: dict[str, list[list[int]]] = {}
    for case in fixture["cases"]:
        codes = np.asarray(case["codes"])
        assert codes.min() >= 0
        assert codes.max() < size
        # Every clip stands in the file several times; layers that a case drops can only be compared among those.
        assert clips.setdefault(json.dumps(case["codes"][0]), case["codes"]) == case["codes"]
        flags = {"add_timbre": case["add_timbre"], "add_begin_end": case["add_begin_end"]}
        string = prompts.speech_string(codes, layers=layers, codebook_size=size, **flags)
        assert string == case["string"]
        if case["ids"] is not None:
            assert prompts.tokenize(string, sizes.space, sizes.encode_text) == case["ids"]
            written = codes[: layers if case["add_timbre"] else 1]
            assert audio_ids(written, sizes.space).tolist() == case["ids"]
        if "decoded_codes" in case:
            decoded = prompts.parse_speech_string(string, layers=layers, codebook_size=size)
            assert decoded.tolist() == case["decoded_codes"]
            assert case["decoded_codes"] == case["codes"][:layers]
    for name, example in fixture["completeness"].items():
        try:
            prompts.parse_speech_string(example["string"], layers=layers, codebook_size=size)
            complete = True
        except MioError:
            complete = False
        assert complete == example["ok"], name
    codes = fixture["image_codes"]
    assert prompts.image_string(codes) == fixture["image_string"]
    space = mio_token_space(sizes.text_vocab, max(codes) + 1, len(codes), size * layers, layers)
    tokens = prompts.tokenize(fixture["image_string"], space, sizes.encode_text)
    assert tokens == image_ids(codes, space).tolist()


def test_speech_and_image_strings(fixtures: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert fixtures[0]["cases"]
    assert fixtures[0]["completeness"]
    check(*fixtures)


def test_changing_a_number_is_noticed(fixtures: tuple[dict[str, Any], dict[str, Any]]) -> None:
    fixture, prompts_fixture = fixtures
    for path in numbers(fixture):
        changed = copy.deepcopy(fixture)
        node = changed
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] += 1
        try:
            check(changed, prompts_fixture)
        except (AssertionError, MioError):
            continue
        pytest.fail(f"nothing noticed a change at {path}")
