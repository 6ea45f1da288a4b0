"""Text tokenizer: any string survives, specials only on request, training is reproducible."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mio_jax.config_loading import load_config_file
from mio_jax.data.media_arrays import pack_texts
from mio_jax.errors import MioError
from mio_tokenizers import Tokenizer, load
from mio_tokenizers.text import SPECIALS, TextTokenizer
from mio_tokenizers.text.training import TextTrainConfig, evaluate, portion, train

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bundled() -> TextTokenizer:
    tokenizer = load("bundled:text_tiny")
    assert isinstance(tokenizer, TextTokenizer)
    return tokenizer


def corpus() -> dict[str, np.ndarray]:
    texts = [
        f"{a} {b} {n}\nskin-tone: {c}"
        for a in ["ab", "cd", "ef"]
        for b in ("red", "blue")
        for c in "äö"
        for n in range(9)
    ]
    return {"train/s.text": pack_texts(texts), "test/s.text": pack_texts(["red ab 11", "grün 深色"])}


def config(folder: Path) -> TextTrainConfig:
    return TextTrainConfig(
        name="t", out=str(folder / "t.model"), work_dir=str(folder), media=("s.text",), vocab_size=300,
        corpus_characters=5000,
    )  # fmt: skip


@given(text=st.text())
def test_every_string_comes_back(bundled: TextTokenizer, text: str) -> None:
    ids = bundled.encode(text)
    assert ids.dtype == np.int32
    assert ids.ndim == 1
    assert bundled.decode(ids) == text
    assert not set(ids.tolist()) & set(range(8)), "typed text must never become a special"


@given(
    text=st.lists(
        st.sampled_from(["\u2581", " ", "  ", "\n", "\t", "\r\n", "a", "<|im_end|>", "<0x0A>", "\x00", "日"])
    ).map("".join)
)
def test_spaces_and_lookalikes_come_back(bundled: TextTokenizer, text: str) -> None:
    assert bundled.decode(bundled.encode(text)) == text


@given(parts=st.lists(st.one_of(st.text(max_size=8), st.sampled_from(SPECIALS))))
def test_specials_on_request(bundled: TextTokenizer, parts: list[str]) -> None:
    text = "".join(parts)
    ids = bundled.encode(text, specials=True)
    assert bundled.decode(ids, specials=True) == text
    plain = text
    for special in SPECIALS:
        assert (ids == SPECIALS.index(special)).sum() == text.count(special)
        plain = plain.replace(special, "")
    assert bundled.decode(ids) == plain


def test_yi_ids_and_sizes(bundled: TextTokenizer) -> None:
    assert isinstance(bundled, Tokenizer)
    assert bundled.vocab_size == 2048
    named = {s: bundled.special(s) for s in ("<unk>", "<|startoftext|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>")}
    assert list(named.values()) == [0, 1, 2, 6, 7]
    assert bundled.describe() == {"special": 8, "byte": 256, "ordinary": 1784}
    # No dummy prefix: a word is the same with nothing before it as after a line end, and digits stand alone.
    np.testing.assert_array_equal(bundled.encode("\nred")[1:], bundled.encode("red"))
    assert len(bundled.encode("1984")) == 4
    assert len(bundled.encode("woman technologist: medium-dark skin tone")) <= 10


def test_bytes_that_are_no_utf8_become_replacement_characters(bundled: TextTokenizer) -> None:
    first = int(bundled.encode("\x00")[0])
    assert bundled.piece(first + 0xFF) == "<0xFF>"
    assert bundled.decode([first + 0xFF, *bundled.encode("a")]) == "\ufffda"


@pytest.mark.parametrize(
    ("ids", "message"),
    [([2048], "outside 0..2047"), ([-1], "outside"), ([[1]], "in one row"), ([0.5], "whole numbers")],
)
def test_bad_ids_are_named(bundled: TextTokenizer, ids: list, message: str) -> None:
    with pytest.raises(MioError, match=message):
        bundled.decode(np.asarray(ids))


def test_what_is_no_text_is_refused(bundled: TextTokenizer) -> None:
    with pytest.raises(MioError, match="must be str, not bytes"):
        bundled.encode(b"abc")  # type: ignore[arg-type]
    with pytest.raises(MioError, match="UTF-8 at character 1"):
        bundled.encode("a\ud800")
    with pytest.raises(MioError, match="no special '<nope>'"):
        bundled.special("<nope>")


def test_training_is_reproducible_and_reads_back(tmp_path: Path) -> None:
    first = train(config(tmp_path / "a"), corpus())
    second = train(config(tmp_path / "b"), corpus())
    assert first.fingerprint == second.fingerprint == load(str(tmp_path / "a" / "t.model")).fingerprint
    assert first.vocab_size == 300
    figures = evaluate(config(tmp_path / "a"), first, corpus())
    assert figures["held_out"]["s.text"]["round_trip"] == 1.0
    assert 0 < figures["held_out"]["s.text"]["byte_tokens"] < 1
    other = dataclasses.replace(config(tmp_path / "c"), vocab_size=301)
    assert train(other, corpus()).fingerprint != first.fingerprint


def test_impossible_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MioError, match="could not train 't'"):
        train(dataclasses.replace(config(tmp_path), vocab_size=5000), corpus())
    with pytest.raises(MioError, match=r"lack train/s\.text"):
        train(config(tmp_path), {"train/other.text": pack_texts(["a"])})
    with pytest.raises(MioError, match="must exceed 264"):
        dataclasses.replace(config(tmp_path), vocab_size=264)
    assert not (tmp_path / "t.model").exists()


@given(texts=st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=9), characters=st.integers(0, 200))
def test_portion_is_about_as_long_as_asked(texts: list[str], characters: int) -> None:
    total = sum(map(len, texts))
    got = list(portion(texts, characters))
    assert abs(sum(map(len, got)) - characters) <= total
    assert got == list(portion(texts, characters))
    counts = [got.count(t) / texts.count(t) for t in texts]
    assert all(characters // total <= c <= characters // total + 1 for c in counts)


def test_damaged_model_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.model"
    path.write_bytes((ROOT / "tokenizers/mio_tokenizers/weights/text_tiny.model").read_bytes()[:1000])
    with pytest.raises(MioError, match=r"broken.model: this is no SentencePiece model"):
        load(str(path))


def test_bundled_config_is_valid() -> None:
    made = load_config_file(str(ROOT / "configs/tokenizers/text_tiny.py"), [], TextTrainConfig)
    assert made.vocab_size == 2048
    assert any("You are MIO" in sentence for sentence in made.sentences)
