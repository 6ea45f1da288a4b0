"""The engine of models that encode their inputs first, with a small Unified-IO 2."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.errors import MioError
from mio_jax.generate import SamplingConfig
from mio_jax.generate.encoded_engine import EncodedEngine
from mio_jax.nn.base import apply, init_params, split_model
from mio_jax.recipes.unified_io2.generation import encoded_decoding, grammar
from tests.recipes.unified_io2.test_rows import CONFIG, RECIPE, SPACE, sample

SPEC = RECIPE.resolve_model(CONFIG.model, SPACE)
SAMPLING = SamplingConfig(top_p=0.9)


def build(key: jax.Array) -> Any:
    return RECIPE.build_model(SPEC, key)


@pytest.fixture(scope="module")
def engine() -> EncodedEngine:
    params = init_params(build, jax.random.key(1))
    return EncodedEngine(split_model(build)[0], params, encoded_decoding(CONFIG, SPACE), SPACE)


PROMPTS = [sample(seed, bool(seed % 2), seed == 2, "text") for seed in range(3)]


def test_an_answer_depends_on_its_prompt_and_seed_alone(engine: EncodedEngine) -> None:
    together = engine.generate(PROMPTS, SAMPLING, max_new_tokens=6, seeds=[4, 5, 6])
    seeded = zip(PROMPTS, (4, 5, 6), strict=True)
    alone = [engine.generate([p], SAMPLING, max_new_tokens=6, seeds=[s])[0] for p, s in seeded]
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any(
        not np.array_equal(a, b)
        for a, b in zip(together, engine.generate(PROMPTS, SAMPLING, max_new_tokens=6, seeds=[7, 8, 9]), strict=True)
    )


@pytest.mark.parametrize(("kind", "count"), [("image", 64), ("audio", 100)])
def test_a_picture_or_a_sound_is_whole_and_of_its_own_codes(engine: EncodedEngine, kind: str, count: int) -> None:
    speaker = grammar(SPACE).replace(begin=kind)
    [ids] = engine.generate(PROMPTS[:1], SAMPLING, max_new_tokens=120, grammar=speaker)
    assert len(ids) == count
    assert {SPACE.modalities[i] for i in SPACE.modality_ids(ids)} == {kind}
    with pytest.raises(MioError, match=rf"an answer of {kind} has {count} tokens, more than max_new_tokens, 20"):
        engine.generate(PROMPTS[:1], max_new_tokens=20, grammar=speaker)


def test_a_head_that_is_not_there_is_refused() -> None:
    with pytest.raises(MioError, match="one of text, image, audio"):
        grammar(SPACE).replace(begin="video")


def test_scores_are_the_log_likelihoods_of_the_forward_pass(engine: EncodedEngine) -> None:
    answers = [np.asarray([17, 40, 9, SPACE.eos], np.int32), np.asarray([300, SPACE.eos], np.int32)]
    [first, second] = engine.score_batch(PROMPTS[:2], [answers, answers[:1]])
    assert first.shape == (2,)
    assert second.shape == (1,)
    model = apply(engine._graphdef, engine.params)
    for answer, found in zip(answers, first, strict=True):
        batch = {k: jnp.asarray(v) for k, v in engine.decoding.batch(PROMPTS[:1]).items()}
        n = len(answer)
        batch |= {
            "targets/text/inputs": jnp.asarray([[0, *answer[:-1]]]),
            "targets/text/targets": jnp.asarray([answer]),
            "targets/text/mask": jnp.ones((1, n), jnp.int32),
            "targets/text/pos_ids": jnp.arange(n)[None],
            "targets/text/segment_ids": jnp.ones((1, n), jnp.int32),
        }
        hidden, _ = model.hidden(batch)
        logp = jax.nn.log_softmax(model.logits("text", hidden["text"])[0])
        np.testing.assert_allclose(found, logp[np.arange(n), answer].sum(), rtol=1e-4)


def test_candidates_of_two_modalities_are_refused(engine: EncodedEngine) -> None:
    picture = np.full(64, SPACE.block("image").start, np.int32)
    with pytest.raises(MioError, match="of one modality, not of"):
        engine.score_batch(PROMPTS[:1], [[np.asarray([5, 1], np.int32), picture]])


def test_nothing_asked_is_nothing_answered(engine: EncodedEngine) -> None:
    assert engine.generate([], max_new_tokens=3) == []
    [none] = engine.score_batch(PROMPTS[:1], [[]])
    assert none.shape == (0,)
    assert dataclasses.is_dataclass(engine.decoding)
