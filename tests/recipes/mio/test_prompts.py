"""What the golden fixtures do not show of the prompts: errors, mixed batches, odd strings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mio_jax.errors import MioError
from mio_jax.recipes.mio import prompts
from tests.recipes.mio import fakes

SPACE = fakes.space()
TEXT = fakes.ByteText()


def test_custom_mode_needs_a_system_turn() -> None:
    with pytest.raises(MioError, match="'system'"):
        prompts.chat_prompt([{"role": "user", "content": "hi"}], mode="custom")
    with pytest.raises(MioError, match="'system'"):
        prompts.chat_prompt([], mode="custom")


def test_unknown_mode_and_role() -> None:
    with pytest.raises(MioError, match="std, voice, custom"):
        prompts.chat_prompt([{"role": "user", "content": "hi"}], mode="music")
    with pytest.raises(MioError, match="unknown role"):
        prompts.chat_prompt([{"role": "robot", "content": "hi"}])


def test_a_turn_in_place_of_a_conversation_is_noticed() -> None:
    with pytest.raises(MioError, match="list of turns"):
        prompts.chat_prompt({"role": "user", "content": "hi"})  # type: ignore[arg-type]


def test_a_placeholder_without_media() -> None:
    with pytest.raises(MioError, match="image_placeholder_1"):
        prompts.substitute("<image_placeholder_0><image_placeholder_1>", ["x"])


def test_ten_placeholders_are_ten_media() -> None:
    text = "".join(prompts.IMAGE_PLACEHOLDER.format(j) for j in range(12))
    assert prompts.substitute(text, [f"[{j}]" for j in range(12)]) == "".join(f"[{j}]" for j in range(12))


def test_a_batch_may_mix_samples_with_and_without_media() -> None:
    """The published code fails here; ours does so only when asked to."""
    texts, images = ["see <image_placeholder_0>", "hi"], [["<image>"], []]
    assert prompts.substitute_batch(texts, images) == ["see <image>", "hi"]
    with pytest.raises(MioError, match="sample 1"):
        prompts.substitute_batch(texts, images, allow_empty=False)
    with pytest.raises(MioError, match="2 prompts but 1"):
        prompts.substitute_batch(texts, images[:1])


def test_media_tokens_are_matched_before_text() -> None:
    ids = prompts.tokenize("a<image><img3></image>b", SPACE, TEXT.encode)
    assert ids == [16 + ord("a"), SPACE.special("<image>"), 278 + 3, SPACE.special("</image>"), 16 + ord("b")]


@pytest.mark.parametrize("string", ["<img10>", "<img03>", "<img-1>", "<imgx>", "<spch10>"])
def test_tokens_that_were_never_added_are_text(string: str) -> None:
    assert prompts.tokenize(string, SPACE, TEXT.encode) == TEXT.encode(string).tolist()


PIECES = ("word", "<image>", "</image>", "<img3>", "<spch7>", "<|im_end|>", " ", "é")


@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_render_inverts_tokenize(pieces: list[str]) -> None:
    string = "".join(pieces)
    assert prompts.render(prompts.tokenize(string, SPACE, TEXT.encode), SPACE, TEXT.decode) == string


def test_padding() -> None:
    batch = prompts.pad_left([[5], [6, 7, 8]], pad=0, max_length=2)
    np.testing.assert_array_equal(batch.input_ids, [[0, 5], [6, 7]])
    np.testing.assert_array_equal(batch.attention_mask, [[0, 1], [1, 1]])
    with pytest.raises(MioError, match="empty batch"):
        prompts.pad_left([], pad=0)


def test_speech_string_errors() -> None:
    with pytest.raises(MioError, match="layers are needed"):
        prompts.speech_string([[1, 2]], layers=2, codebook_size=5, add_timbre=True)
    with pytest.raises(MioError, match="codebook"):
        prompts.speech_string([[1, 5]], layers=2, codebook_size=5)
    assert prompts.speech_string([[1, 4]], layers=2, codebook_size=5) == "<spch><spch1><spch4></spch>"


def test_the_last_assistant_turn_counts() -> None:
    string = "<|im_start|>assistant\nold<|im_end|>\n<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n new <unk>"
    assert prompts.assistant_reply(string) == "new"


def test_detokenize_takes_speech_and_pictures() -> None:
    string = "a <image> <img1><img2> </image> b <spch><spch0><spch5></spch> c"
    found = prompts.detokenize(string, layers=2, codebook_size=5)
    assert found.text == "a <image_placeholder_0> b <speech_placeholder_0> c"
    assert found.images[0].tolist() == [1, 2]
    assert found.speeches[0].tolist() == [[0], [0]]
    with pytest.raises(MioError, match="unequal length"):
        prompts.detokenize("<spch><spch0><spch1><spch5></spch>", layers=2, codebook_size=5)
