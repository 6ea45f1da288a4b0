"""Unified-IO 2's vocabulary over any SentencePiece file, and text as inputs and targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mio_jax.config_loading import load_config_file
from mio_jax.errors import MioError
from mio_tokenizers import Tokenizer, bundled, files_of, load
from mio_tokenizers.text import ExtendedTextTokenizer, extra_pieces
from mio_tokenizers.text.features import input_features, pad, target_features
from mio_tokenizers.text.surgery import special_first
from mio_tokenizers.text.training import TextTrainConfig, evaluate, train
from tests.tokenizers.test_text import corpus

ROOT = Path(__file__).parents[2]
TOY = ROOT / "tests" / "golden" / "unified-io-2" / "toy_llama_style.model"
EXTRA = st.sampled_from(extra_pieces())


@pytest.fixture(scope="module", params=["llama", "bundled"])
def tokenizer(request: pytest.FixtureRequest) -> ExtendedTextTokenizer:
    path = TOY if request.param == "llama" else bundled()["text_tiny"]
    made = load(f"unified_io2:{path}")
    assert isinstance(made, ExtendedTextTokenizer)
    assert isinstance(made, Tokenizer)
    return made


def test_ids_of_the_published_size() -> None:
    pieces = extra_pieces()
    ids = {piece: 32000 + i for i, piece in enumerate(pieces)}
    assert len(ids) == len(pieces) == 1225
    assert ids["<extra_id_1199>"] == 32000
    assert ids["<extra_id_200>"] == 32999
    assert ids["<extra_id_199>"] == 33000
    assert ids["<extra_id_0>"] == 33199
    assert ids["<image_history_1>"] == 33200
    assert ids["<audio_history_8>"] == 33215
    assert ids["<audio_input>"] == 33217
    assert ids["[Text] [S]"] == 33218
    assert ids["[Audio] [R]"] == 33224


@settings(max_examples=40, deadline=None)
@given(st.lists(EXTRA, min_size=1, max_size=6))
def test_added_pieces_are_single_ids_after_a_space(tokenizer: ExtendedTextTokenizer, pieces: list[str]) -> None:
    text = " ".join(pieces)
    ids = tokenizer.encode(text)
    assert ids.tolist() == [tokenizer.special(piece) for piece in pieces]
    assert tokenizer.decode(ids) == text
    assert len(tokenizer.encode("x" + pieces[0])) > 2  # glued to a word it is spelt out


@settings(max_examples=40, deadline=None)
@given(st.text().filter(lambda text: "\u2581" not in text))
def test_any_text_comes_back(tokenizer: ExtendedTextTokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode([*ids, tokenizer.eos_id, 70, 80]) == text
    assert not ids.size or ids.min() > tokenizer.unk_id


def test_sizes_and_places(tokenizer: ExtendedTextTokenizer) -> None:
    assert tokenizer.vocab_size == tokenizer.base_size + 1225
    assert tokenizer.table_size % 128 == 0
    assert 0 <= tokenizer.table_size - tokenizer.vocab_size < 128
    assert tokenizer.first_location == tokenizer.special("<extra_id_1199>")
    assert tokenizer.sentinel(0) == tokenizer.special("<extra_id_0>")
    assert tokenizer.sentinel(199) == tokenizer.first_sentinel == tokenizer.special("<extra_id_199>")
    tokenizer.check_table(tokenizer.table_size, "weights")
    with pytest.raises(MioError, match=r"weights has 33280 text embeddings, but this tokenizer needs"):
        tokenizer.check_table(33280, "weights")
    for call in (lambda: tokenizer.sentinel(200), lambda: tokenizer.special("<extra_id_1200>")):
        with pytest.raises(MioError):
            call()


def test_a_model_is_edited_once_only(tmp_path: Path) -> None:
    edited = special_first(TOY.read_bytes(), extra_pieces())
    with pytest.raises(MioError, match="already"):
        special_first(edited, extra_pieces())
    assert special_first(special_first(TOY.read_bytes())) == special_first(TOY.read_bytes())
    (tmp_path / "broken.model").write_bytes(b"\x00\x01 nothing")
    with pytest.raises(MioError, match=r"broken.model: this is no SentencePiece model"):
        load(f"unified_io2:{tmp_path / 'broken.model'}")
    with pytest.raises(MioError, match=r"LLaMA's tokenizer.model .* configs/tokenizers/unified_io2_text.py"):
        load("unified_io2:nowhere.model")


@pytest.mark.parametrize(("media", "message"), [(7, "must be str"), ("\ud800", "UTF-8")])
def test_bad_text_is_named(media: object, message: str) -> None:
    with pytest.raises(MioError, match=message):
        ExtendedTextTokenizer.load(TOY).encode(media)  # type: ignore[arg-type]


def test_one_is_trained_where_no_llama_is_given(tmp_path: Path) -> None:
    config = TextTrainConfig(
        name="t", out=str(tmp_path / "t.model"), work_dir=str(tmp_path), media=("s.text",), vocab_size=300,
        corpus_characters=5000, layout="llama",
    )  # fmt: skip
    figures = evaluate(config, train(config, corpus()), corpus())
    assert figures["held_out"]["s.text"]["round_trip"] == 1.0
    tokenizer = ExtendedTextTokenizer.load(config.out)
    assert [tokenizer.piece(i) for i in range(5)] == ["<s>", "</s>", "<unk>", "<0x00>", "<0x01>"]
    assert tokenizer.decode(tokenizer.encode("[Text] [S] red <extra_id_4> ab")) == "[Text] [S] red <extra_id_4> ab"


def test_the_config_says_what_it_is_not() -> None:
    config = load_config_file(str(ROOT / "configs/tokenizers/unified_io2_text.py"), (), TextTrainConfig)
    assert isinstance(config, TextTrainConfig)
    assert config.layout == "llama"
    assert (
        "published Unified-IO 2 weights need LLaMA's" in (ROOT / "configs/tokenizers/unified_io2_text.py").read_text()
    )


IDS = st.lists(st.integers(3, 50), max_size=9)


@given(IDS, st.integers(1, 8))
def test_input_features(ids: list[int], length: int) -> None:
    made = input_features(ids, length)
    assert made["tokens"].tolist() == [*ids[: length - 1], 1]
    assert made["mask"].all()
    assert made["pos_ids"].tolist() == list(range(len(made["tokens"])))
    padded = pad(made, 12)
    assert padded["mask"].sum() == len(made["tokens"])
    assert all(a.shape == (12,) and a.dtype == np.int32 for a in padded.values())


@given(st.lists(IDS, min_size=1, max_size=4), st.integers(4, 60))
def test_target_features(texts: list[list[int]], length: int) -> None:
    made = target_features(texts, length)
    assert {a.dtype for a in made.values()} == {np.dtype(np.int32)}
    assert len(made["targets"]) <= length
    for number in np.unique(made["segment_ids"]):
        at = made["segment_ids"] == number
        target, ids = made["targets"][at], texts[number - 1]
        assert target[-1] == 1
        assert target[:-1].tolist() == ids[: len(target) - 1]
        assert made["inputs"][at].tolist() == [0, *target[:-1]]
        assert made["pos_ids"][at].tolist() == list(range(at.sum()))
        assert (made["mask"][at] == bool(ids)).all(), "nothing is learned from an empty text"
    if sum(len(t) + 1 for t in texts) <= length:
        assert made["segment_ids"][-1] == len(texts)
        assert len(made["targets"]) == sum(len(t) + 1 for t in texts)


def test_features_that_do_not_fit_are_refused() -> None:
    assert target_features([], 5)["targets"].shape == (0,)
    with pytest.raises(MioError, match="no room"):
        input_features([5], 0)
    with pytest.raises(MioError, match="more than the 2"):
        pad(input_features([5, 6, 7], 9), 2)


def test_files_that_a_tokenizer_is_read_from_are_known_before_it_is_loaded() -> None:
    assert files_of("unified_io2:a.model") == [Path("a.model")]
    assert files_of("unified_io2:bundled:text_tiny") == files_of("bundled:text_tiny") == files_of("codec2:700C") == []
    assert files_of("waveform:bundled:mel,b.safetensors") == [Path("b.safetensors")]
    assert files_of("weights/seed") == [Path("weights/seed")]
