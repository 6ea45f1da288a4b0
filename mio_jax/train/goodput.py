"""Where the time of a run goes: start, compiling, waiting for input, steps, saving, and work that was lost.

The device's time is what counts. A thread notes when each step is finished; between two steps the device stands idle,
and that time is charged to what the host was doing. A wait for a batch that is over before the device needs it costs
nothing.

`goodput.jsonl` of the run directory holds rows of running totals; every start of the run is an attempt of its own. Work
after the checkpoint from which the next attempt went on was lost.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mio_jax.train.metrics import read_rows

KINDS = ("start", "compile", "input", "step", "save", "other")
FILE = "goodput.jsonl"
EVERY_SECONDS = 10.0  # between two rows, where no checkpoint asks for one


class Timeline:
    """Seconds of one attempt by kind. Used from the training thread; the device is watched by one of its own.

    Args:
      began: when the attempt began, on the clock of `time.monotonic`. Until the first activity all time is "start".
    """

    def __init__(self, began: float) -> None:
        self._began = self._idle_from = began
        self._seconds = dict.fromkeys(KINDS, 0.0)
        self._host: list[tuple[str, float, float]] = []  # what the host did, not yet charged
        self._lock = threading.Lock()
        self._started = False
        self._steps: queue.SimpleQueue[tuple[float, Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._watch, name="goodput", daemon=True)
        self._thread.start()

    @contextmanager
    def doing(self, kind: str) -> Iterator[None]:
        """What the host does inside is of this kind, as far as the device has nothing to do meanwhile."""
        begin = time.monotonic()
        try:
            yield
        finally:
            self.did(kind, begin, time.monotonic())

    def did(self, kind: str, begin: float, end: float) -> None:
        """The host was busy with `kind` between two moments."""
        with self._lock:
            if not self._started:
                self._started = True
                self._host.append(("start", self._began, begin))
            self._host.append((kind, begin, end))

    def dispatched(self, at: float, result: Any) -> None:
        """A step has been given to the device, which could begin with it `at`; `result` is an array that it makes."""
        self._steps.put((at, result))

    def _watch(self) -> None:
        while (item := self._steps.get()) is not None:
            at, result = item
            with suppress(Exception):  # the training thread reads the same array, and reports the error
                result.block_until_ready()
            self._finished(at, time.monotonic())

    def _finished(self, at: float, done: float) -> None:
        with self._lock:
            begin = max(at, self._idle_from)
            self._charge(begin)
            self._seconds["step"] += done - begin
            self._idle_from = done

    def _charge(self, until: float) -> None:
        """Charges the idle time up to `until` to what the host did in it."""
        idle, later = max(0.0, until - self._idle_from), []
        for kind, begin, end in self._host:
            overlap = min(end, until) - max(begin, self._idle_from)
            if overlap > 0:
                self._seconds[kind] += overlap
                idle -= overlap
            if end > until:
                later.append((kind, begin, end))
        self._seconds["other"] += max(0.0, idle)
        self._host = later
        self._idle_from = max(self._idle_from, until)

    def seconds(self) -> dict[str, float]:
        """Seconds by kind up to the last finished step."""
        with self._lock:
            return dict(self._seconds)

    def close(self) -> dict[str, float]:
        """Waits for the device; seconds by kind up to now."""
        self._steps.put(None)
        self._thread.join()
        with self._lock:
            if not self._started:
                self._host.append(("start", self._began, time.monotonic()))
            self._charge(time.monotonic())
            return dict(self._seconds)


class Ledger:
    """Writes the rows of one attempt. `from_step` is the run's step that it goes on from."""

    def __init__(self, run_dir: Path, timeline: Timeline, from_step: int) -> None:
        path = run_dir / FILE
        before = read_rows(path)
        self._attempt = 1 + max((row["attempt"] for row in before), default=0)
        self._timeline = timeline
        _cut_unfinished(path)
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (closed by close)
        self._next = time.monotonic()
        self._step = from_step
        self.write(from_step)

    def write(self, step: int, seconds: dict[str, float] | None = None) -> None:
        """Adds a row: the totals of this attempt when the run had done `step` steps."""
        seconds = seconds or self._timeline.seconds()
        self._step = step
        self._next = time.monotonic() + EVERY_SECONDS
        row = {
            "attempt": self._attempt,
            "step": step,
            "time": round(time.time(), 3),
            "seconds": {kind: round(value, 3) for kind, value in seconds.items()},
        }
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def tick(self, step: int) -> None:
        """Adds a row if there has been none for a while."""
        if time.monotonic() >= self._next:
            self.write(step)

    def close(self, step: int) -> None:
        """Adds the last row, with everything up to now."""
        self.write(step, self._timeline.close())
        self._file.close()


def _cut_unfinished(path: Path) -> None:
    """A kill may have cut the last line short; what is appended must not continue it."""
    if path.is_file():
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(path, whole)


@dataclass(frozen=True)
class Goodput:
    """The time of a run over all of its attempts.

    Attributes:
      seconds: by kind, of work that counts, and "lost": after the checkpoint that the next attempt went on from.
      attempts: how often the run was started.
      stopped: seconds between attempts, when nothing ran; no part of the shares.
      last: when the last row was written, in seconds since 1970.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    attempts: int = 0
    stopped: float = 0.0
    last: float = 0.0

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    @property
    def share(self) -> float:
        """Steps that count as a share of all time that the run was running."""
        return self.seconds.get("step", 0.0) / self.total if self.total else 0.0


def read_goodput(run_dir: Path) -> Goodput:
    """Adds up the attempts in a run directory."""
    attempts: dict[int, list[dict[str, Any]]] = {}
    for row in read_rows(run_dir / FILE):
        attempts.setdefault(row["attempt"], []).append(row)
    if not attempts:
        return Goodput()
    rows = [attempts[number] for number in sorted(attempts)]
    seconds, stopped = dict.fromkeys((*KINDS, "lost"), 0.0), 0.0
    for this, following in zip(rows, [*rows[1:], None], strict=True):
        kept = this[-1]
        if following is not None:
            resumed = following[0]["step"]
            kept = next((row for row in reversed(this) if row["step"] <= resumed), this[0])
            seconds["lost"] += sum(this[-1]["seconds"].values()) - sum(kept["seconds"].values())
            begin = following[0]["time"] - sum(following[0]["seconds"].values())
            stopped += max(0.0, begin - this[-1]["time"])
        for kind, value in kept["seconds"].items():
            seconds[kind] += value
    return Goodput(seconds, len(rows), stopped, rows[-1][-1]["time"])
