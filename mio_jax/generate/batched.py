"""Many requests at once: each takes a row as soon as one is free, and leaves it when its answer ends.

A batch of `Engine.generate` runs until its longest answer is done, and nobody joins it. Here rows are refilled while
the others go on. An answer depends on its prompt, settings and seed alone: it is the one that `Engine.generate` gives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.errors import MioError
from mio_jax.generate import slots
from mio_jax.generate.engine import STOP_SLOTS, Engine
from mio_jax.generate.grammar import Grammar, Position
from mio_jax.generate.sampling import Knobs, Mixed, Plan, SamplingConfig

USUAL_ROWS = 8
USUAL_BURST = 8  # steps between two looks at who is waiting


@dataclass(frozen=True)
class Request:
    """One prompt and how it is to be answered.

    Attributes:
      prompt: int32 [length].
      begins: modality that the answer begins with, under the grammar; "": any.
      grammar: whether the batch's grammar holds this answer.
    """

    prompt: np.ndarray
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    max_new_tokens: int = 256
    seed: int = 0
    begins: str = ""
    grammar: bool = True


class Progress(NamedTuple):
    """The next ids of a request's answer, int32 [n], a stop id included; `done`: they are its last."""

    ticket: int
    ids: np.ndarray
    done: bool


class BatchedEngine:
    """Rows of an engine that requests share. Not for several threads at once (`serving.Server` is).

    Args:
      engine: decodes; its context is the number of slots of the cache.
      rows: requests that run at once; the others wait, first come, first served.
      stop_ids: end an answer.
      grammar: holds media spans to their form; None: no request has one.
      burst: steps between two looks at who is waiting, and ids that come at once.
    """

    def __init__(
        self,
        engine: Engine,
        rows: int = USUAL_ROWS,
        *,
        stop_ids: Sequence[int] = (),
        grammar: Grammar | None = None,
        burst: int = USUAL_BURST,
    ) -> None:
        if rows < 1 or burst < 1:
            raise MioError(f"a batch has {rows} rows and bursts of {burst} steps; both must be positive")
        self.engine, self.rows, self.grammar, self.burst = engine, rows, grammar, burst
        self.stop_ids = tuple(stop_ids)
        self.steps = 0  # that were run, for statistics
        self._waiting: deque[tuple[int, Request, np.ndarray, int, tuple[int, int, int]]] = deque()
        self._running: list[int | None] = [None] * rows  # the ticket of each row
        self._next = 0
        self._tables = None
        if grammar is not None:
            self._tables = jax.tree.map(jnp.asarray, grammar.tables(self.stop_ids))
        # What any request so far needs; it only grows, so that few programs are compiled.
        self._plan = Plan(greedy=True, temperature=False, top_k=0, top_p=False, penalty=False)
        self._slots = slots.empty(
            engine.graphdef, engine.params, rows=rows, length=engine.max_length, vocab=engine.space.vocab_size
        )
        count = -(-max(len(self.stop_ids), 1) // STOP_SLOTS) * STOP_SLOTS
        self._stops = np.asarray([*self.stop_ids, *[-1] * (count - len(self.stop_ids))], np.int32)
        self._temperature, self._tail, self._penalty = (np.full((rows, 1), x, np.float32) for x in (1, 0, 1))
        self._greedy, self._free = np.ones(rows, bool), np.ones(rows, bool)
        self._top_k = np.zeros((rows, 1), np.int32)
        self._seeds, self._limit = np.zeros(rows, np.uint32), np.zeros(rows, np.int32)

    @property
    def idle(self) -> bool:
        """Whether no request runs or waits."""
        return not self._waiting and all(ticket is None for ticket in self._running)

    def submit(self, request: Request) -> int:
        """Queues a request -> its ticket.

        Raises:
          MioError: what `Engine.generate` refuses; beam search; a temperature after the cuts; a grammar where the batch
            has none.
        """
        sampling = request.sampling
        if sampling.num_beams > 1:
            raise MioError("beam search cannot run among other requests; ask with `mio generate`, or sample")
        if sampling.temperature_last:
            raise MioError("requests of one batch take their temperature before the cuts; leave temperature_last out")
        grammar = self.grammar.replace(begin=request.begins) if self.grammar and request.grammar else None
        if request.begins and grammar is None:
            raise MioError(f"only the grammar can make an answer begin with {request.begins!r}")
        (ids,), inputs, at = self.engine.admit(
            [request.prompt], 1, sampling, request.max_new_tokens, self.stop_ids, [request.seed], grammar
        )
        start = (0, 0, 0) if at is None else (int(at.state[0]), int(at.codes[0]), int(at.first[0]))
        ticket, self._next = self._next, self._next + 1
        self._waiting.append((ticket, request, ids, int(inputs.limit[0]), start))
        own, plan = sampling.plan, self._plan
        self._plan = Plan(
            greedy=own.greedy and plan.greedy,
            temperature=own.temperature or plan.temperature,
            top_k=max(own.top_k, plan.top_k),
            top_p=own.top_p or plan.top_p,
            penalty=own.penalty or plan.penalty,
        )
        return ticket

    def cancel(self, ticket: int) -> None:
        """Takes a request out, whether it waits or runs; one that is done already is none of it."""
        self._waiting = deque(item for item in self._waiting if item[0] != ticket)
        if ticket in self._running:
            row = self._running.index(ticket)
            self._running[row] = None
            self._slots = self._slots._replace(done=self._slots.done.at[row].set(True))

    def step(self) -> list[Progress]:
        """Lets waiting requests in, and runs one burst -> what came of it. Empty if there is nothing to do."""
        joined = self._let_in()
        progress: dict[int, list[int]] = {}
        done = np.asarray(self._slots.done)
        if joined:
            token = np.asarray(self._slots.token)
            progress = {row: [int(token[row])] for row in joined}
        if not done.all():
            self._slots, new = slots.burst(
                self.engine.graphdef,
                self.engine.params,
                self._asked(),
                self._tables,
                self._slots,
                bool(self._waiting),
                plan=self._plan,
                count=self.burst,
            )
            fresh, done = jax.device_get((new, self._slots.done))
            self.steps += int((fresh >= 0).any(0).sum())
            for row in range(self.rows):
                if self._running[row] is not None:
                    progress.setdefault(row, []).extend(fresh[row][fresh[row] >= 0].tolist())
        events = []
        for row, ids in sorted(progress.items()):
            ticket = self._running[row]
            assert ticket is not None
            events.append(Progress(ticket, np.asarray(ids, np.int32), bool(done[row])))
            if done[row]:
                self._running[row] = None
        return events

    def run(self, requests: Iterable[Request]) -> Iterator[tuple[int, np.ndarray]]:
        """(number of the request, int32 ids of its answer), in the order in which answers end."""
        if not self.idle:
            raise MioError("this batch has other requests; wait until it is idle")
        numbers = {self.submit(request): i for i, request in enumerate(requests)}
        answers: dict[int, list[np.ndarray]] = {ticket: [] for ticket in numbers}
        while not self.idle:
            for ticket, ids, done in self.step():
                answers[ticket].append(ids)
                if done:
                    yield numbers[ticket], np.concatenate(answers.pop(ticket))

    def _let_in(self) -> list[int]:
        """Gives free rows to waiting requests -> the rows."""
        joined = []
        for row in range(self.rows):
            if self._running[row] is not None or not self._waiting:
                continue
            ticket, request, ids, limit, start = self._waiting.popleft()
            sampling, plan = request.sampling, request.sampling.plan
            self._running[row] = ticket
            self._temperature[row] = sampling.temperature if plan.temperature else 1
            self._tail[row] = 1 - sampling.top_p if plan.top_p else 0
            self._penalty[row] = sampling.repetition_penalty
            self._greedy[row], self._top_k[row] = plan.greedy, plan.top_k
            self._free[row] = not (self.grammar and request.grammar)
            self._seeds[row], self._limit[row] = request.seed, limit
            self._slots = slots.join(
                self.engine.graphdef,
                self.engine.params,
                self.engine.pad_prompts([ids], 1),
                Position(*(jnp.asarray([x], jnp.int32) for x in start)),
                row,
                self._asked(),
                self._tables,
                self._slots,
                plan=self._plan,
            )
            joined.append(row)
        return joined

    def _asked(self) -> slots.Asked:
        # Copies: a call may still read its arguments when the next request changes these arrays.
        copied = [x.copy() for x in (self._temperature, self._tail, self._penalty, self._greedy, self._top_k)]
        return slots.Asked(
            Knobs(*copied[:3]),  # type: ignore[arg-type]
            Mixed(*copied[3:]),  # type: ignore[arg-type]
            *(jnp.asarray(x.copy()) for x in (self._free, self._seeds, self._limit, self._stops)),
        )
