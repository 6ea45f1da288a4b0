"""What the readers of actions, of videos with sound and of robots make of small made-up folders."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mio_jax.data.media.video_documents import rolled_up
from mio_jax.data.media.video_files import frames_at
from mio_jax.data.sources import source
from mio_jax.data.sources.told_videos import timed
from mio_jax.data.sources.vima import read_pickle
from mio_jax.errors import MioError
from tests.data.made_sets import make
from tests.data.made_sets.acting import subtitles
from tests.data.test_folder_sources import all_of, damaged


def blues(frames: np.ndarray) -> list[int]:
    """Numbers of frames, which their blue tells about."""
    return frames[..., 2].mean((1, 2)).round().astype(int).tolist()


def both(name: str, raw_dir: Path) -> list[dict[str, Any]]:
    return [example for split in ("train", "test") for example in all_of(name, raw_dir, split)]


def test_boxes_of_a_video_stand_on_its_frames(tmp_path: Path) -> None:
    pytest.importorskip("av")
    [zebra] = all_of("youtube_bb", tmp_path)  # the person has one box
    assert (zebra["label"], zebra["id"]) == ("zebra", "youtube_bb/train/AAB6lO-XiKE-23-0")
    np.testing.assert_allclose(zebra["boxes"], [[6, 16, 48 * y2, 32] for y2 in (0.3, 0.4, 0.5, 0.6, 0.8)])
    # Half a second a frame, 20 of blue a frame: the seconds 0, 1, 2, 3 and 5, without the one in which it is absent.
    np.testing.assert_allclose(blues(zebra["frames"]), [0, 40, 80, 120, 200], atol=6)
    path = tmp_path / "youtube_bb/videos/AAB6lO-XiKE.mp4"
    np.testing.assert_allclose(blues(frames_at(path, [-1.0, 0.6, 99.0])), [0, 20, 220], atol=6)


def test_parts_of_videos(tmp_path: Path) -> None:
    pytest.importorskip("av")
    assert [e["label"] for e in all_of("kinetics710", tmp_path)] == ["marching", "riding a bike"]
    [door] = all_of("epic_kitchens", tmp_path)
    assert (door["label"], door["id"]) == ("open door", "epic_kitchens/train/P01_01_0")
    # Seconds 0.4 to 1.21 of five frames a second begin at the third and end with the seventh.
    np.testing.assert_allclose(blues(door["frames"]), [40, 60, 80, 100, 120], atol=6)
    [asked] = all_of("star", tmp_path)
    assert asked["questions"] == [["Which object was opened?", "The door."]]
    [written] = all_of("m4_vitevqa", tmp_path)
    assert written["questions"] == [["What day is it?", "Day 1"], ["Who is he?", "Salim"]]


def test_who_does_what(tmp_path: Path) -> None:
    pytest.importorskip("av")
    [moment] = all_of("ava", tmp_path)
    assert moment["labels"] == ["walk, watch", "carry/hold"]
    assert moment["boxes"] == [[24, 16, 48, 32], [0, 32, 24, 48]]
    np.testing.assert_allclose(blues(moment["frames"]), [0, 40, 80, 120, 160], atol=6)  # the third is second 1


def test_what_is_seen_and_heard_ends_together(tmp_path: Path) -> None:
    """Parts of 5 s hold one segment of 4.08 s, ten seconds two, and what is shorter stays as it is."""
    pytest.importorskip("av")
    parts = both("yt_temporal_1b", tmp_path)
    assert len(parts) == 7
    first, second = parts[0], parts[1]
    assert len(first["audio"].samples) == pytest.approx(4.08 * first["audio"].rate, abs=2)
    assert [part["captions"] for part in parts[:3]] == [["we ride"], [], ["a bike"]]
    # Two frames a second, 5 of blue each: the second part begins at second 5.
    assert blues(first["frames"])[0] < 8
    np.testing.assert_allclose(blues(second["frames"]), 50 + 10 * 4.08 * (np.arange(5) + 0.5) / 5, atol=7)
    [ten] = both("acav100m", tmp_path)
    assert len(ten["audio"].samples) == pytest.approx(2 * 4.08 * ten["audio"].rate, abs=2)
    assert ten["captions"] == []
    assert blues(ten["frames"])[-1] < 85  # of 95: the end that fills no segment is not seen either
    [short] = both("hd_vila", tmp_path)
    assert len(short["audio"].samples) == pytest.approx(3 * short["audio"].rate, rel=0.05)
    [tags] = [e["tags"] for e in all_of("kinetics_sounds", tmp_path)]
    assert tags == ["playing harmonica"]


def test_subtitles_that_roll_up_are_told_once() -> None:
    assert [one.text for one in rolled_up(subtitles())] == ["we ride", "a bike", "to the end of the road"]
    assert [one.start for one in rolled_up(subtitles())] == [0, 14, 28]


def test_cleaned_transcripts_have_the_times_of_what_was_heard(tmp_path: Path) -> None:
    np.testing.assert_allclose(timed(["A", "new", "bike,", "!"], [("a", 1.0), ("bike", 3.0)]), [1, 2, 3, 3])
    with pytest.raises(ValueError, match="no word of the cleaned text"):
        timed(["x"], [("y", 0.0)])
    pytest.importorskip("av")
    [ride] = both("yt_temporal_180m", tmp_path)
    assert ride["id"].endswith("/WAaKRUoY6Io")
    assert ride["parts"][::2] == [0, 1]
    assert [len(words.split()) for words in ride["parts"][1::2]] == [24, 16]
    # Words 1 to 35 of sixty, ten a second, are heard about second 1.8; two frames a second, 20 of blue each.
    np.testing.assert_allclose(blues(np.stack(ride["pictures"])), [60, 180], atol=6)


def test_narrations(tmp_path: Path) -> None:
    pytest.importorskip("av")
    said = [e["captions"] for e in both("ego4d", tmp_path)]
    assert said == [["The camera wearer picks a bag"], ["Man X waves"], ["The camera wearer picks a bag"]]


# -------------------------------------------------------------------------------------------------------------- robots


def test_episodes_of_robots(tmp_path: Path) -> None:
    folder = make("language_table", tmp_path)
    reader = source("language_table", folder=folder)
    assert [reader.count(split) for split in ("train", "test")] == [2, 1]
    told = both("language_table", tmp_path)
    assert [e["instruction"] for e in told] == [f"push block {n} left" for n in range(3)]
    for episode, one in enumerate(told):
        assert (one["action_low"], one["action_high"]) == ([-0.1, -0.1], [0.1, 0.1])
        moment = round(one["action"][0] / 0.01)
        assert one["action"][1] == -0.1  # the end of the range
        # The pictures before this action, of which those before the first look like it.
        assert blues(one["frames"]) == [10 * episode + max(moment - k, 0) for k in (4, 3, 2, 1, 0)]
    [second] = reader.examples("train", 1, 2)
    assert second["id"] == told[1]["id"]
    pot, nothing, held = both("bridge_v2", tmp_path)
    assert (pot["instruction"], nothing["instruction"]) == ("put the pot on the stove", "")
    assert len(pot["action"]) == 7
    assert held["id"] == "bridge_v2/val/0"


def test_what_is_wrong_with_episodes_is_one_line(tmp_path: Path) -> None:
    folder = make("language_table", tmp_path)
    shard = min((folder / "0.0.1").glob("*.tfrecord-*"))
    shard.write_bytes(shard.read_bytes()[:-9])
    assert "an episode in" in damaged(folder, "language_table")
    (folder / "0.0.1/features.json").unlink()
    from mio_jax.data.sources import rlds

    rlds._builder.cache_clear()
    assert "features.json" in damaged(folder, "language_table")
    with pytest.raises(KeyError, match="a step has no 'observation/depth'"):
        rlds._at({"observation": {"rgb": b""}}, "observation/depth")


def test_plans_with_pictures_among_the_words(tmp_path: Path) -> None:
    put, sweep = sorted(both("vima", tmp_path), key=lambda e: str(e["id"].split("/", 2)[2]))
    assert put["instruction"] == "Put the {1} into the {2} , then the {1} back."
    assert put["frames"].shape == (3, 40, 52, 3)  # two of the words, and the table
    assert [step["kind"] for step in put["steps"] + sweep["steps"]] == ["pick"] * 2 + ["push"] * 2
    first, second = put["steps"]
    assert first == {"kind": "pick", "start": [0.25, -0.5], "start_turn": 0.0, "end": [0.35, -0.5], "end_turn": 0.0}
    assert (second["start"], second["start_turn"]) == ([0.75, 0.5], 90.0)
    # What a pickle names is never called.
    path = tmp_path / "calls.pkl"
    path.write_bytes(pickle.dumps(Calls(str(tmp_path / "made"))))
    read_pickle(path)
    assert not (tmp_path / "made").exists()
    path.write_bytes(b"no pickle")
    with pytest.raises(ValueError, match=r"calls\.pkl"):
        read_pickle(path)
    (tmp_path / "vima/rearrange/000000/action.pkl").write_bytes(b"")
    with pytest.raises(MioError, match=r"vima: a file in .* is not as published .*action\.pkl"):
        both("vima", tmp_path)


def test_examples_of_the_page() -> None:
    page = Path(__file__).parents[2] / "docs/unified_io2_videos_and_robots.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block, {})


class Calls:
    """A pickle that makes a folder when it is read by pickle itself."""

    def __init__(self, made: str) -> None:
        self.made = made

    def __reduce__(self) -> Any:
        import os

        return os.mkdir, (self.made,)
