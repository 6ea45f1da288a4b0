"""Unified-IO 2's vocabulary, text features, prompt formatting and keypoint schedule against the published code's."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mio_jax.errors import MioError
from mio_tokenizers.structured import KEYPOINTS, keypoint_schedule
from mio_tokenizers.structured.extra_ids import read_boxes, write_box
from mio_tokenizers.text import ExtendedTextTokenizer
from mio_tokenizers.text.features import input_features, target_features
from tests.parity.test_mio_prompts import numbers

FILES = ["tokenizer.json", "toy_llama_style.model"]
pytestmark = pytest.mark.golden_row("unified-io-2", "tokenizer", files=FILES)
SPACE = "\u2581"


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Path]) -> dict[str, Any]:
    return json.loads((golden("unified-io-2") / "tokenizer.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tokenizer(golden: Callable[[str], Path]) -> ExtendedTextTokenizer:
    return ExtendedTextTokenizer.load(golden("unified-io-2") / "toy_llama_style.model")


def check_vocabulary(fixture: dict[str, Any], tokenizer: ExtendedTextTokenizer) -> None:
    assert (tokenizer.base_size, tokenizer.vocab_size) == (fixture["base_pieces"], fixture["total_pieces"])
    for name in ("pad_id", "bos_id", "eos_id", "unk_id"):
        assert getattr(tokenizer, name) == fixture[name], name
    assert [tokenizer.piece(i) for i in range(len(fixture["first_pieces"]))] == fixture["first_pieces"]
    for piece, index in fixture["pieces"].items():
        assert tokenizer.piece(index) == piece
        assert tokenizer.special(piece.removeprefix(SPACE).replace(SPACE, " ")) == index


def check_ids(fixture: dict[str, Any], tokenizer: ExtendedTextTokenizer) -> None:
    for case in fixture["encode"]:
        assert tokenizer.encode(case["text"]).tolist() == case["ids"], case["text"]
    for case in [*fixture["decode"], fixture["decode_unknown_id"]]:
        assert tokenizer.decode(case["ids"]) == case["text"]


def check_features(fixture: dict[str, Any], tokenizer: ExtendedTextTokenizer) -> None:
    wanted = fixture["preprocessor_text"]
    ids = wanted["/inputs/text/tokens"][:-1]  # the fixture holds no strings here: its text is what they decode to
    text = tokenizer.encode(tokenizer.decode(ids))
    answer = tokenizer.encode(tokenizer.decode(wanted["/targets/text/targets"]))
    ours = {f"/inputs/text/{k}": v for k, v in input_features(text, len(ids) + 1).items()}
    ours |= {f"/targets/text/{k}": v for k, v in target_features([answer], len(answer) + 1).items()}
    assert {k: v.tolist() for k, v in ours.items()} == wanted


def check_box(fixture: dict[str, Any], tokenizer: ExtendedTextTokenizer) -> None:
    """The box in the prompt, in pixels of the padded input, written again from its values."""
    case = fixture["preprocessor_box"]
    top, left, inverse, height, width, *offsets, scaled_h, scaled_w = case["image_info"]
    assert offsets == [0.0] * 4
    size = 2 * top + scaled_h
    assert (size, left * 2 + scaled_w) == (max(scaled_h, scaled_w),) * 2
    assert (height, width) == (round(scaled_h * inverse), round(scaled_w * inverse))
    (box,), dropped = read_boxes(case["text"])
    assert not dropped
    pixels = (box * size - [top, left, top, left]) * inverse
    np.testing.assert_allclose(pixels, np.round(pixels), atol=inverse * size / 999)  # whole pixels of the source
    again = (np.round(pixels) / inverse + [top, left, top, left]).astype(np.float32) / np.float32(size)
    before, after = case["text"].split(write_box(box))
    text = before + write_box(again) + after
    assert text == case["text"]
    assert tokenizer.encode(text).tolist() == case["tokens"][:-1]
    ours = input_features(tokenizer.encode(text), len(case["tokens"]))
    assert ours["tokens"].tolist() == case["tokens"]
    for name, array in ours.items():
        assert list(array.shape) == case["shapes"][f"/inputs/text/{name}"]


def check_keypoints(fixture: dict[str, Any], tokenizer: ExtendedTextTokenizer) -> None:
    assert list(KEYPOINTS) == fixture["keypoint_names"]
    assert keypoint_schedule(tokenizer) == fixture["force_keypoints_mask"]


CHECKS = (check_vocabulary, check_ids, check_features, check_box, check_keypoints)


@pytest.mark.parametrize("check", CHECKS)
def test_equals(check: Callable[..., None], fixture: dict[str, Any], tokenizer: ExtendedTextTokenizer) -> None:
    check(fixture, tokenizer)


def test_changing_a_number_is_noticed(fixture: dict[str, Any], tokenizer: ExtendedTextTokenizer) -> None:
    # Without effect: shapes of image arrays (the row `preprocess` has them), ids behind an EOS, which id is unknown,
    # and a text that the fixture gives by its ids alone.
    silent = ("/inputs/image", "/meta", "decode_unknown_id", "/inputs/text/tokens", "/targets/text/targets")
    after = {("decode", i, "ids", len(c["ids"]) - j) for i, c in enumerate(fixture["decode"]) for j in (1, 2)}
    paths = [p for p in numbers(fixture) if p not in after and not any(s in str(k) for k in p for s in silent)]
    rng = np.random.default_rng(0)
    for index in rng.choice(len(paths), 40, replace=False):
        changed = copy.deepcopy(fixture)
        node = changed
        for key in paths[index][:-1]:
            node = node[key]
        node[paths[index][-1]] += 1
        try:
            for check in CHECKS:
                check(changed, tokenizer)
        except (AssertionError, MioError, IndexError):
            continue
        pytest.fail(f"nothing noticed a change at {paths[index]}")
