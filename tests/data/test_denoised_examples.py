"""Denoised sequences hold their example: inputs and target put together are what was encoded."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mio_jax.config_denoising import DenoiserConfig, DenoisingConfig
from mio_jax.data.denoised_examples import DenoisedExamples, media_runs
from mio_jax.errors import MioError
from mio_jax.objectives.span_corruption import restore
from mio_jax.protocols import Example
from mio_jax.recipes.mio.denoising import denoising_ids
from mio_jax.recipes.mio.tokens import mio_token_space
from tests.recipes.mio.fakes import ByteText, tokenizers

SPACE = mio_token_space(ByteText.vocab_size, 10, 4, 10, 2, sentinels=40)
IDS = denoising_ids(tokenizers(), SPACE)
IMAGE, AUDIO = SPACE.span("image"), SPACE.span("audio")
ALL = DenoisingConfig(keep_inputs=1.0)
KINDS = ("text", "image", "audio")


def example(kinds: str, rng: np.random.Generator) -> Example:
    """t: text, i: an image of 4 codes, a: a sound of 3 frames in 2 layers, between bos and eos."""
    parts = [np.asarray([SPACE.bos])]
    for kind in kinds:
        if kind == "t":
            parts.append(rng.integers(16, 272, int(rng.integers(2, 25))))
        elif kind == "i":
            parts.append(np.asarray([IMAGE.open, *(SPACE.block("image").start + rng.integers(0, 10, 4)), IMAGE.close]))
        else:
            codes = SPACE.block("speech").start + rng.integers(0, 5, (2, 3)) + [[0], [5]]
            parts.append(np.asarray([AUDIO.open, *codes.reshape(-1), AUDIO.close]))
    tokens = np.concatenate([*parts, [SPACE.eos]]).astype(np.int32)
    return Example(tokens, SPACE.modality_ids(tokens), np.ones(len(tokens), np.float32))


def only(kind: str, **changes) -> DenoisingConfig:
    weights = {f"{name}_target": float(name == kind) for name in KINDS}
    return dataclasses.replace(ALL, **weights, **changes)


def split(made: Example) -> tuple[str, str, np.ndarray, np.ndarray]:
    """(modality, paradigm, inputs, target) of a denoised sequence that has bos, a prefix and eos."""
    assert made.tokens[0] == SPACE.bos
    assert made.tokens[-1] == SPACE.eos
    rest = made.tokens[1:-1]
    [(kind, paradigm, prefix)] = [
        (*key, ids) for key, ids in IDS.prefixes.items() if np.array_equal(rest[: len(ids)], ids)
    ]
    learned = made.loss_weights[1:-1] > 0
    border = int(np.flatnonzero(learned)[0])
    assert learned[border:].all()
    assert made.loss_weights[-1] == 1
    return kind, paradigm, rest[len(prefix) : border], rest[border:]


@given(st.text("tia", min_size=1, max_size=6), st.integers(0, 10**6))
def test_inputs_and_target_restore_the_example(kinds: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    original = example(kinds, rng)
    made = DenoisedExamples(SPACE, IDS, ALL)(original, rng)
    assert made is not None
    kind, paradigm, inputs, target = split(made)
    assert {"text": "t", "image": "i", "audio": "a"}[kind] in kinds
    if paradigm == "R" and kind != "text":  # a copy with holes stands behind the sentinel: take it away
        at = int(np.flatnonzero(inputs == IDS.sentinels[0])[0]) + 1
        copy, whole = inputs[at : at + len(target) - 1], target[1:]
        same = copy == whole
        assert (copy[~same] == IDS.mask).all()
        assert 0 < (~same).sum() < len(copy) - 2
        inputs = np.delete(inputs, slice(at, at + len(copy)))
    np.testing.assert_array_equal(restore(inputs, target, IDS.sentinels), original.tokens[1:-1])
    np.testing.assert_array_equal(made.modality_ids, SPACE.modality_ids(made.tokens))


def test_media_stay_whole_when_text_is_hidden() -> None:
    rng = np.random.default_rng(0)
    original = example("titat", rng)
    half = (DenoiserConfig("x", "X", 3.0, 0.5),)
    for seed in range(30):
        made = DenoisedExamples(SPACE, IDS, only("text", text=half))(original, np.random.default_rng(seed))
        assert made is not None
        _, _, inputs, target = split(made)
        assert [r.span.modality for r in media_runs(inputs, SPACE)] == ["image", "audio"]
        assert not media_runs(target, SPACE)


def test_layers_of_a_frame_are_hidden_together_and_what_was_seen_may_weigh_less() -> None:
    original = example("ta", np.random.default_rng(0))
    config = only("audio", reconstruct=1.0, audio_rate=0.5, seen_weight=0.25)
    made = DenoisedExamples(SPACE, IDS, config)(original, np.random.default_rng(1))
    assert made is not None
    _, paradigm, inputs, target = split(made)
    assert paradigm == "R"
    holes = np.flatnonzero(inputs == IDS.mask) - np.flatnonzero(inputs == AUDIO.open)[0] - 1
    frames = [h for h in holes if h < 3]
    assert sorted(holes) == sorted(frames + [f + 3 for f in frames])
    weights = made.loss_weights[-1 - len(target) : -1]
    assert weights[[0, 1, -1]].tolist() == [1, 1, 1]
    assert weights[2:-1].tolist() == [1.0 if k in holes else 0.25 for k in range(6)]


def test_sequential_media_are_made_from_the_rest_alone() -> None:
    original = example("ti", np.random.default_rng(0))
    made = DenoisedExamples(SPACE, IDS, only("image", reconstruct=0.0))(original, np.random.default_rng(1))
    assert made is not None
    _, paradigm, inputs, _ = split(made)
    assert paradigm == "S"
    assert inputs[-1] == IDS.sentinels[0]
    assert not media_runs(inputs, SPACE)
    dropped = dataclasses.replace(only("image", reconstruct=0.0), keep_inputs=0.0)
    made = DenoisedExamples(SPACE, IDS, dropped)(original, np.random.default_rng(1))
    assert made is not None
    assert split(made)[2].tolist() == [IDS.sentinels[0]]


def test_the_generator_decides_everything() -> None:
    original = example("tiat", np.random.default_rng(0))
    denoised = DenoisedExamples(SPACE, IDS, DenoisingConfig())
    made = [denoised(original, np.random.default_rng(seed)) for seed in (1, 1, *range(2, 12))]
    assert all(m is not None for m in made)
    np.testing.assert_array_equal(made[0].tokens, made[1].tokens)
    assert len({m.tokens.tobytes() for m in made}) > 8


def test_examples_without_a_target_are_left_out_and_prefixes_can_be() -> None:
    rng = np.random.default_rng(0)
    assert DenoisedExamples(SPACE, IDS, only("audio"))(example("ti", rng), rng) is None
    made = DenoisedExamples(SPACE, IDS, only("text", prefixes=False))(example("t", rng), rng)
    assert made is not None
    long = DenoisedExamples(SPACE, IDS, only("text"))(example("t", np.random.default_rng(0)), np.random.default_rng(0))
    assert long is not None
    assert len(IDS.prefixes["text", "R"]) == len("[Text] [R] ")


def test_what_cannot_be_read_is_said() -> None:
    with pytest.raises(MioError, match="not closed"):
        media_runs(np.asarray([20, IMAGE.open, 300]), SPACE)
    with pytest.raises(MioError, match="no sentinels"):
        denoising_ids(tokenizers(), mio_token_space(272, 10, 4, 10, 2))
