"""Published sets in a user's folder, on small made-up folders of the same layout."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mio_jax.data.sources import FOLDER_SOURCES, seen_of, source
from mio_jax.data.sources.pictures import counts_of, mask_of
from mio_jax.errors import MioError
from mio_tokenizers.structured.dense import read_depth, read_flow
from tests.data.made_sets import make
from tests.data.made_sets.boxes import encoded
from tests.data.made_sets.pictures import MOTION

VIDEO = ("msrvtt", "vatex", "webvid", "ucf101", "something_something_v2", "msrvtt_qa", "msvd_qa")
VIDEO += ("webvid_8", "msrvtt_8", "msrvtt_qa_8", "msvd", "msvd_qa_8", "videochat2_it", "howto100m", "gigaspeech")
VIDEO += ("youtube_bb", "kinetics710", "epic_kitchens", "star", "m4_vitevqa", "ava", "ego4d")
VIDEO += ("yt_temporal_1b", "acav100m", "hd_vila", "kinetics_sounds", "yt_temporal_180m")


def folder_of(name: str, raw_dir: Path) -> Path:
    """A made-up folder of the set; videos need PyAV, which is an extra."""
    if name in VIDEO:
        pytest.importorskip("av")
    return make(name, raw_dir)


def made(name: str, raw_dir: Path) -> Any:
    return source(name, folder=folder_of(name, raw_dir))


def all_of(name: str, raw_dir: Path, split: str = "train") -> list[dict[str, Any]]:
    return list(made(name, raw_dir).examples(split))


@pytest.mark.parametrize("name", FOLDER_SOURCES)
def test_a_folder_source_keeps_the_protocol(name: str, tmp_path: Path) -> None:
    reader = made(name, tmp_path)
    assert reader.name == name
    assert reader.licence
    assert reader.attribution
    assert {"train", "test"} <= set(reader.splits)
    assert set(seen_of(reader)) <= set(reader.media)
    # Of MSVD, whose split is by position, a few: reading videos takes time.
    few = 2 if name == "msvd" else None
    found: dict[str, list[dict[str, Any]]] = {split: list(reader.examples(split, 0, few)) for split in reader.splits}
    assert found["train"]
    for split, examples in found.items():
        assert len(examples) == min(reader.count(split), few or reader.count(split))
        for example in examples:
            assert set(example) == set(examples[0])
            assert set(reader.media) <= set(example)
            for field, value in example.items():
                if field in ("image", "target", "frames"):
                    assert value.dtype == np.uint8
                    assert value.ndim == 3 + (field == "frames")
                elif field == "pictures":
                    assert all(picture.dtype == np.uint8 and picture.ndim == 3 for picture in value)
                elif field == "mask":
                    assert value.dtype == bool
                elif field != "audio":
                    assert json.loads(json.dumps(value)) == value
        if examples:
            [again] = reader.examples(split, len(examples) - 1, len(examples) if few else None)
            [first] = reader.examples(split, 0, 1)
            for one, other in ((again, examples[-1]), (first, examples[0])):
                for field, value in one.items():
                    np.testing.assert_equal(value, other[field])
    ids = [example["id"] for examples in found.values() for example in examples]
    assert len(set(ids)) == len(ids)
    assert all(key.startswith(f"{name}/") for key in ids)
    with pytest.raises(MioError, match="no split 'dev'"):
        reader.count("dev")
    with pytest.raises(MioError, match="reads a folder of yours"):
        source(name)


@pytest.mark.parametrize("name", FOLDER_SOURCES)
def test_a_folder_that_is_absent_or_another_is_one_line(name: str, tmp_path: Path) -> None:
    if name in VIDEO:
        pytest.importorskip("av")
    for folder in (tmp_path / "absent", tmp_path):
        with pytest.raises(MioError) as caught:
            list(source(name, folder=folder).examples("train"))
        assert "\n" not in str(caught.value)
        assert str(folder) in str(caught.value)
        assert name in str(caught.value)


def test_coco(tmp_path: Path) -> None:
    four, nine, last = all_of("coco", tmp_path)
    assert [e["id"] for e in (four, nine, last)] == [f"coco/train/{n:012d}" for n in (4, 9, 25)]
    assert nine["image"].shape == (40, 52, 3)
    assert nine["captions"] == ["A Dog by plant 0, in the sun.", "A Dog by plant 1, in the sun."]
    assert nine["labels"] == ["dog", "potted_plant"]  # in the order of the annotations, without the crowd
    assert nine["boxes"] == [[4, 4, 24, 20], [20, 30, 38, 50]]


def test_audiocaps(tmp_path: Path) -> None:
    reader = made("audiocaps", tmp_path)
    dog, rain = reader.examples("train")
    assert (dog["captions"], rain["captions"]) == (["A dog, barking"], ["Rain"])
    assert (dog["audio"].rate, rain["audio"].rate) == (8000, 16000)
    assert (reader.absent("train"), reader.absent("val")) == (1, 0)
    assert next(reader.examples("val"))["captions"] == ["One", "Two"]
    folder = tmp_path / "audiocaps"
    (folder / "test" / "Yt.wav").rename(folder / "test" / "t_0.wav")
    other = source("audiocaps", folder=folder, pattern="{youtube_id}_{start_time}.wav")
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
    coco.rmdir()
    make("coco", tmp_path)
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
    with pytest.raises(MioError, match=r"its names are \{youtube_id\} and \{start_time\}"):
        source("audiocaps", folder=caps, pattern="{id}.wav").count("test")


# ------------------------------------------------------------------------------------------ what the readers make of it


def test_masks_of_polygons_and_runs(tmp_path: Path) -> None:
    dog = all_of("coco_masks", tmp_path)[0]
    assert (dog["label"], dog["box"]) == ("dog", [4, 4, 24, 20])
    inner = dog["mask"][6:46]  # the picture of 40 x 52 lies in the middle of a square
    assert dog["mask"].shape == (52, 52)
    assert inner[5:23, 5:19].all()
    assert not inner[26:].any()
    assert not dog["mask"][:6].any()
    part = all_of("sam", tmp_path)[0]
    expected = np.zeros((52, 52), bool)
    expected[6 + 4 : 6 + 24, 4:20] = True
    np.testing.assert_array_equal(part["mask"], expected)
    counts = [0, 7, 3000, 1, 40, 2, 65535]
    assert counts_of(encoded(counts)) == counts
    with pytest.raises(ValueError, match="run lengths of 9 pixels"):
        mask_of({"size": [2, 5], "counts": [4, 5]}, 2, 5)


def test_masks_of_classes_and_complements(tmp_path: Path) -> None:
    examples = [e for split in ("train", "test") for e in all_of("coco_class_masks", tmp_path, split)]
    assert all(set(e["classes"]) <= {"dog", "potted plant"} for e in examples)
    for e in examples:
        inner = e["mask"][6:46]
        assert inner[10, 10] == (("dog" in e["classes"]) != (e["complement"] == "yes"))
        assert inner[30, 40] == (("potted plant" in e["classes"]) != (e["complement"] == "yes"))


def test_joints(tmp_path: Path) -> None:
    person = all_of("coco_keypoints", tmp_path)[0]
    assert person["points"][0] == [8.0, 10.0]  # y, x
    assert person["visible"] == [1, 0, 0, 0, 0, 1, *([0] * 11)]
    assert len(all_of("coco_keypoints", tmp_path)) == 3  # without the person of whom no joint is told


def test_expressions(tmp_path: Path) -> None:
    [one] = all_of("refcoco_plus", tmp_path)
    assert one["expressions"] == ["the Dog on the left", "dog"]
    assert all_of("refcocog_masks", tmp_path)[0]["mask"].sum() > 200
    refs = tmp_path / "refer" / "refcoco" / "refs(unc).p"
    refs.write_bytes(pickle.dumps(Path("x")))
    assert "which a list of expressions does not need" in damaged(tmp_path / "refer", "refcoco")


def test_boxes_of_words_and_classes(tmp_path: Path) -> None:
    [sign] = all_of("coco_text", tmp_path)
    assert (sign["labels"], sign["boxes"]) == (["STOP"], [[4, 4, 14, 20]])
    [one] = all_of("open_images", tmp_path)
    assert one["labels"] == ["tortoise"]  # without the group
    np.testing.assert_allclose(one["boxes"], [[4, 13, 24, 26]])
    [boxed] = all_of("lvis_boxes", tmp_path)
    assert boxed["labels"] == ["dog"]


def test_visual_genome(tmp_path: Path) -> None:
    qa = all_of("visual_genome_qa", tmp_path)[0]
    assert qa["questions"] == [["What color is the dog?", "Brown"]]
    region = all_of("visual_genome_regions", tmp_path)[0]
    assert (region["boxes"], region["labels"]) == ([[6, 4, 30, 24]], ["a brown dog"])
    [relation] = all_of("visual_genome_relations", tmp_path)[0]["relations"]
    assert (relation["subject"], relation["relation"], relation["object"]) == ("dog", "looks at", "man")


def test_questions_of_one_picture_are_together(tmp_path: Path) -> None:
    for name in ("vqav2", "okvqa"):
        one, _ = all_of(name, tmp_path)
        assert one["questions"] == [["What is it, 0?", "no"], ["What is it, 1?", "2"]]
    assert all_of("gqa", tmp_path)[0]["questions"] == [["Is it red?", "no"], ["Is it red?", "yes"]]
    assert all_of("clevr", tmp_path)[0]["questions"] == [["How many cubes?", "2"]]
    assert all_of("tallyqa", tmp_path)[0]["questions"] == [["How many dogs?", "3"]]
    assert all_of("textvqa", tmp_path)[0]["questions"] == [["What does it say?", "stop"]]


def test_choices_statements_conversations(tmp_path: Path) -> None:
    [one] = all_of("scienceqa", tmp_path)
    assert (one["choices"], one["answer"]) == (["Ohio", "Utah"], "Utah")
    [one] = all_of("aokvqa", tmp_path)
    assert (one["answer"], one["questions"]) == ("skating", [["What is he doing?", "skating"]])
    assert [e["answer"] for e in all_of("vsr", tmp_path)] == ["true", "false"]
    [pair] = all_of("nlvr2", tmp_path)
    assert (pair["frames"].shape, pair["answer"]) == ((2, 40, 52, 3), "false")
    talks = [e for split in ("train", "test") for e in made("llava_instruct", tmp_path).examples(split)]
    assert talks[0]["turns"] == [["What is shown?", "A dog."], ["Which breed?", "A hound, it seems."]]


def test_classes(tmp_path: Path) -> None:
    labels = {name: [e["label"] for e in all_of(name, tmp_path)] for name in ("imagenet", "cub200", "inaturalist")}
    assert labels == {
        "imagenet": ["tench", "goldfish"],
        "cub200": ["black footed albatross"],
        "inaturalist": ["common earthworm"],
    }
    for name, test in (
        ("sun397", "apse indoor"),
        ("places365", "apartment building outdoor"),
        ("imagenet", "goldfish"),
    ):
        assert [e["label"] for e in all_of(name, tmp_path, "test")] == [test]


def test_sounds(tmp_path: Path) -> None:
    [rain] = all_of("clotho", tmp_path)
    assert rain["captions"] == ["Rain, falls", "Rain", "Rain", "Rain", "Drops fall"]
    assert len(rain["audio"].samples) == 80000
    assert [e["tags"] for e in all_of("vggsound", tmp_path)] == [["people marching"]]
    assert [e["tags"] for e in all_of("audioset", tmp_path)] == [["speech", "gush, flow"]]
    assert [e["captions"] for e in all_of("musiccaps", tmp_path)] == [["Drums."]]
    read = [e["captions"] for split in ("train", "test") for e in all_of("ljspeech", tmp_path, split)]
    assert ["Doctor Smith"] in read


def test_shards_of_pairs(tmp_path: Path) -> None:
    reader = made("cc12m", tmp_path)
    assert [reader.count(split) for split in ("train", "test")] == [8, 8]
    third = next(iter(reader.examples("train", 3)))
    assert (third["captions"], third["image"][0, 0, 2]) == (["A Dog, 3"], 3)
    several = all_of("cc12m_interleaved", tmp_path)
    assert [e["captions"] for e in several] == [[f"A Dog, {4 * k + n}" for n in range(4)] for k in range(2)]
    assert several[0]["frames"].shape == (4, 40, 52, 3)
    tar = tmp_path / "cc12m" / "00000.tar"
    tar.write_bytes(tar.read_bytes()[:3000])
    with pytest.raises(MioError, match=r"00000\.tar"):
        list(reader.examples("train"))


def test_shards_of_texts(tmp_path: Path) -> None:
    for name in ("wikipedia", "redpajama_common_crawl", "redpajama_book"):
        reader = made(name, tmp_path)
        assert [reader.count(split) for split in ("train", "test")] == [59, 1]
        assert next(reader.examples("test"))["text"].startswith("Text number 49 ")
        assert [e["text"].split()[2] for e in reader.examples("train", 48, 51)] == ["48", "50", "51"]
    assert made("c4", tmp_path).count("test") == 4
    assert (made("mc4", tmp_path).count("train"), made("mc4", tmp_path).count("test")) == (3, 3)
    assert made("stack", tmp_path).count("train") == 2 * made("stack_markdown", tmp_path).count("train")
    (tmp_path / "c4/en/c4-train.00000-of-00001.json.gz").write_bytes(b"no gzip")
    assert "c4" in damaged(tmp_path / "c4", "c4")


def test_instructions(tmp_path: Path) -> None:
    both = [e for split in ("train", "test") for e in all_of("alpaca", tmp_path, split)]
    assert {e["context"] for e in both} == {"", "It rains. [TR]"}
    trees = [e for split in ("train", "test") for e in all_of("open_assistant", tmp_path, split)]
    assert [e["response"] for e in trees] == ["Best."]
    [task] = all_of("mbpp", tmp_path)
    assert task["response"] == "def add(a, b):\n    return a + b"
    assert all_of("flan_cot", tmp_path)[1]["task"] == "wmt16_translate/de-en"


def test_dense(tmp_path: Path) -> None:
    room = all_of("nyuv2", tmp_path)[0]
    assert room["image"].shape == (40, 52, 3)
    depth = read_depth(room["target"])[6:46]
    np.testing.assert_allclose(depth, np.linspace(0.5, 9.5, 40 * 52).reshape(40, 52), atol=0.021)
    assert made("nyuv2", tmp_path).count("test") == 1
    for name in ("flying_chairs", "mpi_sintel"):
        flow = all_of(name, tmp_path)[0]
        assert flow["frames"].shape == (2, 40, 52, 3)
        np.testing.assert_allclose(read_flow(flow["target"], 13.0)[6:46], MOTION, atol=0.06)
    walls = [e for split in ("train", "test") for e in all_of("taskonomy", tmp_path, split)]
    assert walls[0]["id"].endswith("allensville/point_0_view_0")


def test_edits_and_tracks(tmp_path: Path) -> None:
    night, _ = all_of("magicbrush", tmp_path)
    assert (night["instruction"], night["image"][0, 0, 2], night["target"][6, 0, 2]) == ("make it night", 1, 2)
    [boar] = all_of("got10k", tmp_path)
    assert (boar["label"], len(boar["boxes"])) == ("Wild Boar", 5)
    assert boar["boxes"][0] == [6, 4, 26, 20]
    assert boar["boxes"][-1] == [6, 10, 26, 26]
    assert [e["label"] for e in all_of("lasot", tmp_path)] == ["airplane"]


def test_videos(tmp_path: Path) -> None:
    pytest.importorskip("av")
    from mio_jax.data.media.video_files import read_frames, read_sound

    [one] = all_of("msrvtt", tmp_path)
    assert one["captions"] == ["a man runs", "somebody is running"]
    blue = one["frames"][..., 2].mean(axis=(1, 2))
    np.testing.assert_allclose(blue, [20, 60, 100, 140, 180], atol=8)  # frames 1, 3, 5, 7, 9 of ten, less or more
    assert [e["label"] for e in all_of("ucf101", tmp_path)] == ["apply eye makeup"]
    assert [e["label"] for e in all_of("something_something_v2", tmp_path)] == ["holding something"]
    assert [e["questions"] for e in all_of("msvd_qa", tmp_path, "test")] == [[["who runs?", "man"]]]
    file = tmp_path / "msrvtt/TrainValVideo/video0.mp4"
    late = read_frames(file, 2, start=1.0)[..., 2].mean()
    assert late > 110
    assert read_sound(file) is None
    with pytest.raises(MioError, match="no frame from second 9"):
        read_frames(file, 2, start=9.0)
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(MioError, match=r"video0\.mp4 is damaged"):
        list(made("msrvtt", tmp_path).examples("train"))


def test_pictures_between_examples(tmp_path: Path) -> None:
    shots, plain = all_of("mmicl", tmp_path)
    assert shots["turns"][0][0].count("<image>") == len(shots["pictures"]) == 2
    assert plain["turns"] == [["Describe it.", "A mat."]]
    assert not np.array_equal(shots["pictures"][0], plain["pictures"][0])
    for asked, places in (("<image1>图", ["data/vqa/0.png"]), ("<image0>图 <image0>图", ["data/vqa/0.png"] * 2)):
        row = {"input_text": asked, "input_image": places, "output_text": "A mat."}
        (tmp_path / "mmicl/prompts/vqa-promot-0-train_nature.json").write_text(json.dumps(row), encoding="utf-8")
        assert "a text shows the pictures" in damaged(tmp_path / "mmicl", "mmicl")
