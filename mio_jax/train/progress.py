"""How far something is, how fast it goes, how long it still takes: one updating line on a terminal, a line now and then
in a log."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO


def clock(seconds: float) -> str:
    """75.2 -> `1:15`, 3675 -> `1:01:15`; `?` where it is not known."""
    if not 0 <= seconds < float("inf"):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def time_left(units: float, per_second: float) -> str:
    """The time that `units` take, as `clock` shows it."""
    return clock(units / per_second if per_second else float("inf"))


def short(number: float) -> str:
    """12345 -> `12.3k`."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{suffix}"
    return f"{number:.3g}"


class StatusLine:
    """Text about the present: rewritten in place on a terminal, else printed at most every `every` seconds."""

    def __init__(
        self, *, stream: TextIO | None = None, every: float = 10.0, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._tty = self._stream.isatty()
        self._every = 0.1 if self._tty else every
        self._now = now
        self._next = float("-inf")
        self._open = False  # the cursor stands behind a line without its newline

    def show(self, text: str, *, last: bool = False) -> None:
        """Shows `text` if it is time to; `last` always."""
        if not last and self._now() < self._next:
            return
        self._next = self._now() + self._every
        self._stream.write(f"\r\x1b[K{text}" if self._tty else f"{text}\n")
        self._open = self._tty
        if last:
            self.end()
        self._stream.flush()

    def end(self) -> None:
        """Leaves the line as it is; what is printed next starts below it."""
        if self._open:
            self._stream.write("\n")
            self._stream.flush()
            self._open = False


class Rate:
    """Units a second over the last `window` seconds of reports."""

    def __init__(self, *, window: float = 30.0, now: Callable[[], float] = time.monotonic) -> None:
        self._window, self._now = window, now
        self._marks: deque[tuple[float, float]] = deque([(now(), 0.0)])

    def add(self, units: float) -> None:
        time_now, total = self._now(), self._marks[-1][1] + units
        self._marks.append((time_now, total))
        while len(self._marks) > 2 and self._marks[1][0] < time_now - self._window:
            self._marks.popleft()

    def restart(self) -> None:
        """Forgets the past: what came before (a compilation) says nothing about what follows."""
        self._marks = deque([(self._now(), 0.0)])

    @property
    def per_second(self) -> float:
        """0 until two moments are known."""
        (first, low), (last, high) = self._marks[0], self._marks[-1]
        return (high - low) / (last - first) if last > first else 0.0


class Progress:
    """Progress of `total` units of work under a label; a context manager that ends its line.

    with Progress(len(files), "encoding", unit="files") as progress:
        for done, file in enumerate(files, 1):
            ...
            progress.update(done, loss=0.5)
    """

    def __init__(
        self, total: int, label: str, *, done: int = 0, unit: str = "", line: StatusLine | None = None
    ) -> None:
        self._total, self._label, self._done, self._unit = total, label, done, unit
        self._line = line or StatusLine()
        self._rate = Rate()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self._line.end()

    def update(self, done: int, **fields: object) -> None:
        """`done` units are finished so far; `fields` are shown beside them."""
        self._rate.add(done - self._done)
        self._done = done
        rate = self._rate.per_second
        parts = [f"{self._label} {done}/{self._total}"]
        for name, value in fields.items():
            parts.append(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}")
        parts.append(f"{short(rate)} {self._unit or 'it'}/s")
        parts.append(f"{time_left(self._total - done, rate)} left")
        self._line.show("  ".join(parts), last=done >= self._total)


class RunProgress:
    """The line of a training run: stage, step, loss, tokens a second, time left of the stage and of all stages.

    Args:
      sizes: (name, steps, rows a batch) of every stage; the time of a step is taken to grow with its rows.
    """

    def __init__(self, sizes: list[tuple[str, int, int]], *, line: StatusLine | None = None) -> None:
        self._sizes = sizes
        self._line = line or StatusLine()
        self._rate = Rate()
        self._step = 0
        self._fresh = True

    def start(self, step: int) -> None:
        """A stage begins after `step`."""
        self._rate.restart()
        self._fresh = True
        self._step = step

    def update(self, stage: int, step: int, loss: float, tokens_per_s: float) -> None:
        """`step` of stage number `stage` (from 0) is finished."""
        name, steps, rows = self._sizes[stage]
        if self._fresh:  # the first step of a stage compiles
            self._rate.restart()
            self._fresh = False
        else:
            self._rate.add((step - self._step) * rows)
        self._step = step
        rate = self._rate.per_second
        rest = (steps - step) * rows
        later = sum(s * r for _, s, r in self._sizes[stage + 1 :])
        self._line.show(
            f"stage {stage + 1}/{len(self._sizes)} {name}  step {step}/{steps}  loss {loss:.4f}  "
            f"{short(tokens_per_s)} tokens/s  left {time_left(rest, rate)}, all stages {time_left(rest + later, rate)}",
            last=step >= steps,
        )

    def note(self, text: str) -> None:
        """Prints a line of its own."""
        self._line.end()
        print(text, flush=True)
