"""Segments to ids and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mio_jax.errors import MioError
from mio_jax.protocols import Segment
from mio_jax.recipes.mio import features, prompts
from tests.recipes.mio import fakes

SPACE, TOKENIZERS = fakes.space(), fakes.tokenizers()
IMAGE = np.asarray([9, 0, 3, 3], np.int32)
AUDIO = np.asarray([[4, 0, 2], [1, 1, 3]], np.int32)


def encode(*segments: Segment, **options: Any) -> Any:
    return features.encode(list(segments), TOKENIZERS, SPACE, **options)


def render(tokens: np.ndarray) -> str:
    return prompts.render(tokens, SPACE, TOKENIZERS.text.decode)


def test_everything_in_order() -> None:
    example = encode(Segment("text", "a "), Segment("image", IMAGE), Segment("text", "b"), Segment("audio", AUDIO))
    assert render(example.tokens) == (
        "<|startoftext|>a <image><img9><img0><img3><img3></image>b"
        "<spch><spch4><spch0><spch2><spch6><spch6><spch8></spch>"
    )
    modalities = [SPACE.modalities[m] for m in example.modality_ids]
    assert modalities == ["text"] * 4 + ["image"] * 4 + ["text"] * 3 + ["audio"] * 6 + ["text"]
    np.testing.assert_array_equal(example.loss_weights, [0.0] + [1.0] * (len(modalities) - 1))


def test_one_layer_is_how_speech_is_listened_to() -> None:
    assert render(encode(Segment("audio", AUDIO[:1]), bos=False).tokens) == "<spch><spch4><spch0><spch2></spch>"


def test_special_strings_in_text_are_their_ids() -> None:
    example = encode(Segment("text", "x<|im_end|>\n"), bos=False)
    assert example.tokens.tolist() == [16 + ord("x"), 7, 16 + ord("\n")]


def test_start_token_only_once() -> None:
    assert encode(Segment("text", "<|startoftext|>hi")).tokens.tolist()[:2] == [1, 16 + ord("h")]
    assert encode(Segment("text", "hi"), bos=False).tokens.tolist()[0] == 16 + ord("h")


def test_only_responses_carry_loss_with_their_tags() -> None:
    example = encode(
        Segment("text", "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n"),
        Segment("text", "yes", True),
        Segment("image", IMAGE, True),
        Segment("text", "<|im_end|>", True),
        supervise="responses",
        system="s",
    )
    supervised = example.tokens[example.loss_weights == 1]
    assert render(supervised) == "yes<image><img9><img0><img3><img3></image><|im_end|>"
    assert render(example.tokens).startswith("<|startoftext|><|im_start|>system\ns<|im_end|>\n<|im_start|>user\nq")


def test_system_turn() -> None:
    chat = Segment("text", "<|im_start|>user\nq<|im_end|>\n")
    assert prompts.SYSTEM_STD in render(encode(chat).tokens)
    own = Segment("text", "<|im_start|>system\nmine<|im_end|>\n")
    assert render(encode(own, chat, system="other").tokens).count("system\n") == 1
    assert "system" not in render(encode(Segment("text", "plain"), system="other").tokens)


def test_prompt_is_the_beginning_of_what_was_trained_on() -> None:
    parts = [Segment("text", "<|im_start|>assistant\n"), Segment("text", "hello", True)]
    whole, prompt = encode(*parts), encode(parts[0])
    np.testing.assert_array_equal(whole.tokens[: len(prompt.tokens)], prompt.tokens)


@pytest.mark.parametrize(
    ("segment", "message"),
    [
        (Segment("image", IMAGE[:3]), "4 codes"),
        (Segment("image", IMAGE + 1), "image code 10"),
        (Segment("audio", AUDIO[:, :0]), "layers, frames"),
        (Segment("audio", np.zeros((3, 2), int)), "layers, frames"),
        (Segment("audio", AUDIO + 1), "sound code 5"),
        (Segment("smell", 1), "unknown segment kind"),
    ],
)
def test_codes_that_do_not_fit(segment: Segment, message: str) -> None:
    with pytest.raises(MioError, match=message):
        encode(segment)


def test_supervise_is_checked() -> None:
    with pytest.raises(MioError, match="supervise"):
        encode(Segment("text", "x"), supervise="some")


@given(st.lists(st.sampled_from(["text", "image", "audio"]), max_size=6), st.integers(0, 2**31))
def test_parse_inverts_encode(kinds: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    segments: list[Segment] = []
    for kind in kinds:
        if kind == "image":
            segments.append(Segment(kind, rng.integers(0, 10, 4).astype(np.int32)))
        elif kind == "audio":
            segments.append(Segment(kind, rng.integers(0, 5, (2, int(rng.integers(1, 5)))).astype(np.int32)))
        elif not segments or segments[-1].kind != "text":
            segments.append(Segment(kind, f"t{seed} "))
    found = features.parse(encode(*segments, Segment("text", "<|endoftext|>")).tokens, TOKENIZERS, SPACE)
    assert found.error == ""
    assert [s.kind for s in found.segments] == [s.kind for s in segments]
    for got, wanted in zip(found.segments, segments, strict=True):
        np.testing.assert_array_equal(got.value, wanted.value)


@pytest.mark.parametrize(
    ("string", "message", "kinds"),
    [
        ("a<image><img1><img2></image>b", "2 codes instead of 4", ["text", "text"]),
        ("<image><img1><img2><img3><img4>", "not closed", []),
        ("<image><img1>a", "not closed", ["text"]),
        ("<img1>x", "outside of a span", ["text"]),
        ("x</image>", "closes nothing", ["text"]),
        ("<spch><spch0><spch1><spch5></spch>y", "unequal length", ["text"]),
        ("<spch><spch0><spch1></spch>y", "unequal length", ["text"]),
        ("<spch></spch>", "no codes", []),
        ("<image><img1><img2><img3><img4></image><img5>", "outside of a span", ["image"]),
    ],
)
def test_parse_tells_what_is_wrong(string: str, message: str, kinds: list[str]) -> None:
    ids = prompts.tokenize(string, SPACE, TOKENIZERS.text.encode)
    found = features.parse(np.asarray(ids), TOKENIZERS, SPACE)
    assert message in found.error
    assert [s.kind for s in found.segments] == kinds


def test_parse_drops_control_tokens_and_refuses_foreign_ids() -> None:
    ids = prompts.tokenize("<|startoftext|>hi<|im_end|><unk><|endoftext|>", SPACE, TOKENIZERS.text.encode)
    assert features.parse(np.asarray(ids), TOKENIZERS, SPACE).segments == (Segment("text", "hi"),)
    with pytest.raises(MioError, match="leave the token space"):
        features.parse(np.asarray([SPACE.vocab_size]), TOKENIZERS, SPACE)
