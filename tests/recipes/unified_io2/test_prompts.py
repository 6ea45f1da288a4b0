"""Wordings: each has the placeholders of its task, prefixes are single pieces, long contexts leave room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mio_jax.errors import MioError
from mio_jax.recipes.unified_io2 import prompts
from mio_tokenizers.text import ExtendedTextTokenizer

TOY = Path(__file__).parents[2] / "golden" / "unified-io-2" / "toy_llama_style.model"


@pytest.mark.parametrize("task", prompts.TEMPLATES)
def test_wordings_of_a_task_agree(task: str) -> None:
    modality, wordings = prompts.templates(task)
    assert (modality, "S") in prompts.PREFIXES
    assert len(wordings) >= 2
    assert len(set(wordings)) == len(wordings)
    assert len({frozenset(prompts.placeholders(w)) for w in wordings}) == 1, "the same values fill every wording"
    for wording in wordings:
        assert "} ," not in wording.replace("} , ", "")
        for name in ("box", "subject", "object"):  # location tokens are pieces only between spaces
            for part in wording.split("{" + name + "}")[1:]:
                assert part == "" or part[0] == " ", wording


def test_a_prompt_begins_with_one_piece_for_its_output() -> None:
    tokenizer = ExtendedTextTokenizer.load(TOY)
    for (modality, paradigm), piece in prompts.PREFIXES.items():
        ids = tokenizer.encode(prompts.prefixed("the cat", modality, paradigm))
        assert ids[0] == tokenizer.special(piece)
        assert ids[1:].tolist() == tokenizer.encode("the cat").tolist()


def test_drawing() -> None:
    rng = np.random.default_rng(0)
    drawn = {prompts.prompt("refexp", "the red one", rng=rng) for _ in range(60)}
    assert len(drawn) == len(prompts.templates("refexp")[1])
    assert all(d.startswith("[Text] [S] ") and "the red one" in d for d in drawn)
    assert prompts.prompt("vqa", "why?") == prompts.prompt("vqa", "why?")
    extra = {prompts.prompt("depth", rng=rng, extra=("Depth as in NYU.",)) for _ in range(60)}
    assert "[Image] [S] Depth as in NYU." in extra
    boxed = prompts.prompt("segmentation_box", label="cat", box="<extra_id_200>")
    assert boxed == "[Image] [S] Segment the cat in <extra_id_200>"


@given(st.text())
def test_values_are_put_in_as_they_are(value: str) -> None:
    assert prompts.fill("a {} b", value) == f"a {value} b"
    assert prompts.fill("{x} and {y}", x=value, y="{x}") == f"{value} and {{x}}"


@pytest.mark.parametrize(
    ("value", "values", "template"),
    [((), {}, "a {}"), (("x",), {}, "a"), ((), {"x": "1"}, "a {}"), (("x", "y"), {}, "a {}"), (("x",), {}, "{} {}")],
)
def test_values_must_fit(value: tuple[str, ...], values: dict[str, str], template: str) -> None:
    with pytest.raises(MioError, match="wording"):
        prompts.fill(template, *value, **values)


def test_unconditional() -> None:
    assert prompts.unconditional("image") == "[Image] [S] An image of a random picture."
    assert prompts.unconditional("audio") == "[Audio] [S] A video of a random audio."
    rng = np.random.default_rng(0)
    share = np.mean([prompts.maybe_unconditional("x", "image", rng) != "x" for _ in range(2000)])
    assert 0.08 < share < 0.12
    for call in (
        lambda: prompts.unconditional("text"),
        lambda: prompts.prefixed("x", "image", "X"),
        lambda: prompts.prompt("dance"),
    ):
        with pytest.raises(MioError, match="there are"):
            call()


def test_clean() -> None:
    assert prompts.clean("A <person>\\s  Hat") == "a person s hat"


def test_a_long_context_is_cut_before_the_mark() -> None:
    encode = ExtendedTextTokenizer.load(TOY).encode
    text = prompts.prompt("instruction_with_context", context="the cat " * 50, instruction="what color is it?")
    ids = prompts.encode_prompt(text, encode, 40)
    tail = encode("what color is it?")
    assert len(ids) == 39
    assert ids[-len(tail) :].tolist() == tail.tolist()
    assert ids[0] == encode("[Text] [S]")[0]
    short = prompts.encode_prompt("[Text] [S] the [TR] cat", encode, 40)
    assert short.tolist() == [*encode("[Text] [S] the"), *encode("cat")]
    assert prompts.encode_prompt("the cat sat", encode, 2).tolist() == encode("the cat sat")[:1].tolist()
    with pytest.raises(MioError, match="shorten it"):
        prompts.encode_prompt("a [TR] " + "the cat " * 50, encode, 40)
