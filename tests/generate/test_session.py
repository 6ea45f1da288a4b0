"""A session's cache: the ids of every turn are those of running the whole conversation anew."""

from __future__ import annotations

import numpy as np
import pytest

from mio_jax.errors import MioError
from mio_jax.generate import Grammar, SamplingConfig
from mio_jax.generate.session import Session
from tests.generate.spaces import CONTEXT, SPACE, STOP, tiny_engine

GREEDY = SamplingConfig(greedy=True)
DRAWN = SamplingConfig(temperature=0.9, top_k=40, top_p=0.95, repetition_penalty=1.2)


def whole(pieces: object) -> list[int]:
    return np.concatenate(list(pieces)).tolist()  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("sampling", "grammar"), [(GREEDY, None), (DRAWN, Grammar(SPACE))], ids=["greedy", "drawn with a grammar"]
)
def test_turns_are_those_of_the_whole_conversation(sampling: SamplingConfig, grammar: Grammar | None) -> None:
    engine, rng = tiny_engine(), np.random.default_rng(0)
    session, said = Session(engine), np.zeros(0, np.int32)
    for turn in range(3):
        new = rng.integers(8, 20, 3 + turn).astype(np.int32)
        said = np.concatenate([said, new])
        kw = {"max_new_tokens": 12, "stop_ids": (STOP,), "grammar": grammar}
        expected = engine.generate([said], sampling, seeds=[turn], **kw)[0]
        assert whole(session.stream(said, sampling, seed=turn, **kw)) == expected.tolist()
        # Beside the new turn, only the newest token of the answer before it.
        assert session.prefilled == len(new) + (turn > 0)
        said = np.concatenate([said, expected])


def test_a_changed_beginning_and_an_early_end() -> None:
    engine = tiny_engine()
    session, prompt = Session(engine), np.arange(8, 20, dtype=np.int32)
    stream = session.stream(prompt, GREEDY, max_new_tokens=30)
    first = next(stream).tolist()
    stream.close()  # type: ignore[attr-defined]
    again = session.stream(prompt, GREEDY, max_new_tokens=8)
    expected = engine.generate([prompt], GREEDY, max_new_tokens=8)[0].tolist()
    assert whole(again) == expected
    assert expected[: len(first)] == first
    assert session.prefilled == 1
    other = np.concatenate([prompt[:5], prompt[:4]])
    assert whole(session.stream(other, GREEDY, max_new_tokens=8)) == (
        engine.generate([other], GREEDY, max_new_tokens=8)[0].tolist()
    )
    assert session.prefilled == 4


def test_a_prompt_of_several_pieces_and_a_growing_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mio_jax.generate.session.PIECE", 16)
    monkeypatch.setattr("mio_jax.generate.session.SMALLEST_CACHE", 32)
    engine, prompt = tiny_engine(), np.random.default_rng(1).integers(8, 20, 50).astype(np.int32)
    session = Session(engine)
    for length in (10, 50):
        assert whole(session.stream(prompt[:length], GREEDY, max_new_tokens=20)) == (
            engine.generate([prompt[:length]], GREEDY, max_new_tokens=20)[0].tolist()
        )


def test_requests_that_cannot_be_met_leave_the_cache() -> None:
    session = Session(tiny_engine())
    list(session.stream(np.arange(8, 12), GREEDY, max_new_tokens=2))
    with pytest.raises(MioError, match=f"the context of {CONTEXT}"):
        session.stream(np.full(CONTEXT, 9), GREEDY, max_new_tokens=2)
    with pytest.raises(MioError, match="beam search cannot be streamed"):
        session.stream(np.arange(8, 12), SamplingConfig(num_beams=2), max_new_tokens=2)
    list(session.stream(np.arange(8, 12), GREEDY, max_new_tokens=2))
    assert session.prefilled == 1
