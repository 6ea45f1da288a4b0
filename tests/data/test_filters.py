"""Filters of raw examples: each transform, and that what is turned away is counted with its reason."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from mio_jax.config import FilterConfig
from mio_jax.data import filters
from mio_jax.data.filters import of_set, turned_away
from mio_jax.data.prepare import SET_ASIDE, prepare
from mio_jax.data.records import RecordReader, read_manifest
from mio_jax.errors import MioError
from mio_tokenizers.base import Audio
from tests.data import toys
from tests.data.made_sets import make


def picture(height: int, width: int) -> dict[str, np.ndarray]:
    return {"image": np.zeros((height, width, 3), np.uint8)}


def test_each_transform() -> None:
    assert filters.aspect_ratio(picture(100, 200), 2.0) == ""
    assert "aspect ratio of 2.01" in filters.aspect_ratio(picture(201, 100), 2.0)
    assert filters.shortest_side(picture(224, 900), 224) == ""
    assert "below 224" in filters.shortest_side(picture(223, 900), 224)
    sound = {"audio": Audio(np.zeros(16_000 * 15, np.float32), 16_000)}
    assert filters.duration(sound, 15.0) == ""
    assert "lasts 15.0 s, more than 14.9" in filters.duration(sound, 14.9)
    assert filters.aspect_ratio(sound, 1.0) == filters.duration(picture(1, 1), 1.0) == ""
    scored = {"told": {"clip_score": "0.27"}, "captions": ["a dog"]}
    assert filters.score(scored, "clip_score", 0.27) == ""
    assert "is 0.27, below 0.28" in filters.score(scored, "clip_score", 0.28)
    assert "has no score 'similarity'" in filters.score(scored, "similarity", 0.28)
    assert "is no number" in filters.score({"told": {"s": "high"}}, "s", 0.1)
    assert filters.score({"told": {"s": "nan"}}, "s", 0.1)  # no number passes that is none


def test_language_is_told_by_the_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    class Detector:
        @staticmethod
        def classify(text: str) -> tuple[str, float]:
            return ("de" if "und" in text else "en"), 0.0

    monkeypatch.setattr(filters, "_detector", lambda: Detector)
    assert filters.language({"captions": ["a dog and a cat"]}, "en") == ""
    assert "is in 'de', not in 'en'" in filters.language({"text": "ein Hund und eine Katze"}, "en")
    assert "no text" in filters.language({"captions": []}, "en")


def test_the_detector_of_the_extra_knows_languages() -> None:
    pytest.importorskip("py3langid")
    filters._detector.cache_clear()
    assert filters.language({"captions": ["A dog runs over the green meadow in the morning."]}, "en") == ""
    assert filters.language({"captions": ["Ein Hund rennt am Morgen über die grüne Wiese."]}, "en")


def test_filters_are_of_the_sets_that_they_name() -> None:
    wide = FilterConfig(sets=("cc*", "sbu"), max_aspect=2.0)
    assert of_set((wide,), "cc3m_told") == of_set((wide,), "sbu") == (wide,)
    assert of_set((wide,), "laion_coco") == ()
    assert turned_away(picture(10, 30), (FilterConfig(min_side=5), wide)).startswith("its image of 30 x 10")
    assert turned_away(picture(10, 15), (FilterConfig(min_side=5), wide)) == ""
    for wrong in ({"max_aspect": 0.5}, {"min_side": -1}, {"min_score": 0.2}, {"sets": ()}):
        with pytest.raises(MioError, match=r"data\.filters"):
            FilterConfig(**wrong)


def test_what_is_turned_away_is_counted_with_its_reason(tmp_path: Path) -> None:
    make("sbu", tmp_path)
    least = FilterConfig(sets=("sbu",), score="clip_score", min_score=0.27)
    config = toys.config(tmp_path / "records", raw_dir=str(tmp_path), filters=(least,))
    tokenizers = toys.tokenizers(Halves())
    assert prepare(config, tokenizers, sets=["sbu"]) == {"sbu": "made"}
    manifest = read_manifest(config.data.records_dir, "sbu")
    assert manifest["counts"] == {"train": 4, "test": 4}  # 0.2 and 0.02 more each: the upper four of eight
    assert manifest["set_aside"] == {"train": 4, "test": 4}
    assert manifest["filters"][0]["min_score"] == 0.27
    lines = (Path(config.data.records_dir) / "sbu" / SET_ASIDE).read_text().splitlines()
    assert "its score 'clip_score' is 0.2, below 0.27" in json.loads(lines[0])["reason"]
    told = json.loads(RecordReader(config.data.records_dir, "sbu", "train")[0]["told"])
    assert told["clip_score"] >= 0.27
    assert prepare(config, tokenizers, sets=["sbu"]) == {"sbu": "kept"}
    stricter = dataclasses.replace(config.data, filters=(dataclasses.replace(least, min_score=0.3),))
    with pytest.raises(MioError, match="were made with filters"):
        prepare(config.replace(data=stricter), tokenizers, sets=["sbu"])


class Halves(toys.BlockMeans):
    """Pictures of any size: the brightness of their halves."""

    tokens = 2

    def encode(self, media: np.ndarray) -> np.ndarray:
        half = media.shape[0] // 2
        return np.asarray([media[:half].mean() // 16, media[half:].mean() // 16], np.int32)


def test_media_that_are_only_looked_at_get_codes_where_asked(tmp_path: Path) -> None:
    make("vizwiz", tmp_path)
    config = toys.config(tmp_path / "a", raw_dir=str(tmp_path), code_seen=True)
    prepare(config, toys.tokenizers(Halves()), sets=["vizwiz"])
    record = RecordReader(config.data.records_dir, "vizwiz", "train")[0]
    assert record["image"].shape == (2,)
    assert "raw/image" not in record
    assert set(read_manifest(config.data.records_dir, "vizwiz")["tokenizers"]) == {"image"}
    plain = toys.config(tmp_path / "b", raw_dir=str(tmp_path))
    prepare(plain, toys.tokenizers(Halves()), sets=["vizwiz"])
    again = toys.config(tmp_path / "b", raw_dir=str(tmp_path), code_seen=True)
    with pytest.raises(MioError, match="were made with"):
        prepare(again, toys.tokenizers(Halves()), sets=["vizwiz"])


def test_pictures_of_a_document_have_a_row_of_codes_each(tmp_path: Path) -> None:
    make("mmc4_core_ff", tmp_path)
    config = toys.config(tmp_path / "a", raw_dir=str(tmp_path))
    prepare(config, toys.tokenizers(Halves()), sets=["mmc4_core_ff"])
    record = RecordReader(config.data.records_dir, "mmc4_core_ff", "train")[0]
    assert record["pictures"].shape == (2, 2)
    assert json.loads(record["parts"]) == [0, "A dog came.", 1, "It sat."]
    assert json.loads(record["scores"]) == [0.2, 0.3]
