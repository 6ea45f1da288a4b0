"""Unified-IO 2's cached decoding: greedy text, guided pictures, sound, and scores of answer options.

The pixels and spectrograms that the codes decode to belong to the tokenizers' rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.generate.encoded import generate_encoded, score_encoded
from mio_jax.generate.encoded_engine import EncodedEngine
from mio_jax.generate.guidance import Guided
from mio_jax.generate.sampling import SamplingConfig
from mio_jax.nn.base import params_of, split
from mio_jax.recipes.unified_io2.decoding import END_OF_TEXT, TargetDecoder, bind, guided_batch
from mio_jax.recipes.unified_io2.generation import grammar
from mio_jax.recipes.unified_io2.processors import given_codes
from mio_jax.recipes.unified_io2.tokens import _space
from tests.parity.uio2 import NAME, OFFSET, Fixtures, assert_close, batch_of, erf

pytestmark = pytest.mark.golden_row(NAME, "generation", files=["generation.npz"])
GREEDY = SamplingConfig(greedy=True)
PIXELS = {"image_cfg_pixels_bhwc01", "audio_greedy_spectrogram"}
HERE = {
    *("text_greedy_ids", "text_greedy_step_logits", "cfg_alpha", "image_cfg_ids", "image_cfg_first_steps_logits"),
    *("audio_greedy_ids", "audio_greedy_codes_for_vqgan", "score_options", "score_average", "score_total"),
    "in.negative/inputs/text/tokens",
}


class Generation(Fixtures):
    """With the arrays of generation.npz and the batch in it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.wanted = self.arrays("generation")
        self.inputs = batch_of({k: v for k, v in self.wanted.items() if not k.startswith("in.negative")})

    def bound(self, modality: str, batch: dict[str, jax.Array], port: bool = False) -> TargetDecoder:
        model = self.model(erf(self.spec) if port else None)
        return jax.jit(partial(bind, modality=modality))(model, batch=batch)


@pytest.fixture(scope="module")
def fixtures(golden: Callable[[str], Path]) -> Generation:
    return Generation(golden(NAME))


def step_logits(model: Any, ids: np.ndarray) -> np.ndarray:
    """Logits of every cached step of given ids [B, n], the start token first."""
    fed = np.concatenate([np.zeros_like(ids[:, :1]), ids[:, :-1]], axis=1)
    cache, out = model.init_cache(*fed.shape), []
    extend = jax.jit(lambda m, *a: m.extend(*a))
    for at in range(fed.shape[1]):
        token = jnp.asarray(fed[:, at : at + 1])
        states, cache = extend(model, token, jnp.full_like(token, at), jnp.ones(token.shape, bool), cache)
        out.append(model.logits(states[:, 0]))
    return np.stack(out, axis=1)


def test_every_array_is_answered_for(fixtures: Generation) -> None:
    inputs = {name for name in fixtures.wanted if name.startswith("in.inputs/")}
    assert set(fixtures.wanted) == HERE | PIXELS | inputs


def test_greedy_text(fixtures: Generation) -> None:
    ids, theirs = fixtures.wanted["text_greedy_ids"], fixtures.wanted["text_greedy_step_logits"]
    model = fixtures.bound("text", fixtures.inputs)
    new = generate_encoded(model, len(ids), GREEDY, max_new_tokens=ids.shape[1], stop_ids=[END_OF_TEXT])
    padded = np.zeros_like(ids)
    for row, tokens in zip(padded, new, strict=True):
        row[: len(tokens)] = tokens
    assert np.array_equal(padded, ids)
    fed = np.cumsum(np.cumsum(ids == END_OF_TEXT, axis=1), axis=1) <= 1  # a step is defined up to the end of the text
    assert_close(step_logits(model, ids), theirs, fed, what="steps")


def test_guided_pictures(fixtures: Generation) -> None:
    ids, alpha = fixtures.wanted["image_cfg_ids"], float(fixtures.wanted["cfg_alpha"])
    neutral = {"inputs/text/tokens": jnp.asarray(fixtures.wanted["in.negative/inputs/text/tokens"])}
    neutral["inputs/text/mask"] = jnp.ones_like(neutral["inputs/text/tokens"])
    both = fixtures.bound("image", guided_batch(fixtures.inputs, neutral))
    new = generate_encoded(Guided(both, alpha), len(ids), GREEDY, max_new_tokens=ids.shape[1])
    assert np.array_equal(np.stack(new), ids)
    theirs = fixtures.wanted["image_cfg_first_steps_logits"]
    ours = step_logits(both, np.concatenate([ids, ids])[:, : theirs.shape[1]])
    assert_close(ours, theirs, what="both halves")


def test_greedy_sound(fixtures: Generation) -> None:
    ids = fixtures.wanted["audio_greedy_ids"]
    batch = {k: v for k, v in fixtures.batch("text_audiohist_to_audio").items() if k.startswith("inputs/")}
    model = fixtures.bound("audio", batch, port=True)
    new = np.stack(generate_encoded(model, len(ids), GREEDY, max_new_tokens=ids.shape[1]))
    assert np.array_equal(new, ids)
    times, mels = fixtures.spec.target_audio_grid
    highest = fixtures.config["config"]["audio_vqgan"]["vocab_size"] - 1
    codes = np.clip(new - OFFSET, 0, highest).reshape(-1, times, mels).swapaxes(1, 2).reshape(len(ids), -1)
    assert np.array_equal(codes, fixtures.wanted["audio_greedy_codes_for_vqgan"])


def test_scores_of_options(fixtures: Generation) -> None:
    options = fixtures.wanted["score_options"]
    model = fixtures.bound("text", {name: x[:1] for name, x in fixtures.inputs.items()})
    scores = score_encoded(model, options[None], options[None] != 0)[0]
    np.testing.assert_allclose(-scores, fixtures.wanted["score_total"], rtol=1e-5)
    np.testing.assert_allclose(-scores / (options != 0).sum(axis=1), fixtures.wanted["score_average"], rtol=1e-5)


class Prepared:
    """Decoding of prompts that are numbers: rows of the fixture's batch, and behind them the same with other words."""

    def __init__(self, fixtures: Generation, modality: str) -> None:
        neutral = {"inputs/text/tokens": jnp.asarray(fixtures.wanted["in.negative/inputs/text/tokens"])}
        neutral["inputs/text/mask"] = jnp.ones_like(neutral["inputs/text/tokens"])
        inputs = {k: v for k, v in fixtures.inputs.items() if k.startswith("inputs/")}
        self.arrays = guided_batch(inputs, neutral)
        self.codes = fixtures.spec.tokens_of(modality)

    def batch(self, prompts: list[int]) -> dict[str, np.ndarray]:
        return {name: np.asarray(array)[list(prompts)] for name, array in self.arrays.items()}

    bind = staticmethod(bind)

    def length(self, modality: str) -> int:
        return self.codes

    def ids(self, modality: str, tokens: np.ndarray) -> np.ndarray:
        return tokens


@pytest.fixture(scope="module")
def engine(fixtures: Generation) -> EncodedEngine:
    model = fixtures.model()
    space = _space(fixtures.spec.text_vocab, 64, 48)
    return EncodedEngine(split(model)[0], params_of(model), Prepared(fixtures, "image"), space)


def test_the_engine_guides_pictures_against_given_prompts(fixtures: Generation, engine: EncodedEngine) -> None:
    ids, alpha = fixtures.wanted["image_cfg_ids"], float(fixtures.wanted["cfg_alpha"])
    n = len(ids)
    asked = {"max_new_tokens": ids.shape[1], "grammar": grammar(engine.space).replace(begin="image"), "guidance": alpha}
    new = engine.generate(range(n), GREEDY, against=range(n, 2 * n), **asked)
    assert np.array_equal(np.stack(new), ids)
    itself = engine.generate(range(n), GREEDY, against=range(n), **asked)  # guided against nothing but itself
    assert not np.array_equal(np.stack(itself), ids)


def test_given_codes_are_kept_and_the_others_are_the_guided_ones(fixtures: Generation, engine: EncodedEngine) -> None:
    """Half of the reference's own codes given: the other half comes out as the reference made it."""
    ids, alpha = fixtures.wanted["image_cfg_ids"], float(fixtures.wanted["cfg_alpha"])
    n = len(ids)
    asked = {"max_new_tokens": ids.shape[1], "grammar": grammar(engine.space).replace(begin="image"), "guidance": alpha}
    asked["against"] = range(n, 2 * n)
    kept = np.random.default_rng(0).random(ids.shape) < 0.5
    new = engine.generate(range(n), GREEDY, steering=given_codes(ids - OFFSET, kept), **asked)
    assert np.array_equal(np.stack(new), ids)
    others = (ids - OFFSET + 1) % 60
    changed = np.stack(engine.generate(range(n), GREEDY, steering=given_codes(others, kept), **asked))
    assert np.array_equal(changed[kept], (others + OFFSET)[kept])
    assert not np.array_equal(changed[~kept], ids[~kept])
