"""Stopping on request: the loop finishes its step, saves a checkpoint and ends with the signal's exit status."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import Any


class Stopped(SystemExit):
    """Raised after a requested stop has been saved; the process ends with 128 + the signal's number (SIGTERM: 143)."""

    def __init__(self, signum: int, where: str) -> None:
        super().__init__(128 + signum)
        self.where = where


class StopRequest:
    """While it is entered, a first SIGTERM or SIGINT is noted in `signum`; a second one ends the process as ever.

    Outside the main thread, where Python allows no handlers, it does nothing.
    """

    def __init__(self) -> None:
        self.signum = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGTERM, signal.SIGINT):
                self._before[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum
        self._restore()  # the next one acts at once
        name = signal.Signals(signum).name
        print(f"\n{name}: stopping after this step, with a checkpoint; once more to stop at once", file=sys.stderr)

    def _restore(self) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before.clear()
