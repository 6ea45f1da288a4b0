"""The mixture of denoisers of this recipe: what is drawn, what is hidden, and that nothing of an example is lost."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mio_jax.config import DataConfig, ModelConfig, RunConfig, StageConfig
from mio_jax.config_denoising import DenoisingConfig
from mio_jax.errors import MioError
from mio_jax.objectives.span_corruption import restore
from mio_jax.protocols import Segment, Whole
from mio_jax.recipes.unified_io2.denoising import Corruption, corruption
from mio_jax.recipes.unified_io2.features import Sample, encode
from mio_jax.recipes.unified_io2.patch_choice import PatchChoice, task_mask
from mio_jax.recipes.unified_io2.prompts import PREFIXES
from mio_jax.recipes.unified_io2.row_arrays import lengths, rows, sample_arrays
from mio_tokenizers import Audio
from tests.recipes.unified_io2.test_rows import CONFIG, RECIPE, SPACE, TOKENIZERS

TEXT = TOKENIZERS.text
SENTINELS = [TEXT.sentinel(n) for n in range(200)]
PREFIX = {TEXT.special(text): key for key, text in PREFIXES.items()}
LENGTH = 40
ROWS = rows(
    dataclasses.replace(
        CONFIG,
        model=dataclasses.replace(CONFIG.model, variants=("dynamic_mask",)),
        data=dataclasses.replace(CONFIG.data, text_length=LENGTH),
    )
)


def whole(seed: int, parts: str, words: int = 8) -> Sample:
    """`parts`: t text, i picture, a sound; capitals have no codes."""
    rng = np.random.default_rng(seed)
    segments = []
    for part in parts:
        if part == "t":
            segments.append(Segment("whole_text", " ".join(f"word{rng.integers(99)}" for _ in range(words))))
        elif part in "iI":
            picture = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
            codes = rng.integers(0, SPACE.block("image").size, 64) if part == "i" else None
            segments.append(Segment("whole_image", Whole(picture, codes)))
        else:
            sound = Audio(rng.uniform(-0.5, 0.5, 16000).astype(np.float32), 16000)
            segments.append(Segment("whole_audio", Whole(sound, rng.integers(0, 200, (4, 25)))))
    return encode(segments, TOKENIZERS, SPACE)


def only(kind: str, **changes: float) -> DenoisingConfig:
    targets = {f"{name}_target": float(name == kind) for name in ("text", "image", "audio")}
    return DenoisingConfig(**{"keep_inputs": 1.0, **targets, **changes})


def denoised(sample: Sample, config: DenoisingConfig, seed: int, choose: bool = False) -> Sample:
    made = Corruption(TEXT, config, LENGTH, choose)(sample, np.random.default_rng(seed))
    assert made is not None
    assert not made.whole
    return made


def answered(sample: Sample) -> list[str]:
    return [kind for kind in ("text", "image", "audio") if getattr(sample, f"target_{kind}") is not None]


parts = st.sampled_from(["t", "ti", "it", "ta", "ita", "i", "a"])


@settings(max_examples=60, deadline=None)
@given(parts, st.integers(0, 10**6), st.integers(2, 9))
def test_inputs_and_target_restore_the_example(kinds: str, seed: int, words: int) -> None:
    before = whole(seed, kinds, words)
    after = denoised(before, DenoisingConfig(keep_inputs=1.0), seed)
    [target] = answered(after)
    kind, paradigm = PREFIX[int(after.text[0])]
    assert kind == target
    if target == "text":
        np.testing.assert_array_equal(restore(after.text[1:], after.target_text, SENTINELS), before.text)
        assert (after.image, after.sound) == (before.image, before.sound)
        return
    np.testing.assert_array_equal(after.text[1:], before.text)
    np.testing.assert_array_equal(getattr(after, f"target_{target}"), getattr(before, f"target_{target}"))
    shown = after.image if target == "image" else after.sound
    assert (shown is None) == (paradigm == "S")
    assert after.restores == ("" if paradigm == "S" else target)


@settings(max_examples=40, deadline=None)
@given(parts, st.integers(0, 10**6))
def test_every_draw_makes_a_row(kinds: str, seed: int) -> None:
    sample = denoised(whole(seed, kinds, 60), DenoisingConfig(seen_weight=0.25), seed)
    arrays = sample_arrays(sample, ROWS.spec, ROWS.media)
    inputs, targets = lengths(arrays)
    room = ROWS.sizes(sample)
    assert room[0] - 2 <= inputs <= room[0]
    assert targets == room[1]
    assert arrays["inputs/text/tokens"][-1] == TEXT.eos_id
    assert len(arrays["inputs/text/tokens"]) <= LENGTH
    row = ROWS.row([sample])
    assert row["targets/image/task_mask"].shape == (4, 64)


def test_the_encoder_sees_the_rest_of_a_picture_and_the_task_mask_says_where_it_did_not() -> None:
    before = whole(3, "i")
    all_of_it = sample_arrays(dataclasses.replace(before, whole=()), ROWS.spec, ROWS.media)
    after = denoised(before, only("image", reconstruct=1.0, image_rate=0.6, seen_weight=0.5), 5)
    arrays = sample_arrays(after, ROWS.spec, ROWS.media)
    ids, mask = arrays["inputs/image/pos_ids"], arrays["targets/image/task_mask"]
    np.testing.assert_array_equal(arrays["inputs/image/input"], all_of_it["inputs/image/input"][ids])
    np.testing.assert_array_equal(np.flatnonzero(mask == 0), np.sort(ids))  # both grids are 8 x 8 here
    assert len(ids) in (25, 26)
    np.testing.assert_array_equal(arrays["targets/image/loss_mask"], np.where(mask, 1, np.float32(0.5)))
    np.testing.assert_array_equal(arrays["targets/image/codes"], before.target_image)


def test_a_time_of_a_layered_sound_is_hidden_where_most_of_its_patches_are() -> None:
    hidden = np.zeros((4, 8), bool)
    hidden[1, :5] = hidden[2, :4] = hidden[3] = True
    mask = task_mask(hidden.reshape(-1), (4, 8), (25, 4), layers=4).reshape(25, 4)
    assert (mask == mask[:, :1]).all()
    assert mask[[0, 8, 15, 22], 0].tolist() == [0, 1, 0, 1]
    np.testing.assert_array_equal(task_mask(hidden.reshape(-1), (4, 8), (4, 8)), hidden.reshape(-1))


def near(count: int, total: int, share: float) -> bool:
    """Within five standard deviations of a binomial."""
    return abs(count - total * share) < 5 * np.sqrt(total * share * (1 - share))


def test_draws_are_distributed_as_the_config_says() -> None:
    sample, config = whole(0, "tia", 30), DenoisingConfig(image_target=2.0, reconstruct=0.3)
    made = [denoised(sample, config, seed) for seed in range(2000)]
    kinds = Counter(PREFIX[int(one.text[0])] for one in made)
    by_target = Counter()
    for (target, _), n in kinds.items():
        by_target[target] += n
    assert near(by_target["image"], 2000, 0.5)
    assert near(by_target["audio"], 2000, 0.25)
    assert near(kinds["image", "R"], by_target["image"], 0.3)
    assert near(kinds["audio", "R"], by_target["audio"], 0.3)
    for paradigm, share in (("R", 2 / 7), ("S", 1 / 7), ("X", 4 / 7)):
        assert near(kinds["text", paradigm], by_target["text"], share)
    others = [one for one in made if "audio" not in answered(one)]
    assert near(sum(one.sound is not None for one in others), len(others), config.keep_inputs)
    hidden = [
        len(one.target_text) - np.isin(one.target_text, SENTINELS).sum() for one in made if one.target_text is not None
    ]
    rates = [d.rate for d in config.text]
    assert np.mean(hidden) / min(len(sample.text), LENGTH - 3) == pytest.approx(np.mean(rates), rel=0.1)


def test_the_generator_alone_decides() -> None:
    sample = whole(1, "tia")
    made = [denoised(sample, DenoisingConfig(), seed, choose=True) for seed in (4, 4, *range(5, 15))]
    first, second = (sample_arrays(one, ROWS.spec, ROWS.media) for one in made[:2])
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[key], second[key]) for key in first)
    assert len({one.tobytes() + one.restores.encode() for one in made}) > 5


def test_long_documents_give_a_window() -> None:
    sample = whole(2, "t", 200)
    starts = set()
    for seed in range(20):
        after = denoised(sample, only("text"), seed)
        back = restore(after.text[1:], after.target_text, SENTINELS)
        assert len(back) == LENGTH - 3
        [start] = [i for i in range(len(sample.text)) if np.array_equal(sample.text[i : i + len(back)], back)]
        starts.add(start)
    assert len(starts) > 10


def test_what_cannot_be_a_target_is_only_shown_and_other_tasks_stay_as_they_are() -> None:
    assert all(answered(denoised(whole(0, "tI"), DenoisingConfig(), seed)) == ["text"] for seed in range(20))
    assert Corruption(TEXT, only("audio"), LENGTH)(whole(0, "ti"), np.random.default_rng(0)) is None
    assert Corruption(TEXT, only("text"), LENGTH)(whole(0, "I"), np.random.default_rng(0)) is None
    asks = encode([Segment("text", "[Text] [S] go on"), Segment("text", "yes", supervised=True)], TOKENIZERS, SPACE)
    assert Corruption(TEXT, DenoisingConfig(), LENGTH)(asks, np.random.default_rng(0)) is asks
    marked = encode([Segment("whole_text", "all of <extra_id_3> is")], TOKENIZERS, SPACE)
    assert Corruption(TEXT, DenoisingConfig(), LENGTH)(marked, np.random.default_rng(0)) is None
    bare = denoised(whole(0, "ti"), only("image", prefixes=0), 1)
    np.testing.assert_array_equal(bare.text, whole(0, "ti").text)


def test_a_share_of_the_patches_is_drawn_for_every_task() -> None:
    data = dataclasses.replace(CONFIG.data, patch_share=0.5)
    config = dataclasses.replace(CONFIG, data=data)
    half, stage = rows(config), StageConfig(mixture="x", batch_size=1)
    assert corruption(CONFIG, stage, TOKENIZERS, SPACE) is None
    draw = corruption(config, stage, TOKENIZERS, SPACE)
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    segments = [Segment("text", "[Text] [S] what"), Segment("pixels", picture), Segment("text", "a", supervised=True)]
    sample = encode(segments, TOKENIZERS, SPACE)
    made = [draw(sample, np.random.default_rng(seed)) for seed in (0, 1)]
    seen = [sample_arrays(one, half.spec, half.media)["inputs/image/pos_ids"] for one in made]
    assert [len(ids) for ids in seen] == [32, 32]
    assert set(seen[0]) != set(seen[1])
    assert half.sizes(made[0])[0] == half.sizes(sample)[0] == lengths(sample_arrays(made[0], half.spec, half.media))[0]
    assert half.row(made)["inputs/image/input"].shape == (4, 32, 192)
    with pytest.raises(MioError, match="none were drawn"):
        half.row([sample])
    with pytest.raises(MioError, match="a whole text asks for nothing"):
        half.row([draw(whole(0, "t"), np.random.default_rng(0))])
    assert dataclasses.replace(sample, image_choice=PatchChoice(1, 0.75)).image_choice is not None


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([Segment("whole_text", "a"), Segment("text", "b", supervised=True)], "asks for nothing itself"),
        ([Segment("whole_text", "a"), Segment("text", "b")], "has one text"),
        ([Segment("whole_text", "a"), Segment("whole_text", "b")], "two whole texts"),
        ([Segment("whole_image", Whole(np.zeros((4, 4, 3), np.uint8), None))] * 2, "two of image"),
    ],
)
def test_examples_that_contradict_themselves_are_refused(segments: list[Segment], message: str) -> None:
    with pytest.raises(MioError, match=message):
        encode(segments, TOKENIZERS, SPACE)


def test_the_patch_share_is_checked() -> None:
    with pytest.raises(MioError, match="patch_share is 0"):
        DataConfig(patch_share=0.0)
    assert (
        RECIPE.rows(
            RunConfig(
                recipe="unified_io2",
                model=ModelConfig(preset="unified_io2_l"),
                data=DataConfig(budgets=(864, 1280), length=2144, patch_share=0.5),
            )
        ).media.samples("image")
        == 288
    )
