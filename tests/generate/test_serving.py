"""A server's thread answers requests of other threads as the engine would."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mio_jax.errors import MioError
from mio_jax.generate.batched import BatchedEngine, Request
from mio_jax.generate.grammar import Grammar
from mio_jax.generate.serving import Server
from tests.generate.spaces import SPACE, STOP, tiny_engine
from tests.generate.test_batched import alone, requests


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server(BatchedEngine(tiny_engine(), 3, stop_ids=(STOP,), grammar=Grammar(SPACE), burst=4))
    yield server
    server.close()


def test_threads_get_their_own_answers(server: Server) -> None:
    some = (0, 1, 2, 4, 7)
    with ThreadPoolExecutor(len(some)) as pool:
        got = list(pool.map(lambda i: np.concatenate(list(server.ask(requests()[i]))).tolist(), some))
    assert [tuple(ids) for ids in got] == [alone(i) for i in some]
    assert server.busy == 0


def test_a_reader_that_goes_frees_its_row(server: Server) -> None:
    leaving = server.ask(requests()[1])
    next(leaving)
    leaving.close()  # type: ignore[attr-defined]
    assert tuple(np.concatenate(list(server.ask(requests()[2]))).tolist()) == alone(2)
    assert server.busy == 0


def test_a_request_that_cannot_be_met_is_refused_at_once(server: Server) -> None:
    with pytest.raises(MioError, match="prompt is empty"):
        server.ask(Request(np.zeros(0, np.int32)))
    assert server.busy == 0


def test_what_is_not_complete_when_the_server_ends_is_told() -> None:
    class Slow(BatchedEngine):
        def step(self) -> list:
            return []

    server = Server(Slow(tiny_engine(), 3, stop_ids=(STOP,), grammar=Grammar(SPACE), burst=4))
    pieces = server.ask(requests()[0])
    server.close()
    with pytest.raises(MioError, match="the server was closed"):
        next(pieces)
    with pytest.raises(MioError, match="the server was closed"):
        server.ask(requests()[0])
