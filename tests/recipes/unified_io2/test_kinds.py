"""Every kind of task over records of every set that stands beside it in a mixture: from a folder to a training row."""

from __future__ import annotations

import dataclasses
import functools
import json
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mio_jax.config import DataConfig, ModelConfig, RunConfig, StageConfig
from mio_jax.data.shards import encode_examples
from mio_jax.data.sources import FOLDER_SOURCES, source
from mio_jax.recipes.unified_io2.denoising import corruption
from mio_jax.recipes.unified_io2.features import Sample, encode
from mio_jax.recipes.unified_io2.kinds import KINDS
from mio_jax.recipes.unified_io2.mixtures import instruction, pretraining
from mio_jax.recipes.unified_io2.prompts import PREFIXES
from mio_jax.recipes.unified_io2.row_arrays import lengths, rows, sample_arrays
from mio_tokenizers.audio.mel import segments_of
from mio_tokenizers.structured.extra_ids import LOCATION, read_boxes
from mio_tokenizers.structured.keypoints import read_keypoints
from mio_tokenizers.structured.labelled import read_labelled_boxes
from tests.data.made_sets import make
from tests.data.test_folder_sources import VIDEO
from tests.recipes.unified_io2.test_rows import SPACE, TOKENIZERS

# All modalities, histories among them, with the sounds and texts of the published model and little pictures.
CONFIG = RunConfig(
    recipe="unified_io2",
    model=ModelConfig(preset="unified_io2_tiny"),
    data=DataConfig(budgets=(900, 900), length=1800, row_examples=2, text_length=600),
)
ROWS = rows(CONFIG)
STAGE = StageConfig("pretrain", steps=1, objective="denoising", mixture=pretraining.NAME, batch_size=1)
CODES = {name: ROWS.spec.tokens_of(name) for name in ("image", "audio")}


class Pictures:
    """As many codes as the model makes, which tell the picture's shape and mean."""

    def encode(self, media: np.ndarray) -> np.ndarray:
        return np.full(CODES["image"], (media.shape[0] + int(media.mean())) % 200, np.int32)


class Sounds:
    """So many codes for each segment, which tell the segment's number."""

    def encode(self, media: Any) -> np.ndarray:
        layers = SPACE.block("audio").layers
        count = len(segments_of(media.samples, media.rate))
        return np.tile(np.repeat(np.arange(count), CODES["audio"] // layers), (layers, 1)).astype(np.int32)


STAND_INS = types.SimpleNamespace(image=Pictures(), audio=Sounds())
READABLE = sorted(
    {
        (row.set, kind)
        for row in (*pretraining.ROWS, *instruction.ROWS)
        if row.set in FOLDER_SOURCES
        for kind in row.kinds
    }
)


@pytest.fixture(scope="module")
def raw_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("raw")


@functools.cache
def records(name: str, raw_dir: Path) -> list[dict[str, Any]]:
    reader = source(name, folder=make(name, raw_dir))
    examples = [example for split in ("train", "test") for example in reader.examples(split)][:6]
    return encode_examples(examples, reader, STAND_INS, ("image", "audio", "mask"))


def usable(name: str, kind: str, raw_dir: Path) -> list[dict[str, Any]]:
    if name in VIDEO:
        pytest.importorskip("av")
    where = KINDS[kind].where
    return [record for record in records(name, raw_dir) if where is None or where(record)]


def words(content: list[Any], supervised: bool) -> str:
    return " ".join(s.value for s in content if s.kind == "text" and s.supervised == supervised)


def sample_of(content: list[Any], rng: np.random.Generator) -> Sample | None:
    sample = encode(content, TOKENIZERS, SPACE)
    corrupt = corruption(CONFIG, STAGE, TOKENIZERS, SPACE)
    assert corrupt is not None
    return corrupt(sample, rng) if sample.whole else sample


@pytest.mark.parametrize(("name", "kind"), READABLE)
def test_a_record_becomes_an_example(name: str, kind: str, raw_dir: Path) -> None:
    given = usable(name, kind, raw_dir)
    assert given, "the made-up set has no record that this kind can use"
    for number, record in enumerate(given[:3]):
        for seed in range(3):
            content = KINDS[kind].formatter(record, np.random.default_rng(seed), "base")
            again = KINDS[kind].formatter(record, np.random.default_rng(seed), "base")
            assert str(content) == str(again), "an example depends on the record and the generator alone"
            asked = words(content, False)
            whole = [s for s in content if s.kind.startswith("whole_")]
            if not whole:
                assert asked.startswith(tuple(PREFIXES.values()))
                assert "{" not in asked or "{thing}" in asked  # a brace that its author wrote
                answers = [s for s in content if s.supervised]
                assert len(answers) == 1
                [modality] = KINDS[kind].outputs.split()
                assert answers[0].kind == modality
                assert asked.startswith(f"[{modality.title()}]")
        sample = sample_of(content, np.random.default_rng(number))
        if sample is None:
            assert whole, "only a denoised example may have nothing to restore"
            continue
        arrays = sample_arrays(sample, ROWS.spec, ROWS.media)
        inputs, targets = lengths(arrays, ROWS.latents)
        assert inputs <= ROWS.sizes(sample)[0]
        assert 0 < targets == ROWS.sizes(sample)[1]
        row = ROWS.row([sample])
        assert (row["rows/inputs"] == 1).sum() == inputs


ANSWER_IN_PROMPT = {  # what is chosen from, what is marked, and a measure that a word may tell
    *("vqa_choices", "true_or_false", "pair_true_or_false", "instruction", "image_instruction", "language"),
    *("detection_of_classes", "localization", "box_relation", "grounded_choices", "grounded_reasons", "visual_dialog"),
}


@pytest.mark.parametrize(("name", "kind"), [pair for pair in READABLE if pair[1] not in ANSWER_IN_PROMPT])
def test_the_prompt_does_not_tell_the_answer(name: str, kind: str, raw_dir: Path) -> None:
    for record in usable(name, kind, raw_dir)[:3]:
        for seed in range(12):
            content = KINDS[kind].formatter(record, np.random.default_rng(seed), "base")
            answer = words(content, True)
            if answer:
                assert answer.lower() not in words(content, False).lower()


def one(name: str, kind: str, raw_dir: Path, seed: int = 0) -> list[Any]:
    return KINDS[kind].formatter(usable(name, kind, raw_dir)[0], np.random.default_rng(seed), "base")


def test_boxes_are_shares_of_the_padded_square(raw_dir: Path) -> None:
    """The picture of 40 x 52 lies 6 rows below the top of a square of 52."""
    wanted = np.array([4 + 6, 4, 24 + 6, 20]) / 52
    np.testing.assert_allclose(read_boxes(words(one("refcoco", "refexp", raw_dir), True)).items, [wanted], atol=0.004)
    (boxes, labels), dropped = read_labelled_boxes(words(one("coco", "detection", raw_dir), True))
    assert dropped == 0
    assert sorted(labels) == ["dog", "potted_plant"]
    np.testing.assert_allclose(boxes[labels.index("dog")], wanted, atol=0.004)
    pose = read_keypoints(words(one("coco_keypoints", "keypoints", raw_dir), True)).items
    np.testing.assert_allclose(pose.points[0], np.array([8 + 6, 10]) / 52, atol=0.004)
    assert pose.visible.tolist() == [True, False, False, False, False, True, *[False] * 11]
    track = one("got10k", "tracking", raw_dir)
    assert len(LOCATION.findall(words(track, False))) == 16
    assert len(LOCATION.findall(words(track, True))) == 4


def test_annotations_beyond_the_picture(raw_dir: Path) -> None:
    """Boxes are clipped; records of which nothing is left are not used, whatever else they have."""
    record = records("refcoco", raw_dir)[0]
    where = KINDS["refexp"].where
    assert where is not None
    for box, some in (([-5, -5, 24, 20], True), ([50, 4, 70, 20], False), ([4, 4, 4, 20], False)):
        changed = {**record, "box": json.dumps(box)}
        assert where(changed) == some
        if some:
            assert KINDS["refexp"].formatter(changed, np.random.default_rng(0), "base")
    changed = {**records("coco", raw_dir)[0], "boxes": json.dumps([[50, 4, 70, 20], [4, 4, 24, 20]])}
    content = KINDS["detection"].formatter(changed, np.random.default_rng(0), "base")
    assert read_labelled_boxes(words(content, True)).items[1] == ["potted_plant"]
    two = KINDS["box_relation"].where
    assert two is not None
    assert not two(changed)


def test_inpainting_learns_what_is_hidden(raw_dir: Path) -> None:
    content = one("coco", "inpainting", raw_dir)
    [hidden] = [s.value for s in content if s.kind == "hidden"]
    arrays = sample_arrays(encode(content, TOKENIZERS, SPACE), ROWS.spec, ROWS.media)
    learned = arrays["targets/image/loss_mask"].reshape(ROWS.spec.target_grid("image"))
    assert 0 < learned.mean() < 0.5
    rows_hidden = np.flatnonzero(hidden.any(1))
    middle = (rows_hidden.mean() + 6.5) / 52 * learned.shape[0]
    assert abs(np.flatnonzero(learned.any(1)).mean() + 0.5 - middle) < 1
    assert arrays["inputs/image/mask"].sum() < arrays["inputs/image/mask"].size


def test_sounds_in_segments(raw_dir: Path) -> None:
    """Ten seconds are two segments: the last is heard as the sound, the first as its history; one of them is made."""
    content = one("clotho", "audio_captioning", raw_dir)
    assert [len(s.value) for s in content if s.kind == "sound_history"] == [1]
    arrays = sample_arrays(encode(content, TOKENIZERS, SPACE), ROWS.spec, ROWS.media)
    assert arrays["inputs/audio_history/mask"].shape[0] == 1
    made = {int(one("clotho", "text_to_audio", raw_dir, seed)[-1].value[0, 0]) for seed in range(8)}
    assert made == {0, 1}
    assert len(usable("ljspeech", "speech", raw_dir)) == 1  # a longer sentence has no segment of its own


def test_frames_are_history_and_picture(raw_dir: Path) -> None:
    content = one("got10k", "tracking", raw_dir)
    arrays = sample_arrays(encode(content, TOKENIZERS, SPACE), ROWS.spec, ROWS.media)
    assert arrays["inputs/image_history/mask"].shape[0] == 4
    latents = ROWS.spec.image_history.latents
    text = arrays["inputs/text/mask"].sum() + arrays["inputs/image/mask"].sum()
    assert lengths(arrays, ROWS.latents)[0] == text + 4 * latents


def test_patches_are_drawn_in_every_item_of_a_history(raw_dir: Path) -> None:
    """Where an encoder has room for a part of the patches, as the published runs have."""
    config = dataclasses.replace(CONFIG, data=dataclasses.replace(CONFIG.data, patch_share=0.5))
    half, choose = rows(config), corruption(config, dataclasses.replace(STAGE, objective="causal"), TOKENIZERS, SPACE)
    assert choose is not None
    for name, kind, medium in (("got10k", "tracking", "image"), ("clotho", "audio_captioning", "audio")):
        content = one(name, kind, raw_dir)
        sample = choose(encode(content, TOKENIZERS, SPACE), np.random.default_rng(0))
        arrays = sample_arrays(sample, half.spec, half.media)
        whole = sample_arrays(encode(content, TOKENIZERS, SPACE), ROWS.spec, ROWS.media)
        for part in (f"inputs/{medium}", f"inputs/{medium}_history"):
            assert arrays[f"{part}/mask"].shape[-1] * 2 == whole[f"{part}/mask"].shape[-1]
        ids, mask = (arrays[f"inputs/{medium}_history/{key}"] for key in ("pos_ids", "mask"))
        assert mask.any(-1).all()
        for frame, (kept, there) in enumerate(zip(ids, mask.astype(bool), strict=True)):
            known = whole[f"inputs/{medium}_history/input"][frame]
            np.testing.assert_array_equal(arrays[f"inputs/{medium}_history/input"][frame][there], known[kept[there]])
        assert lengths(arrays, half.latents)[0] <= half.sizes(sample)[0]


def test_neutral_prompts_for_guidance(raw_dir: Path) -> None:
    asked = [words(one("coco", "text_to_image", raw_dir, seed), False) for seed in range(300)]
    share = np.mean(["An image of a random picture." in text for text in asked])
    assert 0.05 < share < 0.17


def test_translations_are_left_out(raw_dir: Path) -> None:
    assert all("translate" not in record["task"] for record in usable("flan_t0", "instruction", raw_dir))
    assert len(usable("flan_t0", "instruction", raw_dir)) < len(records("flan_t0", raw_dir))


def test_every_kind_has_a_set() -> None:
    """A kind that no row names could not be trained; the small sets' captioning of the web is a user's to choose."""
    assert set(KINDS) - {kind for _, kind in READABLE} <= {"noisy_captioning"}
