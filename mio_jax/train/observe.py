"""Watching a run from the side: goodput and traces are taken around the step, the loader and the checkpoints.

The loop knows nothing of it, and the values that it computes are the same with it and without.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import jax

from mio_jax.train.goodput import Ledger, Timeline
from mio_jax.train.trace import Steps, Trace

T = TypeVar("T")
COMPILED = "/jax/core/compile/backend_compile_duration"

_compilations = [0]  # of this process so far


def _on_event(event: str, duration_secs: float, **facts: str | int) -> None:
    if event == COMPILED:
        _compilations[0] += 1


jax.monitoring.register_event_duration_secs_listener(_on_event)


class Observer:
    """What is watched during one attempt at a run.

    Args:
      run_dir: where `goodput.jsonl` and `profile/` go.
      began: when the attempt began, on the clock of `time.monotonic`.
      from_step: steps of the run that are done already; `steps`: of the whole run.
      profile: which steps to trace.
      write: whether this process keeps the ledger: the first of a job.
    """

    def __init__(
        self, run_dir: Path, began: float, from_step: int, steps: int, profile: Steps | None = None, write: bool = True
    ) -> None:
        self._trace = Trace(profile, run_dir / "profile", from_step, steps) if profile else None
        self._timeline = Timeline(began)
        self._ledger = Ledger(run_dir, self._timeline, from_step) if write else None
        self._step = from_step

    def step(self, step: Callable[..., tuple[Any, dict[str, Any]]]) -> Callable[..., tuple[Any, dict[str, Any]]]:
        """`step`, watched. Each call is the next step of the run."""

        def run(*args: Any) -> tuple[Any, dict[str, Any]]:
            self._step += 1
            context = self._trace.before(self._step) if self._trace else contextlib.nullcontext()
            before, begin = _compilations[0], time.monotonic()
            with context:
                state, metrics = step(*args)
            end = time.monotonic()
            compiled = _compilations[0] > before
            if compiled:
                self._timeline.did("compile", begin, end)
            self._timeline.dispatched(end if compiled else begin, metrics["loss"])
            if self._trace:
                self._trace.after(self._step, metrics)
            if self._ledger:
                self._ledger.tick(self._step - 1)
            return state, metrics

        return run

    def loader(self, loader: T) -> T:
        """`loader`, whose batches are waited for on the books."""
        return cast(T, _Timed(loader, self._timeline, {"__next__": "input"}, lambda: None))

    def checkpoints(self, checkpoints: T) -> T:
        """`checkpoints`, whose saving is on the books."""
        return cast(T, _Timed(checkpoints, self._timeline, {"save": "save", "wait": "save"}, self._saved))

    def _saved(self) -> None:
        if self._ledger:
            self._ledger.write(self._step)

    def close(self) -> None:
        """Ends the trace and the books. Waits for the device."""
        if self._trace:
            self._trace.close()
        if self._ledger:
            self._ledger.close(self._step)
        else:
            self._timeline.close()


class _Timed:
    """Passes everything on to `inner`; the time of some methods is noted under a kind."""

    def __init__(self, inner: Any, timeline: Timeline, kinds: dict[str, str], after: Callable[[], None]) -> None:
        self._inner, self._timeline, self._kinds, self._after = inner, timeline, kinds, after

    def __next__(self) -> Any:
        with self._timeline.doing(self._kinds["__next__"]):
            return next(self._inner)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._kinds:
            return found

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self._timeline.doing(self._kinds[name]):
                result = found(*args, **kwargs)
            self._after()
            return result

        return timed
