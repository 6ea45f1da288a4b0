"""Lines, rates and times left, by a clock of our own."""

from __future__ import annotations

import io

import pytest

from mio_jax.train import progress
from mio_jax.train.progress import Progress, Rate, RunProgress, StatusLine, clock, short


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time_is(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that new rates read."""
    now = Clock()
    monkeypatch.setattr(progress.Rate.__init__, "__kwdefaults__", {"window": 30.0, "now": now})
    return now


def test_clock_and_numbers() -> None:
    assert [clock(s) for s in (0, 9.6, 75, 3675, float("inf"), float("nan"))] == [
        "0:00",
        "0:10",
        "1:15",
        "1:01:15",
        "?",
        "?",
    ]
    assert [short(n) for n in (7, 950, 12345, 3.2e6, 6.8e9)] == ["7", "950", "12.3k", "3.2M", "6.8G"]


def test_a_log_gets_a_line_every_ten_seconds_and_the_last() -> None:
    out, now = io.StringIO(), Clock()
    line = StatusLine(stream=out, now=now)
    for second in range(26):
        now.now = second
        line.show(f"t{second}", last=second == 25)
    assert out.getvalue().split() == ["t0", "t10", "t20", "t25"]


def test_a_terminal_gets_one_line_rewritten() -> None:
    out, now = Terminal(), Clock()
    line = StatusLine(stream=out, now=now)
    for tenth in range(5):
        now.now = tenth * 0.2
        line.show(f"t{tenth}", last=tenth == 4)
    line.end()
    assert out.getvalue() == "".join(f"\r\x1b[Kt{tenth}" for tenth in range(5)) + "\n"


def test_rate_follows_the_present() -> None:
    now = Clock()
    rate = Rate(window=10, now=now)
    for second in range(1, 101):
        now.now = second
        rate.add(1 if second <= 50 else 5)
    assert rate.per_second == pytest.approx(5)


def test_progress_shows_rate_and_time_left(time_is: Clock) -> None:
    out = io.StringIO()
    with Progress(100, "encoding", unit="files", line=StatusLine(stream=out, every=0)) as bar:
        time_is.now = 10.0
        bar.update(20, loss=0.12345)
    assert out.getvalue() == "encoding 20/100  loss 0.1235  2 files/s  0:40 left\n"


def test_run_progress_counts_rows_of_later_stages_and_forgets_compilation(time_is: Clock) -> None:
    out = io.StringIO()
    bar = RunProgress([("a", 10, 8), ("b", 10, 16)], line=StatusLine(stream=out, every=0))
    bar.start(0)
    time_is.now = 60.0  # the first step compiles
    bar.update(0, 1, 5.0, 10.0)
    time_is.now = 62.0
    bar.update(0, 2, 4.0, 3000.0)
    # 8 rows in 2 s; 8 steps of 8 rows are left here, then 10 of 16
    assert out.getvalue().splitlines()[-1] == (
        "stage 1/2 a  step 2/10  loss 4.0000  3k tokens/s  left 0:16, all stages 0:56"
    )
