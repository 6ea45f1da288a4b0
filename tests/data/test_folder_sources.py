"""Published sets in a user's folder, on small made-up folders of the same layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mio_jax.data.sources import FOLDER_SOURCES, source
from mio_jax.errors import MioError
from mio_tokenizers.audio.io import write_wav
from mio_tokenizers.base import Audio


def make_coco(folder: Path) -> Path:
    (folder / "annotations").mkdir()
    categories = [{"id": 18, "name": "dog"}, {"id": 64, "name": "potted plant"}]
    for part in ("train2017", "val2017"):
        (folder / part).mkdir()
        images, captions, objects = [], [], []
        for number in (9, 4, 25):
            name = f"{number:012d}.jpg"
            Image.fromarray(np.full((20 + number, 30, 3), number, np.uint8)).save(folder / part / name)
            images.append({"id": number, "file_name": name})
            captions += [{"id": number * 10 + k, "image_id": number, "caption": f"A dog,\n {k}. "} for k in (1, 0)]
        objects.append({"id": 2, "image_id": 9, "category_id": 64, "bbox": [1.5, 2, 3, 4], "iscrowd": 0})
        objects.append({"id": 1, "image_id": 9, "category_id": 18, "bbox": [0, 0, 5, 6], "iscrowd": 0})
        objects.append({"id": 3, "image_id": 9, "category_id": 18, "bbox": [0, 0, 30, 29], "iscrowd": 1})
        told = {"images": images, "annotations": captions}
        drawn = {"images": images, "annotations": objects, "categories": categories}
        (folder / "annotations" / f"captions_{part}.json").write_text(json.dumps(told))
        (folder / "annotations" / f"instances_{part}.json").write_text(json.dumps(drawn))
    return folder


def make_audiocaps(folder: Path) -> Path:
    head = "audiocap_id,youtube_id,start_time,caption\n"
    (folder / "train.csv").write_text(head + '1,aa,30,"A dog, barking"\n2,b-b,0,Rain\n3,gone,10,Wind\n')
    (folder / "val.csv").write_text(head + "4,v,0,One\n5,v,0,Two\n")
    (folder / "test.csv").write_text(head + "6,t,0,Three\n")
    for split, names in {"train": ("aa", "b-b"), "val": ("v",), "test": ("t",)}.items():
        for rate, name in enumerate(names):
            wave = np.sin(np.arange(400) * 0.2).astype(np.float32)
            write_wav(folder / split / f"Y{name}.wav", Audio(wave, 8000 * (rate + 1)))
    return folder


MAKERS: dict[str, Callable[[Path], Path]] = {"coco": make_coco, "audiocaps": make_audiocaps}


@pytest.mark.parametrize("name", FOLDER_SOURCES)
def test_a_folder_source_keeps_the_protocol(name: str, tmp_path: Path) -> None:
    made: Any = source(name, folder=MAKERS[name](tmp_path))
    assert made.name == name
    assert made.licence
    assert made.attribution
    for split in made.splits:
        examples = list(made.examples(split))
        assert len(examples) == made.count(split) > 0
        assert len({e["id"] for e in examples}) == len(examples)
        again = next(made.examples(split, len(examples) - 1, None))
        for field, value in again.items():
            np.testing.assert_equal(value, examples[-1][field])
            if field not in made.media:
                assert json.loads(json.dumps(value)) == value
    with pytest.raises(MioError, match="no split 'dev'"):
        made.count("dev")
    with pytest.raises(MioError, match="reads a folder of yours"):
        source(name)


def test_coco(tmp_path: Path) -> None:
    four, nine, last = source("coco", folder=make_coco(tmp_path)).examples("train")
    assert [e["id"] for e in (four, nine, last)] == [f"coco/train/{n:012d}" for n in (4, 9, 25)]
    assert nine["image"].shape == (29, 30, 3)
    assert nine["captions"] == ["A dog, 0.", "A dog, 1."]
    assert nine["labels"] == ["dog", "potted plant"]  # in the order of the annotations, without the crowd
    assert nine["boxes"] == [[0, 0, 6, 5], [2, 1.5, 6, 4.5]]
    assert four["boxes"] == []


def test_audiocaps(tmp_path: Path) -> None:
    made: Any = source("audiocaps", folder=make_audiocaps(tmp_path))
    dog, rain = made.examples("train")
    assert (dog["captions"], rain["captions"]) == (["A dog, barking"], ["Rain"])
    assert (dog["audio"].rate, rain["audio"].rate) == (8000, 16000)
    assert (made.absent("train"), made.absent("val")) == (1, 0)
    assert next(made.examples("val"))["captions"] == ["One", "Two"]
    (tmp_path / "test" / "Yt.wav").rename(tmp_path / "test" / "t_0.wav")
    other = source("audiocaps", folder=tmp_path, pattern="{youtube_id}_{start_time}.wav")
    assert other.count("test") == 1


def damaged(folder: Path, name: str, split: str = "train") -> str:
    with pytest.raises(MioError) as caught:
        list(source(name, folder=folder).examples(split))
    return str(caught.value)


def test_what_is_wrong_with_a_folder_is_named(tmp_path: Path) -> None:
    coco, caps = tmp_path / "coco", tmp_path / "caps"
    coco.mkdir()
    caps.mkdir()
    assert "captions_train2017.json; the folder must be laid out" in damaged(coco, "coco")
    assert "train.csv; put the published CSV files there" in damaged(caps, "audiocaps")
    make_coco(coco)
    (coco / "train2017" / f"{9:012d}.jpg").unlink()
    assert "there is no picture" in damaged(coco, "coco")
    (coco / "annotations" / "instances_val2017.json").write_text("{}")
    assert "are not COCO's (KeyError('categories'))" in damaged(coco, "coco", "test")
    (coco / "annotations" / "captions_val2017.json").write_text("{")
    assert "cannot be read" in damaged(coco, "coco", "test")
    (caps / "train.csv").write_text("id,caption\n1,x\n")
    assert "no rows with a column 'audiocap_id'" in damaged(caps, "audiocaps")
    (caps / "test.csv").write_text("audiocap_id,youtube_id,start_time,caption\n6,t,0,Three\n")
    assert "none of the 1 clips" in damaged(caps, "audiocaps", "test")
    with pytest.raises(MioError, match="its names are {youtube_id} and {start_time}"):
        source("audiocaps", folder=caps, pattern="{id}.wav").count("test")
