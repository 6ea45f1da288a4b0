"""Decoding with a cache, in batches, in steps: always what the model says of the row alone."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.data.token_space import TokenSpace
from mio_jax.errors import MioError
from mio_jax.generate import Engine, Grammar, SamplingConfig, decode
from mio_jax.generate.engine import bucket
from mio_jax.nn.base import apply
from tests.generate.spaces import CONTEXT, SPACE, SPEC, STOP, tiny_engine, tiny_model

GREEDY = SamplingConfig(greedy=True)
DRAWN = SamplingConfig(temperature=0.9, top_k=40, top_p=0.95, repetition_penalty=1.2)
RNG = np.random.default_rng(3)
PROMPTS = [RNG.integers(8, 20, n).astype(np.int32) for n in (3, 11, 7, 1, 14)]
NEW = 16


@jax.jit
def without_cache(params: Any, tokens: jax.Array) -> jax.Array:
    """Log-probabilities after each token of [batch, length]."""
    model = apply(tiny_model()[0], params)
    at = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    return jax.nn.log_softmax(model.logits(model.hidden(tokens, at, None)))


@cache
def log_probabilities(tokens: bytes) -> np.ndarray:
    """Of a whole row in one pass, without a cache or padding on its left: [length, vocab]."""
    row = np.frombuffer(tokens, np.int32)
    padded = np.zeros((1, 48), np.int32)  # one shape for all rows: what stands to the right changes nothing on the left
    padded[0, : len(row)] = row
    return np.asarray(without_cache(tiny_model()[1], padded))[0, : len(row)]


def likelihood(prompt: np.ndarray, new: np.ndarray) -> float:
    row = np.concatenate([prompt, new]).astype(np.int32)
    table = log_probabilities(row.tobytes())
    return float(sum(table[len(prompt) - 1 + i, t] for i, t in enumerate(new)))


def test_cached_steps_of_a_padded_batch_are_the_model_without_a_cache() -> None:
    rows = tiny_engine().generate(PROMPTS, GREEDY, max_new_tokens=NEW)
    for prompt, new in zip(PROMPTS, rows, strict=True):
        assert new.dtype == np.int32
        assert len(new) == NEW
        table = log_probabilities(np.concatenate([prompt, new]).tobytes())
        best = table[len(prompt) - 1 : -1]
        chosen = np.take_along_axis(best, new[:, None], 1)[:, 0]
        assert np.all(chosen >= best.max(1) - 1e-5), "a token that is not the model's likeliest"


def test_a_row_depends_on_its_prompt_and_seed_alone() -> None:
    engine, seeds = tiny_engine(), [5, 6, 7, 2**32 - 1, 5]
    kw = {"max_new_tokens": NEW, "stop_ids": (STOP,), "grammar": Grammar(SPACE)}
    together = engine.generate(PROMPTS, DRAWN, seeds=seeds, **kw)
    backwards = engine.generate(PROMPTS[::-1], DRAWN, seeds=seeds[::-1], **kw)[::-1]
    alone = [engine.generate([p], DRAWN, seeds=[s], **kw)[0] for p, s in zip(PROMPTS, seeds, strict=True)]
    for a, b, c in zip(together, backwards, alone, strict=True):
        assert a.tolist() == b.tolist() == c.tolist()


def test_seeds_differ_and_repeat() -> None:
    kw = {"max_new_tokens": NEW, "stop_ids": (STOP,), "grammar": Grammar(SPACE)}
    rows = tiny_engine().generate([PROMPTS[0]] * 5, DRAWN, seeds=[1, 2, 3, 4, 1], **kw)
    assert rows[0].tolist() == rows[4].tolist()
    assert len({tuple(row) for row in rows}) == 4


def test_stream_is_generate_in_steps() -> None:
    engine = tiny_engine()
    kw = {"max_new_tokens": NEW, "stop_ids": (STOP,), "grammar": Grammar(SPACE), "seeds": range(5)}
    whole = engine.generate(PROMPTS, DRAWN, **kw)
    steps = np.stack(list(engine.stream(PROMPTS, DRAWN, **kw)), 1)
    assert len(steps[0]) == max(map(len, whole))
    for row, expected in zip(steps, whole, strict=True):
        assert row[row >= 0].tolist() == expected.tolist()
        assert np.all(row[len(expected) :] == -1)


def test_a_stop_id_ends_a_row_and_is_its_last_token() -> None:
    engine = tiny_engine()
    free = engine.generate(PROMPTS, GREEDY, max_new_tokens=NEW)
    stops = {int(free[0][4]), int(free[1][9])}
    for row, stopped in zip(free, engine.generate(PROMPTS, GREEDY, max_new_tokens=NEW, stop_ids=stops), strict=True):
        ends = next((i for i, t in enumerate(row) if int(t) in stops), NEW - 1)
        assert stopped.tolist() == row[: ends + 1].tolist()


def test_the_context_bounds_each_row() -> None:
    long, short = np.full(CONTEXT - 3, 9), np.asarray([9, 10])
    assert [len(row) for row in tiny_engine().generate([long, short], GREEDY, max_new_tokens=NEW)] == [3, NEW]


def test_score_is_the_likelihood() -> None:
    engine = tiny_engine()
    some = [RNG.integers(0, SPACE.vocab_size, n).astype(np.int32) for n in (1, 6, 3)]
    expected = [[likelihood(prompt, c) for c in some] for prompt in PROMPTS]
    batch = engine.score_batch(PROMPTS, [some] * len(PROMPTS))
    np.testing.assert_allclose(np.stack(batch), expected, rtol=1e-4)
    np.testing.assert_allclose(engine.score(PROMPTS[1], some), expected[1], rtol=1e-4)


def test_scores_of_unlike_numbers_of_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mio_jax.generate.engine.SCORE_ROWS", 4)  # so that prompts and candidates are taken in pieces
    counts = [4, 0, 8, 4, 0]
    lists = [[RNG.integers(0, 40, 1 + j % 3).astype(np.int32) for j in range(n)] for n in counts]
    got = tiny_engine().score_batch(PROMPTS, lists)
    assert [len(g) for g in got] == counts
    for prompt, some, scores in zip(PROMPTS, lists, got, strict=True):
        np.testing.assert_allclose(scores, [likelihood(prompt, c) for c in some], rtol=1e-4)


def test_beams_find_what_no_greedy_search_does_and_their_score_is_true() -> None:
    """The best beam is at least as likely per token as the greedy row, and some are better."""
    engine, stops = tiny_engine(), (STOP, 12)
    kw = {"max_new_tokens": 8, "stop_ids": stops}
    greedy = engine.generate(PROMPTS, GREEDY, **kw)
    beams = engine.generate(PROMPTS, SamplingConfig(num_beams=4), **kw)
    means = [[likelihood(p, row) / len(row) for row in rows] for p, *rows in zip(PROMPTS, greedy, beams, strict=True)]
    assert all(b >= g - 1e-4 for g, b in means)
    assert any(b > g + 1e-3 for g, b in means)
    for row in beams:
        assert not set(row[:-1].tolist()) & set(stops)


def test_beams_obey_the_grammar() -> None:
    grammar = Grammar(SPACE, begin="image")
    rows = tiny_engine().generate(
        PROMPTS, SamplingConfig(num_beams=4), max_new_tokens=NEW, stop_ids=(STOP,), grammar=grammar
    )
    assert all(grammar.check(row, (STOP,)) is None for row in rows)


def test_settings_prompts_and_lengths_of_one_bucket_share_a_program() -> None:
    engine = tiny_engine()

    def compiled() -> tuple[int, int]:
        return decode.begin._cache_size(), decode.loop._cache_size()

    sampling = SamplingConfig(temperature=0.5, top_p=0.5)
    engine.generate(PROMPTS[:3], sampling, max_new_tokens=16, grammar=Grammar(SPACE), stop_ids=(STOP,))
    before = compiled()
    engine.generate(
        [PROMPTS[4][:9], PROMPTS[1], PROMPTS[0]],
        SamplingConfig(temperature=0.8, top_p=0.7),
        max_new_tokens=10,
        grammar=Grammar(SPACE, begin="image", frames=2),
        stop_ids=(STOP, 3, 4),
        seeds=[9, 8, 7],
    )
    assert compiled() == before


def test_buckets() -> None:
    sizes = [bucket(n) for n in range(1, 2000)]
    assert all(n <= size <= 1.25 * n + 1 for n, size in enumerate(sizes, 1))
    assert len(set(sizes)) < 45
    assert [bucket(n, 16) for n in (1, 16, 17, 100, 384)] == [16, 16, 32, 112, 384]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prompts": [np.full(CONTEXT, 9)]}, f"prompt has {CONTEXT} tokens, and the context of {CONTEXT}"),
        ({"prompts": [np.asarray([9]), np.full(CONTEXT + 9, 9)]}, f"prompt 1 has {CONTEXT + 9} tokens"),
        ({"prompts": [np.asarray([], np.int32)]}, "prompt is empty"),
        ({"prompts": [np.asarray([9, SPACE.vocab_size])]}, f"prompt holds id {SPACE.vocab_size}, outside"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"seeds": [1, 2]}, "seeds must be 1 whole numbers"),
        ({"seeds": [-1]}, "seeds must be"),
        ({"grammar": Grammar(SPACE), "stop_ids": (999,)}, "stop id 999 is outside"),
    ],
)
def test_requests_that_cannot_be_met(change: dict, words: str) -> None:
    request = {"prompts": [np.asarray([9, 10])], "max_new_tokens": 4, **change}
    with pytest.raises(MioError, match=words):
        tiny_engine().generate(request.pop("prompts"), **request)


def test_other_misuse() -> None:
    engine = tiny_engine()
    with pytest.raises(MioError, match="cannot be streamed"):
        engine.stream([np.asarray([9])], SamplingConfig(num_beams=2), max_new_tokens=2)
    with pytest.raises(MioError, match="candidate 1 is empty"):
        engine.score(np.asarray([9]), [np.asarray([9]), np.asarray([], np.int32)])
    with pytest.raises(MioError, match="longer than the context"):
        engine.score(np.full(CONTEXT - 1, 9), [np.asarray([9, 9])])
    with pytest.raises(MioError, match="the model has"):
        Engine(engine.graphdef, {}, TokenSpace("other", SPACE.blocks[:1], (), (), 1, 2, 0), SPEC, 8)
    assert engine.generate([], max_new_tokens=3) == []
    assert list(engine.stream([], max_new_tokens=3)) == []
