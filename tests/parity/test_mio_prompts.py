"""MIO prompts and de-tokenisation against the published code's strings and ids."""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mio_jax.data.token_space import TokenSpace
from mio_jax.errors import MioError
from mio_jax.recipes.mio import prompts
from mio_jax.recipes.mio.tokens import ADDED_TOKENS, YI_SPECIALS, mio_token_space

pytestmark = pytest.mark.golden_row("mio", "prompts")


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Path]) -> dict[str, Any]:
    return json.loads((golden("mio") / "prompts.json").read_text(encoding="utf-8"))


class Sizes:
    """The dimensions that the fixture implies, none of them assumed."""

    def __init__(self, fixture: dict[str, Any], codebook_size: int, layers: int) -> None:
        ids = fixture["special_tokens"]
        self.codebook_size, self.layers = codebook_size, layers
        self.text_vocab = min(ids[token] for token in ADDED_TOKENS)
        bases = {"image": fixture["image_token_base"], "speech": fixture["speech_token_base"]}
        order = tuple(sorted(bases, key=lambda kind: bases[kind]))
        largest = 1 + max(max(codes) for codes in fixture["image_codes"].values())
        image_codes = bases["speech"] - bases["image"] if order[0] == "image" else largest
        self.space: TokenSpace = mio_token_space(
            self.text_vocab,
            image_codes,
            len(next(iter(fixture["image_codes"].values()))),
            codebook_size * layers,
            layers,
            order=order,
            specials=tuple((token, i) for token, i in ids.items() if token not in ADDED_TOKENS),
        )
        self.byte_base = int(re.search(r"id (\d+)\s*\+", fixture["text_stub"]).group(1))

    def encode_text(self, text: str) -> list[int]:
        return [self.byte_base + byte for byte in text.encode()]

    def decode_text(self, ids: Any) -> str:
        return bytes(int(i) - self.byte_base for i in ids).decode()


@pytest.fixture(scope="module")
def speech(golden: Callable[[str], Path]) -> dict[str, Any]:
    """The same clips, and how many layers of which size are used."""
    return json.loads((golden("mio") / "speech_flatten.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def sizes(fixture: dict[str, Any], speech: dict[str, Any]) -> Sizes:
    return Sizes(fixture, speech["codebook_size"], speech["used_layers"])


def check_layout(fixture: dict[str, Any], sizes: Sizes) -> None:
    assert dict(sizes.space.specials) == fixture["special_tokens"]
    assert dict(YI_SPECIALS).items() <= fixture["special_tokens"].items()
    assert sizes.space.block("image").start == fixture["image_token_base"]
    assert sizes.space.block("speech").start == fixture["speech_token_base"]
    assert fixture["system_std"] == prompts.SYSTEM_STD
    assert fixture["system_voice"] == prompts.SYSTEM_VOICE
    assert fixture["template"] == {
        "format_system": prompts.SYSTEM_FORMAT,
        "format_user": prompts.USER_FORMAT,
        "format_assistant": prompts.ASSISTANT_FORMAT,
        "format_separator": prompts.SEPARATOR,
        "stop_words": list(prompts.STOP_WORDS),
        "assistant_starter": prompts.ASSISTANT_STARTER,
        "user_starter": prompts.USER_STARTER,
    }


def run_case(case: dict[str, Any], fixture: dict[str, Any], sizes: Sizes) -> dict[str, Any]:
    """What we make of a case's inputs, under the fixture's own names."""
    kwargs = case["kwargs"]
    if case["kind"] == "base":
        templated = [prompts.base_prompt(text, add_bos=kwargs.get("add_bos", True)) for text in case["texts"]]
    else:
        templated = [
            prompts.chat_prompt(
                conversation, mode=kwargs["mode"], add_generation_prompt=kwargs.get("add_generation_prompt", True)
            )
            for conversation in case["conversations"]
        ]
    images = speeches = None
    if case["images"] is not None:
        images = [[prompts.image_string(fixture["image_codes"][name]) for name in row] for row in case["images"]]
    if case["speeches"] is not None:
        speeches = [
            [
                prompts.speech_string(
                    fixture["speech_codes"][name],
                    layers=sizes.layers,
                    codebook_size=sizes.codebook_size,
                    add_timbre=kwargs.get("add_timbre", False),
                )
                for name in row
            ]
            for row in case["speeches"]
        ]
    strings = prompts.substitute_batch(templated, images, speeches, allow_empty=False)
    ids = [prompts.tokenize(string, sizes.space, sizes.encode_text) for string in strings]
    batch = prompts.pad_left(ids, sizes.space.pad, kwargs["max_length"])
    kept = [row[mask == 1] for row, mask in zip(batch.input_ids, batch.attention_mask, strict=True)]
    return {
        "untokenized": templated,
        "strings": [prompts.render(row, sizes.space, sizes.decode_text) for row in kept],
        "input_ids": batch.input_ids.tolist(),
        "attention_mask": batch.attention_mask.tolist(),
    }


def check_cases(fixture: dict[str, Any], sizes: Sizes) -> int:
    for case in fixture["cases"]:
        if "reference_error" in case:
            with pytest.raises(MioError):
                run_case(case, fixture, sizes)
            continue
        ours = run_case(case, fixture, sizes)
        for key in ("untokenized", "strings", "input_ids", "attention_mask"):
            if key in case:
                assert ours[key] == case[key], f"{case['name']}: {key}"
    return len(fixture["cases"])


def check_detokenize(fixture: dict[str, Any], sizes: Sizes) -> int:
    for case in fixture["detokenize"]:
        detokenize = functools.partial(
            prompts.detokenize,
            layers=sizes.layers,
            codebook_size=sizes.codebook_size,
            extract_assistant=case["extract_assistant"],
        )
        if case["error"]:
            with pytest.raises(MioError):
                list(map(detokenize, case["strings"]))
            continue
        got = list(map(detokenize, case["strings"]))
        name = case["name"]
        assert [g.text for g in got] == case["texts"], name
        assert [g.files("image", i) for i, g in enumerate(got)] == case["image_files"], name
        assert [g.files("speech", i) for i, g in enumerate(got)] == case["speech_files"], name
        assert [[c.tolist() for c in g.images] for g in got if g.images] == case["image_codes"], name
        assert [g.speech_strings for g in got if g.speech_strings] == case["speech_strings"], name
    return len(fixture["detokenize"])


def check_media(fixture: dict[str, Any], speech: dict[str, Any], sizes: Sizes) -> None:
    """Codes that no case shows (layers that a case drops) are those of the same clips in speech_flatten.json."""
    assert len({len(codes) for codes in fixture["image_codes"].values()}) == 1
    known = {json.dumps(case["codes"][0]): case["codes"] for case in speech["cases"]}
    for name, codes in fixture["speech_codes"].items():
        array = np.asarray(codes)
        assert array.shape[0] >= sizes.layers
        assert array.min() >= 0
        assert array.max() < sizes.codebook_size
        assert codes == known.get(json.dumps(codes[0]), codes), name


def check_all(fixture: dict[str, Any], speech: dict[str, Any], sizes: Sizes) -> None:
    check_layout(fixture, sizes)
    check_media(fixture, speech, sizes)
    check_cases(fixture, sizes)
    check_detokenize(fixture, sizes)


def test_token_table_and_templates(fixture: dict[str, Any], speech: dict[str, Any], sizes: Sizes) -> None:
    check_layout(fixture, sizes)
    check_media(fixture, speech, sizes)


def test_prompts(fixture: dict[str, Any], sizes: Sizes) -> None:
    assert check_cases(fixture, sizes) > 0


def test_detokenisation(fixture: dict[str, Any], sizes: Sizes) -> None:
    assert check_detokenize(fixture, sizes) > 0


def numbers(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(node, bool):
        return []
    if isinstance(node, int | float):
        return [path]
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [found for key, value in items for found in numbers(value, (*path, key))]


def test_changing_a_number_is_noticed(fixture: dict[str, Any], speech: dict[str, Any]) -> None:
    shown = {name for case in fixture["cases"] for row in (case["images"] or []) for name in row}
    paths = [
        path
        for path in numbers(fixture)
        if "max_length" not in path and not (path[0] == "image_codes" and path[1] not in shown)  # without effect
    ]
    rng = np.random.default_rng(0)
    for index in rng.choice(len(paths), 60, replace=False):
        changed = copy.deepcopy(fixture)
        node = changed
        for key in paths[index][:-1]:
            node = node[key]
        node[paths[index][-1]] += 1
        try:
            check_all(changed, speech, Sizes(changed, speech["codebook_size"], speech["used_layers"]))
        except (AssertionError, MioError, pytest.fail.Exception):
            continue
        pytest.fail(f"nothing noticed a change at {paths[index]}")
