"""Whole examples: what becomes of pictures, sound, boxes and texts, with and without augmentation; and batches."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mio_jax.errors import MioError
from mio_jax.recipes.unified_io2 import preprocessing as pre
from mio_jax.recipes.unified_io2.batching import batch, schema
from mio_jax.recipes.unified_io2.examples import MediaExample, Preprocessor, video_fields
from mio_tokenizers.audio.mel import MelSpec
from mio_tokenizers.base import Audio
from mio_tokenizers.structured.extra_ids import read_boxes
from mio_tokenizers.structured.labelled import read_labelled_boxes
from mio_tokenizers.text import ExtendedTextTokenizer

TOY = Path(__file__).parents[2] / "golden" / "unified-io-2" / "toy_llama_style.model"
SMALL = pre.Sizes(
    image=64, history=32, target=32, frames=2, image_samples=12, history_samples=1.0, audio_samples=1.0,
    audio_history_samples=0.5, text_inputs=80, text_targets=40, segment_seconds=0.504,
    mel=MelSpec(rate=4000, n_fft=128, hop=32, mels=32, high=2000.0),
)  # fmt: skip
RNG = np.random.default_rng(0)


def picture(h: int = 40, w: int = 60) -> np.ndarray:
    return RNG.integers(1, 256, (h, w, 3)).astype(np.uint8)


def tone(seconds: float, rate: int = 4000) -> Audio:
    return Audio(np.sin(np.arange(round(seconds * rate)) * 0.3).astype(np.float32), rate)


@pytest.fixture(scope="module")
def prepare() -> Preprocessor:
    return Preprocessor(ExtendedTextTokenizer.load(TOY), SMALL)


def test_published_sizes() -> None:
    shapes = {key: shape for key, (shape, _) in schema(pre.FULL).items()}
    assert shapes["inputs/image/input"] == (576, 768)
    assert shapes["inputs/image_history/input"] == (4, 256, 768)
    assert shapes["inputs/audio/input"] == (128, 256)
    assert shapes["inputs/audio_history/mask"] == (4, 128)
    assert shapes["targets/image/image"] == (256, 256, 3)
    assert shapes["targets/image/mask"] == (1024,)
    assert shapes["targets/audio/audio"] == (256, 128, 1)
    assert shapes["targets/audio/loss_mask"] == (512,)
    assert [pre.INSTRUCTION.samples(n) for n in pre.FULL.patches] == [504, 224, 112, 112]
    assert [pre.PRETRAINING.samples(n) for n in pre.FULL.patches] == [288, 128, 64, 64]
    assert pre.FULL.segment == 65280


def everything() -> MediaExample:
    return MediaExample(
        prompt="[Image] [S] the {dog} of <image_input>",
        **video_fields(np.stack([picture() for _ in range(3)]), tone(1.6)),
        target_text=["{dog}", ""],
        target_image=picture(33, 20),
        target_audio=tone(0.5),
        boxes={"dog": np.array([4, 6, 30, 50])},
    )


@pytest.mark.parametrize("seed", [0, 7])
def test_every_medium_at_once(prepare: Preprocessor, seed: int) -> None:
    made = prepare(everything(), np.random.default_rng(seed))
    full = batch([made], SMALL)
    assert set(full) == set(schema(SMALL))
    assert set(made) == {*schema(SMALL), "meta/image_info"}
    for key, (shape, dtype) in schema(SMALL).items():
        assert full[key].shape == (1, *shape), key
        assert full[key].dtype == dtype, key
        assert np.isfinite(full[key]).all(), key
    text = prepare.tokenizer.decode(made["inputs/text/tokens"])
    (box,), dropped = read_boxes(text)
    assert text.startswith("[Image] [S] the <extra_id_")
    assert dropped == 0
    assert (box[2:] > box[:2]).all()
    assert made["targets/text/segment_ids"].max() == 2
    assert made["targets/text/mask"].tolist() == [1] * 5 + [0]  # four tokens and EOS; an empty answer


def test_the_same_generator_gives_the_same_features(prepare: Preprocessor) -> None:
    example = everything()
    one, two = (prepare(example, np.random.default_rng(3)) for _ in range(2))
    other = prepare(example, np.random.default_rng(4))
    assert all(np.array_equal(one[k], two[k]) for k in one)
    assert any(one[k].shape != other[k].shape or not np.array_equal(one[k], other[k]) for k in one)


def test_boxes_are_written_as_the_model_sees_them(prepare: Preprocessor) -> None:
    sizes = dataclasses.replace(SMALL, image_samples=1.0)
    still = Preprocessor(prepare.tokenizer, sizes)
    boxes = np.array([[0, 0, 40, 60], [10, 15, 30, 45]])
    made = still(
        MediaExample(
            prompt="[Text] [S] find all",
            image=picture(),
            target_text="{found}",
            boxes={"found": boxes},
            labels={"found": ["cat", "dog"]},
        )
    )
    text = still.tokenizer.decode(made["targets/text/targets"])
    (found, labels), dropped = read_labelled_boxes(text)
    assert (labels, dropped) == (["cat", "dog"], 0)
    # 60 wide becomes 64, 40 high becomes 42 with 11 rows of padding above.
    wanted = boxes * (64 / 60) + [11, 0, 11, 0]
    np.testing.assert_allclose(found * 64, wanted, atol=64 / 999 + 0.01)


def test_a_named_box_is_never_cropped_away(prepare: Preprocessor) -> None:
    example = MediaExample(
        prompt="[Text] [S] name {box}", image=picture(20, 300), boxes={"box": np.array([0, 296, 20, 300])}
    )
    for seed in range(10):
        text = prepare.tokenizer.decode(prepare(example, np.random.default_rng(seed))["inputs/text/tokens"])
        assert len(read_boxes(text).items) == 1


def test_aligned_targets_share_the_crop(prepare: Preprocessor) -> None:
    """A picture as its own target: both show the same part, whatever the crop."""
    ramp = np.repeat(np.linspace(0, 1, 300, dtype=np.float32)[None, :, None], 80, axis=0).repeat(3, axis=2)
    sizes = dataclasses.replace(SMALL, image_samples=1.0)
    both = Preprocessor(prepare.tokenizer, sizes)
    for seed in range(5):
        made = both(
            MediaExample(prompt="[Image] [S] copy", image=ramp, target_image=ramp, aligned=True),
            np.random.default_rng(seed),
        )
        pixels = made["inputs/image/input"].reshape(4, 4, 16, 16, 3) * pre.CLIP_STD + pre.CLIP_MEAN
        square = pixels.transpose(0, 2, 1, 3, 4).reshape(64, 64, 3)[::2, ::2]
        inside = made["targets/image/mask"].reshape(4, 4).repeat(8, 0).repeat(8, 1) == 1
        target = (made["targets/image/image"] + 1) / 2
        assert np.abs(target - square)[inside].mean() < 0.05


def test_inpainting_hides_and_learns_the_same_part(prepare: Preprocessor) -> None:
    hole = np.zeros((64, 64), bool)
    hole[16:48, 16:48] = True
    made = Preprocessor(prepare.tokenizer, dataclasses.replace(SMALL, image_samples=1.0))(
        MediaExample(
            prompt="[Image] [S] fill", image=(image := picture(64, 64)), hidden=hole, target_image=image, aligned=True,
            learned=hole,
        )
    )  # fmt: skip
    assert made["inputs/image/mask"].reshape(4, 4).tolist() == [[1] * 4, [1, 0, 0, 1], [1, 0, 0, 1], [1] * 4]
    assert made["targets/image/loss_mask"].reshape(4, 4).tolist() == [[0] * 4, [0, 1, 1, 0], [0, 1, 1, 0], [0] * 4]
    assert made["targets/image/mask"].all()


def test_long_sound_becomes_a_history(prepare: Preprocessor) -> None:
    made = prepare(MediaExample(prompt="[Text] [S] hear", audio=tone(1.4, 8000)), np.random.default_rng(0))
    assert made["inputs/audio_history/input"].shape == (2, 4, 256)
    assert made["inputs/audio/mask"].sum() > 0
    with pytest.raises(MioError, match="4 segments of earlier sound; the model takes 1 to 2"):
        prepare(MediaExample(prompt="x", audio=tone(2.6)), np.random.default_rng(0))


def test_a_silent_part_of_a_video_is_masked(prepare: Preprocessor) -> None:
    sound = tone(1.5)
    sound.samples[: len(sound.samples) // 3] = 0
    made = prepare(
        MediaExample(prompt="[Text] [S] x", **video_fields(np.stack([picture()] * 3), sound)), np.random.default_rng(0)
    )
    assert not made["inputs/audio_history/mask"][0].any()
    assert made["inputs/audio_history/mask"][1].any()


def test_video_fields_take_the_asked_frame() -> None:
    frames = np.stack([np.full((8, 8, 3), 50 + i, np.uint8) for i in range(5)])
    fields = video_fields(frames, shown=2)
    assert fields["image"][0, 0, 0] == 52
    assert [f[0, 0, 0] for f in fields["image_history"]] == [50, 51, 53, 54]


def test_batches_fill_missing_media_with_zeros(prepare: Preprocessor) -> None:
    text = prepare(MediaExample(prompt="[Text] [S] the cat", target_text="sat"))
    rng = np.random.default_rng(0)
    seen = prepare(MediaExample(prompt="[Text] [S] x", image=picture(), image_history=[picture()]), rng)
    made = batch([text, seen], SMALL)
    assert not made["inputs/image/mask"][0].any()
    assert made["inputs/image/mask"][1].any()
    assert made["inputs/image_history/mask"][1, 0].any()
    assert not made["inputs/image_history/mask"][1, 1].any()
    assert not made["targets/image/mask"].any()
    small = batch([text], SMALL, inputs=("text",), targets=("text",))
    assert {k.split("/")[1] for k in small} == {"text"}
    for examples, message in (([seen], "the model was built without it"), ([], "at least one")):
        with pytest.raises(MioError, match=message):
            batch(examples, SMALL, inputs=("text",), targets=("text",))
    with pytest.raises(MioError, match="does not fit"):
        batch([seen], dataclasses.replace(SMALL, image_samples=4))


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ({"image": np.zeros((1, 0, 3), np.uint8)}, "1x0"),
        ({"image": np.zeros((4, 4), np.uint8)}, r"must be \[height, width, 3\]"),
        ({"image": np.full((4, 4, 3), np.nan)}, r"numbers in \[0, 1\]"),
        ({"image": np.full((4, 4, 3), 2.0)}, r"numbers in \[0, 1\]"),
        ({"image_history": [np.zeros((4, 4, 3), np.uint8)] * 3}, "3 history frames; the model takes 1 to 2"),
        ({"audio": Audio(np.full(9, np.nan, np.float32), 16000)}, "NaN"),
        ({"audio": Audio(np.zeros(9, np.float32), 16000)}, "silent"),
        ({"audio": Audio(np.ones(9, np.float32), 0)}, "0 Hz"),
        ({"audio_history": [Audio(np.ones(9, np.float32), 16000)]}, "without audio"),
        ({"target_audio": Audio(np.ones(16000, np.float32), 4000)}, "a target sound of 8 segments"),
        ({"boxes": {"box": np.array([0, 0, 1, 1])}}, "no image that they are in"),
        ({"image": np.ones((9, 9, 3), np.uint8), "boxes": {"a": np.array([0, 0, 99, 99])}}, "box 0"),
        ({"image": np.ones((9, 9, 3), np.uint8), "boxes": {"a": np.array([2, 2, 2, 2])}}, "covers nothing"),
        (
            {"image": np.ones((9, 9, 3), np.uint8), "boxes": {"a": np.array([[0, 0, 2, 2]])}, "labels": {"a": []}},
            "0 labels",
        ),
        ({"target_image": np.ones((9, 9, 3), np.uint8), "aligned": True}, "needs the image"),
    ],
)  # fmt: skip
def test_bad_examples_are_named(prepare: Preprocessor, example: dict[str, Any], message: str) -> None:
    with pytest.raises(MioError, match=message):
        prepare(MediaExample(prompt="[Text] [S] {a} {box}", **example), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pre.Sizes(image=100), "sizes.image is 100"),
        (lambda: pre.Sizes(frames=9), "sizes.frames is 9"),
        (lambda: pre.Sizes(image_samples=577), "577 of 576"),
        (lambda: pre.Sizes(segment_seconds=4.0), "does not divide"),
    ],
)
def test_bad_sizes_are_named(call: Callable[[], pre.Sizes], message: str) -> None:
    with pytest.raises(MioError, match=message):
        call()


def test_the_page_is_true() -> None:
    """The Python of docs/unified_io2_data.md runs, with the toy vocabulary in the place of LLaMA's."""
    page = (Path(__file__).parents[3] / "docs" / "unified_io2_data.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block.replace("unified_io2:tokenizer.model", f"unified_io2:{TOY}"), names)
    assert names["arrays"]["inputs/image/input"].shape == (1, 504, 768)
    read, dropped = read_boxes(names["text"].decode(names["arrays"]["inputs/text/tokens"][0]))
    assert (len(read), dropped) == (1, 0)
