"""The books of a run: device time, idle time by what the host did, and what a killed attempt lost."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from mio_jax.train.goodput import FILE, KINDS, Ledger, Timeline, read_goodput


class Result:
    """An array that is ready some time after the step was dispatched."""

    def __init__(self, seconds: float) -> None:
        self._ready = threading.Event()
        threading.Timer(seconds, self._ready.set).start()

    def block_until_ready(self) -> None:
        assert self._ready.wait(20)


def test_idle_time_is_charged_to_what_the_host_did() -> None:
    timeline = Timeline(time.monotonic() - 1.0)
    with timeline.doing("input"):
        time.sleep(0.2)
    timeline.dispatched(time.monotonic(), Result(0.5))
    with timeline.doing("input"):  # over before the device needs it
        time.sleep(0.1)
    time.sleep(0.6)
    with timeline.doing("save"):
        time.sleep(0.3)
    seconds = timeline.close()
    assert set(seconds) == set(KINDS)
    assert seconds["start"] == pytest.approx(1.0, abs=0.15)
    assert seconds["input"] == pytest.approx(0.2, abs=0.15)
    assert seconds["step"] == pytest.approx(0.5, abs=0.2)
    assert seconds["save"] == pytest.approx(0.3, abs=0.15)
    assert sum(seconds.values()) == pytest.approx(2.2, abs=0.6)


def test_steps_that_follow_at_once_leave_no_gap() -> None:
    timeline = Timeline(time.monotonic())
    timeline.did("input", time.monotonic(), time.monotonic())
    for k in range(3):
        timeline.dispatched(time.monotonic(), Result(0.2 * (k + 1)))
    seconds = timeline.close()
    assert seconds["step"] == pytest.approx(0.6, abs=0.2)
    assert seconds["step"] / sum(seconds.values()) > 0.9


def test_a_step_that_fails_is_left_to_the_training_thread() -> None:
    class Broken:
        def block_until_ready(self) -> None:
            raise RuntimeError("out of memory")

    timeline = Timeline(time.monotonic())
    timeline.dispatched(time.monotonic(), Broken())
    assert timeline.close()["step"] >= 0


def line(attempt: int, done: int, at: float, **seconds: float) -> str:
    return json.dumps({"attempt": attempt, "step": done, "time": at, "seconds": dict.fromkeys(KINDS, 0.0) | seconds})


def test_lost_work_and_pauses(tmp_path: Path) -> None:
    rows = [
        line(1, 0, 1000, start=4),
        line(1, 10, 1020, start=4, step=18, save=2),  # the checkpoint that the next attempt goes on from
        line(1, 17, 1034, start=4, step=31, save=3),  # killed here: 14 seconds of work lost
        line(2, 10, 2000, start=6),  # began at 1994, 960 seconds after
        line(2, 20, 2022, start=6, step=20, save=2),
    ]
    (tmp_path / FILE).write_text("\n".join(rows) + "\n" + '{"attempt": 2, "st')  # and a row cut by a kill
    found = read_goodput(tmp_path)
    assert found.seconds == {"start": 10, "compile": 0, "input": 0, "step": 38, "save": 4, "other": 0, "lost": 14}
    assert (found.attempts, found.stopped, found.last, found.total) == (2, 960, 2022, 66)
    assert found.share == pytest.approx(38 / 66)

    timeline = Timeline(time.monotonic())
    Ledger(tmp_path, timeline, 20).close(21)
    found = read_goodput(tmp_path)  # the cut row is gone, the new attempt stands behind it
    assert (found.attempts, found.seconds["lost"]) == (3, 14)


def test_no_books_no_goodput(tmp_path: Path) -> None:
    assert (read_goodput(tmp_path).share, read_goodput(tmp_path).attempts) == (0.0, 0)
