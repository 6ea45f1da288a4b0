"""Requests that share rows: every answer is the one that the request gets alone."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from mio_jax.errors import MioError
from mio_jax.generate import Grammar, SamplingConfig
from mio_jax.generate.batched import BatchedEngine, Request
from tests.generate.spaces import CONTEXT, SPACE, STOP, tiny_engine

GREEDY = SamplingConfig(greedy=True)
DRAWN = SamplingConfig(temperature=0.9, top_k=40, top_p=0.95, repetition_penalty=1.2)


@cache
def batch() -> BatchedEngine:
    return BatchedEngine(tiny_engine(), 3, stop_ids=(STOP,), grammar=Grammar(SPACE), burst=4)


@cache
def requests() -> tuple[Request, ...]:
    """Of many lengths, with and without the grammar, drawn and greedy; together longer than the ring of slots."""
    rng = np.random.default_rng(5)
    return tuple(
        Request(
            rng.integers(8, 20, int(rng.integers(1, 17))).astype(np.int32),
            DRAWN if i % 3 else GREEDY,
            max_new_tokens=1 if i == 3 else int(rng.integers(49, 65)),
            seed=i,
            begins="image" if i % 3 == 2 else "",
            grammar=i % 3 > 0,
        )
        for i in range(11)
    )


@cache
def alone(i: int) -> tuple[int, ...]:
    request = requests()[i]
    grammar = Grammar(SPACE, begin=request.begins) if request.grammar else None
    [ids] = tiny_engine().generate(
        [request.prompt],
        request.sampling,
        max_new_tokens=max(request.max_new_tokens, 49),  # of one size, so that little is compiled
        stop_ids=(STOP,),
        seeds=[request.seed],
        grammar=grammar,
    )
    return tuple(ids[: request.max_new_tokens].tolist())


def test_answers_do_not_depend_on_neighbours() -> None:
    got = {number: tuple(ids.tolist()) for number, ids in batch().run(requests())}
    assert got == {i: alone(i) for i in range(len(requests()))}
    assert batch().steps > CONTEXT, "the slots were used more than once round"


def test_requests_come_while_others_run_and_one_is_taken_out() -> None:
    batched, some = batch(), requests()
    answers: dict[int, list[int]] = {}
    tickets: dict[int, int] = {}
    coming = [0, 1, 9, 5, 2, 6]
    while coming or not batched.idle:
        if coming:
            i = coming.pop(0)
            tickets[batched.submit(some[i])] = i
        for ticket, ids, _ in batched.step():
            answers.setdefault(tickets[ticket], []).extend(ids.tolist())
        if len(coming) == 2:
            batched.cancel(next(ticket for ticket, i in tickets.items() if i == 9))
    assert len(answers.pop(9)) < len(alone(9))
    assert {i: tuple(ids) for i, ids in answers.items()} == {i: alone(i) for i in (0, 1, 5, 2, 6)}


def test_requests_that_cannot_be_met() -> None:
    batched, prompt = batch(), np.arange(8, 12)
    for request, words in (
        (Request(np.full(CONTEXT, 9)), f"the context of {CONTEXT}"),
        (Request(prompt, SamplingConfig(num_beams=2)), "beam search cannot run among other requests"),
        (Request(prompt, SamplingConfig(temperature=0.5, temperature_last=True)), "temperature_last"),
        (Request(prompt, begins="image", grammar=False), "only the grammar can make"),
        (Request(prompt, begins="image", max_new_tokens=3), "must hold at least 7 tokens"),
        (Request(prompt, seed=-1), "seeds must be"),
    ):
        with pytest.raises(MioError, match=words):
            batched.submit(request)
    with pytest.raises(MioError, match="0 rows"):
        BatchedEngine(tiny_engine(), 0)
    assert batched.idle
