"""From records to rows: samples, their sizes, packed rows whose loss is that of single examples."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mio_jax.config import DataConfig, ModelConfig, RunConfig, TokenizersConfig
from mio_jax.errors import MioError
from mio_jax.nn.base import apply, init_params, split_model
from mio_jax.protocols import Segment, load_recipe
from mio_jax.recipes.unified_io2.features import Sample, encode, encode_answer, encode_prompt, parse
from mio_jax.recipes.unified_io2.loss import loss as loss_of_examples
from mio_jax.recipes.unified_io2.packed import PackedShape, packed_hidden
from mio_jax.recipes.unified_io2.row_arrays import Rows, lengths, prompt_batch, sample_arrays
from mio_jax.recipes.unified_io2.tokens import published_space, token_space
from mio_tokenizers import Audio, load_set

RECIPE = load_recipe("unified_io2")
TOKENIZERS = load_set(TokenizersConfig(text="unified_io2:bundled:text_tiny"))
SPACE = token_space(TOKENIZERS)
CONFIG = RunConfig(
    recipe="unified_io2",
    model=ModelConfig(preset="unified_io2_quickstart", dim=16, heads=2, head_dim=8, mlp_dim=16, depth=1),
    data=DataConfig(budgets=(200, 260), length=460, row_examples=4, text_length=24),
)
ROWS = RECIPE.rows(CONFIG)
SEED = st.integers(0, 2**32 - 1)


def sample(seed: int, image: bool, sound: bool, says: str, words: int = 5) -> Sample:
    rng = np.random.default_rng(seed)
    segments = [Segment("text", "[Text] [S] " + "word " * words)]
    if image:
        segments.append(Segment("pixels", rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)))
    if sound:
        segments.append(Segment("sound", Audio(rng.uniform(-0.5, 0.5, 16000).astype(np.float32), 16000)))
    target = {
        "text": "a cat " * int(rng.integers(1, 4)),
        "image": rng.integers(0, SPACE.block("image").size, 64),
        "audio": rng.integers(0, SPACE.block("audio").codes_per_layer, (4, 25)),
    }[says]
    return encode([*segments, Segment(says, target, supervised=True)], TOKENIZERS, SPACE)


samples = st.builds(
    sample, SEED, st.booleans(), st.booleans(), st.sampled_from(["text", "image", "audio"]), st.integers(0, 30)
)


def test_the_published_space_has_the_published_numbers() -> None:
    space = published_space()
    assert [space.block(name).size for name in ("text", "image", "audio")] == [33225, 16384, 8192]


@settings(max_examples=20, deadline=None)
@given(samples)
def test_sizes_are_those_of_the_arrays(one: Sample) -> None:
    inputs, targets, slots = ROWS.sizes(one)
    assert (inputs, targets) == lengths(sample_arrays(one, ROWS.spec, ROWS.media))
    assert slots == 1


@settings(max_examples=10, deadline=None)
@given(st.lists(samples, min_size=1, max_size=3))
def test_rows_hold_their_examples_in_order(some: list[Sample]) -> None:
    wide = Rows(ROWS.spec, ROWS.media, (400, 400, 4))
    row = wide.row(some)
    sizes = np.asarray([wide.sizes(one) for one in some])
    for side, name in ((0, "rows/inputs"), (1, "rows/targets")):
        counts = np.bincount(row[name], minlength=len(some) + 1)
        np.testing.assert_array_equal(counts[1:], sizes[:, side])
    assert row["segment_ids"].shape == (800,)
    assert not any(row[key][len(some) :].any() for key in row if key.startswith(("inputs/", "targets/")))


def test_a_row_that_is_too_full_is_refused() -> None:
    with pytest.raises(MioError, match="does not fit in a row of 200 x 260 x 4"):
        ROWS.row([sample(i, True, False, "image") for i in range(4)])


@pytest.mark.parametrize("kind", ["text", "image", "audio"])
def test_answers_come_back(kind: str) -> None:
    one = sample(3, False, False, kind)
    value = {
        "text": "a cat in a hat",
        "image": one.target_image,
        "audio": np.random.default_rng(0).integers(0, SPACE.block("audio").codes_per_layer, (4, 25)).astype(np.int32),
    }[kind]
    ids = encode_answer([Segment(kind, value)], TOKENIZERS, SPACE)
    assert {SPACE.modalities[i] for i in SPACE.modality_ids(ids)} == {kind}
    [back] = parse(ids, TOKENIZERS, SPACE).segments
    assert back.kind == kind
    np.testing.assert_array_equal(np.asarray(back.value), np.asarray(value))


def test_ids_of_two_modalities_or_of_half_a_time_are_an_error_of_the_answer() -> None:
    audio = SPACE.block("audio").start
    assert "image and text" in parse([5, SPACE.block("image").start], TOKENIZERS, SPACE).error
    assert "times of 4 layers" in parse([audio, audio + 256], TOKENIZERS, SPACE).error
    assert "one layer" in parse([audio] * 4, TOKENIZERS, SPACE).error


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ([Segment("image", np.zeros(64, np.int32))], "'image' cannot be an input"),
        ([Segment("pixels", np.zeros((4, 4, 3), np.uint8), True)], "'pixels' cannot be a target"),
        ([Segment("pixels", np.zeros((4, 4, 3), np.uint8))] * 2, "two of image"),
        ([Segment("audio", np.zeros((3, 25), np.int32), True)], "are not 4 layers of"),
    ],
)
def test_what_the_model_has_no_place_for_is_refused(segments: list[Segment], message: str) -> None:
    with pytest.raises(MioError, match=message):
        encode(segments, TOKENIZERS, SPACE)


def test_another_text_tokenizer_is_refused_with_the_remedy() -> None:
    with pytest.raises(MioError, match=r"set tokenizers\.text to unified_io2:FILE"):
        token_space(load_set(TokenizersConfig()))


def test_budgets_must_be_two() -> None:
    with pytest.raises(MioError, match=r"Unified-IO 2 needs two"):
        RECIPE.rows(RunConfig(recipe="unified_io2", model=CONFIG.model))


def test_prompts_have_inputs_alone_and_equal_ones_are_known() -> None:
    one, same, other = (sample(seed, True, False, says) for seed, says in ((1, "text"), (1, "image"), (2, "text")))
    assert one.tobytes() == same.tobytes() != other.tobytes()
    batch = prompt_batch([one, other], CONFIG)
    assert {name.split("/")[0] for name in batch} == {"inputs"}
    assert all(len(array) == 2 for array in batch.values())
    shown = [Segment("text", "[Text] [S] a"), Segment("text", "answer", supervised=True)]
    assert encode_prompt(shown, TOKENIZERS, SPACE).target_text is None


def test_the_loss_of_packed_rows_is_that_of_their_examples() -> None:
    spec = RECIPE.resolve_model(CONFIG.model, SPACE)

    def build(key: jax.Array) -> Any:
        return RECIPE.build_model(spec, key)

    model = apply(split_model(build)[0], jax.jit(partial(init_params, build))(jax.random.key(0)))
    groups = [
        [sample(1, True, False, "text"), sample(2, False, False, "image"), sample(3, False, True, "text")],
        [sample(4, False, False, "audio"), sample(5, True, False, "image")],
    ]
    made = [ROWS.row(group) for group in groups]
    batch = {name: jnp.asarray(np.stack([row[name] for row in made])) for name in made[0]}
    packed, packed_sums = jax.jit(partial(RECIPE.loss, z_loss=1e-4))(model, batch)
    media = {name: value for name, value in batch.items() if name.startswith(("inputs/", "targets/"))}
    flat = {name: value.reshape(-1, *value.shape[2:]) for name, value in media.items()}
    single, sums = jax.jit(partial(loss_of_examples, z_loss=1e-4))(model, flat)
    np.testing.assert_allclose(packed, single, rtol=1e-5)
    for name, value in sums.items():
        np.testing.assert_allclose(packed_sums[name], value, rtol=1e-5)
    assert packed_sums["overflow/inputs"] == packed_sums["overflow/targets"] == 0


@pytest.mark.parametrize(("kind", "place"), [("audio", 30), ("image", 20)])
def test_a_code_is_not_seen_before_it_is_said(kind: str, place: int) -> None:
    spec = RECIPE.resolve_model(CONFIG.model, SPACE)

    def build(key: jax.Array) -> Any:
        return RECIPE.build_model(spec, key)

    model = apply(split_model(build)[0], jax.jit(partial(init_params, build))(jax.random.key(0)))
    row = ROWS.row([sample(4, False, False, "audio"), sample(2, False, False, "image")])
    batch = {k: jnp.asarray(v) for k, v in row.items() if k.startswith(("inputs/", "targets/"))}
    name, example = f"targets/{kind}/codes", ["audio", "image"].index(kind)
    changed = batch | {name: batch[name].at[example, place].add(1)}
    shape, owner = PackedShape(1, *ROWS.budgets[:2]), jnp.zeros(ROWS.budgets[2], jnp.int32)
    run = jax.jit(lambda model, batch: packed_hidden(model, batch, owner, shape).hidden[kind][example])
    before, after = (run(model, b) for b in (batch, changed))
    np.testing.assert_array_equal(before[: place + 1], after[: place + 1])  # the state that says it included
    assert np.abs(before[place + 1] - after[place + 1]).max() > 0.01


def test_a_record_without_its_media_says_what_to_do(tmp_path: Path) -> None:
    from mio_jax.recipes.unified_io2 import tasks

    with pytest.raises(MioError, match=r"set data.keep_media .* mio data prepare --force"):
        tasks.image_to_text({"id": "x", "caption": "a"}, np.random.default_rng(0), "base")
