"""A profiler trace of chosen steps, as xprof and TensorBoard's profile page read it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import jax

from mio_jax.errors import MioError


class Steps(NamedTuple):
    """From step `first` to step `last` of the run, both included, counted from 1."""

    first: int
    last: int


def parse_steps(text: str) -> Steps:
    """`10:13` -> steps 10, 11, 12 and 13. Raises MioError if it is no such range."""
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise MioError(
            f"--profile {text}: write it as FIRST:LAST, steps of the run counted from 1, e.g. --profile 10:13"
        )
    return Steps(int(match[1]), int(match[2]))


class Trace:
    """Starts the profiler before the first of the steps and stops it when the last is finished.

    Raises:
      MioError: none of the steps lies in what is left to train, `begin + 1` to `end`.
    """

    def __init__(self, steps: Steps, folder: Path, begin: int, end: int) -> None:
        if not begin < steps.first <= steps.last <= end:
            raise MioError(
                f"--profile {steps.first}:{steps.last}: the steps that this command trains are {begin + 1} to {end}; "
                "choose among them"
            )
        self._steps, self._folder = steps, folder
        self._on = False

    def before(self, step: int) -> Any:
        """Called before a step is dispatched, which is done in the context returned."""
        if step == self._steps.first:
            jax.profiler.start_trace(str(self._folder))
            self._on = True
        return jax.profiler.StepTraceAnnotation("train", step_num=step)

    def after(self, step: int, result: Any) -> None:
        """Called once a step is dispatched."""
        if self._on and step == self._steps.last:
            jax.block_until_ready(result)
            self.close()

    def close(self) -> None:
        """Writes what has been traced so far."""
        if self._on:
            self._on = False
            jax.profiler.stop_trace()
            print(f"trace of steps {self._steps.first} to {self._steps.last} written to {self._folder}", flush=True)
