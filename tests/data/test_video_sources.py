"""Sets of videos: Fluent's animations, and videos with what is told of them as documents."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mio_jax.data.media.video_documents import Told, clips, interleaved, read_told
from mio_jax.data.media.video_reader import video_of
from mio_jax.data.shards import encode_examples
from mio_jax.data.sources.fluent_anim import FluentAnimations, emoji_of
from mio_jax.data.sources.video_documents import VideoDocuments
from mio_jax.errors import MioError
from tests.data.made_sets.animations import CUT, MOVING, fluent_anim, two_scenes, video_documents

PARTS = [0, "Cut the onions. Stir,", 1, "until it boils."]


def test_fluent_animations_are_named_and_split_by_drawing(tmp_path: Path) -> None:
    reader = FluentAnimations(fluent_anim(tmp_path))
    found = {split: list(reader.examples(split)) for split in ("train", "test")}
    whole = [*found["train"], *found["test"]]
    assert {one["id"].rsplit("/")[-1] for one in whole} == set(MOVING), "those that move and have a name"
    names = {one["id"].rsplit("/")[-1]: one["captions"] for one in whole}
    assert names["1f3c3-1f3fe"] == ["person running medium-dark skin tone"]
    assert names["1f415"] == ["dog"]
    bases = [{one["meta/base"] for one in examples} for examples in found.values()]
    assert not bases[0] & bases[1]
    runners = {one["meta/base"] for one in whole if one["id"].split("/")[-1].startswith("1f3c3")}
    assert len(runners) == 1, "one drawing, whatever its tone and gender"
    one = next(one for one in whole if one["id"].endswith("1f600"))
    assert one["frames"].shape == (4, 64, 64, 3)
    assert one["frames"][:, 5, 5, 1].tolist() == [30, 90, 150, 210], "the middles of four equal parts"
    assert emoji_of("1f3f4-gbeng") == emoji_of("ffffffffff") == ""
    assert FluentAnimations(tmp_path, frames=2, size=32).frames == 2


@pytest.mark.parametrize("name", ["soup.srt", "stew.jsonl"])
def test_what_is_told_stands_behind_its_clip(name: str, tmp_path: Path) -> None:
    folder = video_documents(tmp_path)
    told = read_told(folder / "cooking" / name)
    assert told == [Told(0, 0.4, "Cut the onions."), Told(0.5, 0.9, "Stir,"), Told(1.6, 1.9, "until it boils.")]
    made = interleaved(video_of(two_scenes(), rate=25), told)
    assert made["parts"] == PARTS
    assert [picture[0, 0, 0] for picture in made["pictures"]] == [CUT // 2, (CUT + 50) // 2]


def test_documents_of_a_folder(tmp_path: Path) -> None:
    reader = VideoDocuments(video_documents(tmp_path))
    found = [one for split in reader.splits for one in reader.examples(split)]
    assert sorted(one["id"].split("/", 2)[2] for one in found) == ["cooking/soup", "cooking/stew"]
    for one in found:
        assert (one["parts"], one["scores"]) == (PARTS, [])
        assert [picture.shape for picture in one["pictures"]] == [(8, 8, 3)] * 2


def test_records_hold_the_codes_of_every_frame(tmp_path: Path) -> None:
    codes = SimpleNamespace(tokens=2, encode=lambda picture: np.asarray(picture[0, 0, 1:], np.int32))
    tokenizers = SimpleNamespace(image=codes)
    reader = FluentAnimations(fluent_anim(tmp_path / "a"))
    [record] = encode_examples(list(reader.examples("train", 0, 1)), reader, tokenizers)
    assert record["frames"].tolist() == [[30, 30], [90, 90], [150, 150], [210, 210]]
    assert json.loads(record["captions"]) == reader.items("train")[0].caption.split("\n")
    documents = VideoDocuments(video_documents(tmp_path / "b"))
    made = [one for split in documents.splits for one in documents.examples(split)]
    [record] = encode_examples(made[:1], documents, tokenizers)
    assert record["pictures"].tolist() == [[10, 10], [35, 35]]
    assert json.loads(record["parts"]) == PARTS


def test_without_a_cut_there_are_ten_equal_clips() -> None:
    still = video_of(two_scenes()[:CUT], rate=10)
    assert clips(still) == [(n, n + 2) for n in range(0, CUT, 2)]
    told = [Told(0.35, 0.45, "early"), Told(100, 120, "late"), Told(0.41, 0.41, "and")]
    made = interleaved(still, told)
    assert made["parts"] == [0, 1, 2, "early and", 3, 4, 5, 6, 7, 8, 9, "late"]
    assert interleaved(still, told, most=2)["parts"] == [0, 1]
    assert np.array_equal(made["pictures"][2], still[[5]][0])


@pytest.mark.parametrize(
    ("file", "written", "message"),
    [
        ("a.srt", "hello", "no list of times and texts"),
        ("a.srt", "1\n00:00:xx --> 00:00:02\nhello", "no list of times and texts"),
        ("a.srt", "1\n00:00:03 --> 00:00:02\nhello", "end is before its beginning"),
        ("a.jsonl", '{"start": 1}', "no list of times and texts: KeyError"),
        ("a.jsonl", "[1]", "no list of times and texts"),
        ("a.jsonl", '{"start": NaN, "end": 2, "text": "x"}', "end is before its beginning"),
        ("b.srt", "", "there is no file"),
    ],
)
def test_one_clear_line(file: str, written: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.srt").touch()
    if written:
        (tmp_path / file).write_text(written)
    with pytest.raises(MioError, match=message):
        read_told(tmp_path / file)
    assert read_told(tmp_path / "a.srt") == [] if not written else True
