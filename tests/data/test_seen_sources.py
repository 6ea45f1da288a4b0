"""What the readers make of published sets of pictures with text, views and values: small made-up folders."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mio_jax.data.sources import source
from mio_jax.data.sources.normals import normals_of
from mio_jax.data.sources.pasted import pasted
from mio_jax.data.sources.shown_documents import window
from mio_jax.data.sources.views import move, spherical
from mio_jax.errors import MioError
from mio_tokenizers.structured.dense import read_normals
from tests.data.made_sets import make
from tests.data.made_sets.files import pixels
from tests.data.made_sets.seen import PLACES, camera_at
from tests.data.test_folder_sources import all_of, damaged


def both(name: str, raw_dir: Path) -> list[dict[str, Any]]:
    return [example for split in ("train", "test") for example in all_of(name, raw_dir, split)]


def test_narratives_and_phrases(tmp_path: Path) -> None:
    [one] = all_of("localized_narratives", tmp_path)
    assert one["captions"] == ["In front a tortoise. Behind it grass."] * 2
    assert all_of("visual_genome", tmp_path)[0]["captions"] == ["a brown dog"]
    bare = make("localized_narratives", tmp_path / "bare")
    for path in bare.glob("*.jsonl"):
        path.unlink()
    assert "open_images_train_v6" in damaged(bare, "localized_narratives")


def test_conditions(tmp_path: Path) -> None:
    made = both("multigen", tmp_path)
    assert len(made) == 6
    assert {e["condition"] for e in made} == {"edges", "depth map"}
    first = next(e for e in made if e["image"][0, 0, 2] == 91)
    assert (first["target"].shape, first["target"][6, 0, 2], first["captions"]) == ((52, 52, 3), 1, ["A Dog, 1"])
    # A picture is in one split, whatever its condition.
    held = {split: {e["target"][6, 0, 2] for e in all_of("multigen", tmp_path, split)} for split in ("train", "test")}
    assert not held["train"] & held["test"]
    path = next((tmp_path / "multigen/json_files").iterdir())
    path.write_text(path.read_text().replace("control_", "control_other_"))
    assert "is none of canny" in damaged(tmp_path / "multigen", "multigen")


def test_cuboids(tmp_path: Path) -> None:
    [one] = all_of("omni3d", tmp_path)  # without the picture that is not there
    assert one["camera"] == {"focal": 60.0, "centre": [26.0, 20.0], "height": 40}
    near, far = one["cuboids"]  # without the one that is not to be relied on
    assert (near["box"], near["size"], near["centre"]) == ([10, 20, 30, 40], [1.6, 1.5, 3.9], [0.5, 0.0, 8.0])
    assert far["centre"][2] == 9e5


def test_views(tmp_path: Path) -> None:
    np.testing.assert_allclose(spherical(camera_at(*PLACES[0])), PLACES[0])
    way = move(camera_at(*PLACES[0]), camera_at(*PLACES[1]))
    np.testing.assert_allclose(way, [-0.2, 2 * math.pi - 6.0, 0.2])
    back = move(camera_at(*PLACES[1]), camera_at(*PLACES[0]))
    np.testing.assert_allclose(back, [-v for v in way])
    for one in both("objaverse", tmp_path):
        first, second = (frame[0, 0, 2] for frame in one["frames"])
        assert {int(first), int(second)} == {0, 1}
        np.testing.assert_allclose(one["move"], way if first == 0 else back)
        np.testing.assert_array_equal(one["target"], one["frames"][1])
    pair = both("croco_habitat", tmp_path)[0]
    assert pair["frames"].shape == (1, 32, 32, 3)
    np.save(tmp_path / "objaverse/0a1b/000.npy", np.eye(4))
    assert "finite and [3, 4]" in damaged(tmp_path / "objaverse", "objaverse")
    with pytest.raises(ValueError, match="a camera must be finite"):
        spherical(np.full((3, 4), np.nan))


def test_normals_from_depth(tmp_path: Path) -> None:
    """The wall z = 4 + x faces right by as much as it faces the camera; where depth is lacking there are none."""
    [one] = both("blendedmvs", tmp_path)
    found = read_normals(one["target"][6:46])
    wanted = np.array([1.0, 0.0, 1.0]) / math.sqrt(2)
    np.testing.assert_allclose(found.vectors[5:38, 2:50], np.broadcast_to(wanted, (33, 48, 3)), atol=0.012)
    assert not found.valid[:4].any()
    assert not found.valid[:, 0].any()
    floor = normals_of(np.tile(2.0 / ((np.arange(1, 21) / 20)[:, None]), (1, 30)), np.diag([20.0, 20.0, 1.0]))
    np.testing.assert_allclose(floor.vectors[5, 5], [0, 1, 0], atol=0.1)  # y = 2 is below: it faces up
    painted = all_of("framenet", tmp_path)[0]["target"]
    assert (painted[20, :26] == 128).all()
    assert painted[20, 40, 2] == 200
    depth = next((tmp_path / "blendedmvs").glob("*/rendered_depth_maps/*.pfm"))
    depth.write_bytes(b"P6\n1 1\n255\n123")
    assert "does not begin as a grey PFM file does" in damaged(tmp_path / "blendedmvs", "blendedmvs")


def test_dialogues(tmp_path: Path) -> None:
    [talk] = all_of("visdial", tmp_path)
    assert (talk["caption"], talk["turns"]) == (
        "a Dog on grass",
        [["what colour is it?", "brown"], ["is it big?", "no"]],
    )
    [one] = all_of("vcr", tmp_path)
    assert one["question"] == "Does person2 feel well?"
    assert one["answer"] == "No, person1 and person2 don't."
    assert (one["reason"], len(one["reasons"])) == ("It rains.", 2)
    assert (one["labels"], one["boxes"]) == (["person1", "person2"], [[4, 4, 24, 20], [6, 30, 36, 52]])
    assert both("stvqa", tmp_path)[0]["questions"] == [["Which number?", "22"]]
    bare = make("visdial", tmp_path / "bare")
    next(bare.glob("val2014/*")).unlink()
    assert "there is no train2014/COCO_train2014" in damaged(bare, "visdial")


def test_requests(tmp_path: Path) -> None:
    one, two = all_of("m3it", tmp_path)
    assert (one["turns"], two["turns"]) == ([["Look at it. What is it?", "A dog."]], [["Look at it.", "Two dogs."]])
    [asked] = both("mimic_it", tmp_path)  # without what asks about two pictures
    assert asked["turns"] == [["What is it?", "A hound."], ["What is it?", "A dog."]]
    assert asked["image"].shape == (40, 52, 3)
    bare = make("mimic_it", tmp_path / "bare")
    for path in (bare / "json/LA").iterdir():
        path.unlink()
    assert "_instructions.json" in damaged(bare, "mimic_it")


def test_pages_and_stories(tmp_path: Path) -> None:
    page = all_of("obelics_shown", tmp_path)[0]
    assert page["parts"] == ["Before it.", 0, "Behind it."]
    assert page["frames"].shape == (1, *page["image"].shape)
    parts = ["a", 0, "b", "c", 1, 2, "d", "e"]
    assert window(parts, 1, 2) == ["c", 0, 1, "d"]
    assert window(parts, 0, 0) == ["a", 0, "b"]
    assert window([0, 1], 0, 1) == [0, 1]
    told = all_of("visual_storytelling", tmp_path)[0]
    assert (told["frames"].shape[0], told["story"]) == (2, "Then 0. Then 1.")


@pytest.mark.parametrize("key", [f"k{n}" for n in range(8)])
def test_pasted_pieces(key: str) -> None:
    pictures = [np.full((60, 90, 3), 7, np.uint8), *(pixels(100 + n) for n in range(3))]
    made = pasted(pictures, key)
    assert json.dumps(pasted(pictures, key)["boxes"]) == json.dumps(made["boxes"])
    covered = np.zeros((60, 90), int)
    for y1, x1, y2, x2 in np.array(made["boxes"], int).reshape(-1, 4):
        covered[y1:y2, x1:x2] += 1
        assert (made["image"][y1:y2, x1:x2, 2] >= 99).all()
    assert covered.max(initial=0) <= 1, "no two pieces overlap"
    assert (made["image"][covered == 0] == 7).all()
    assert int(made["count"]) == len(made["boxes"]) == len(made["labels"]) <= 6
    assert (pictures[0] == 7).all()


def test_pieces_of_shards(tmp_path: Path) -> None:
    assert [source("laion_patches", folder=make("laion_patches", tmp_path)).count(s) for s in ("train", "test")] == [
        2,
        2,
    ]
    assert len({e["count"] for e in both("laion_patches", tmp_path) + both("redcaps_patches", tmp_path)}) > 1
    with pytest.raises(MioError, match="no shards"):
        source("laion_patches", folder=tmp_path).count("train")
