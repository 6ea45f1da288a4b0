"""One line that says how far a training is, how fast it goes and how long it still takes."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TextIO


def clock(seconds: float) -> str:
    """75.2 -> "1:15"."""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


class ProgressLine:
    """Rewrites one line on a terminal; prints a new line each time elsewhere (logs, pipes)."""

    def __init__(self, total: int, label: str, *, start: int = 0, stream: TextIO | None = None) -> None:
        self._total, self._label, self._start = total, label, start
        self._stream = sys.stderr if stream is None else stream
        self._began = time.monotonic()

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Steps finished so far and figures to print beside them."""
        elapsed = time.monotonic() - self._began
        rate = (step - self._start) / max(elapsed, 1e-9)
        left = clock((self._total - step) / rate) if rate > 0 else "?"
        figures = " ".join(f"{name} {value:.4g}" for name, value in values.items())
        line = f"{self._label}: step {step}/{self._total}  {rate:.2f} steps/s  left {left}  {figures}"
        if self._stream.isatty():
            self._stream.write(f"\r\x1b[K{line}")
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def close(self) -> None:
        if self._stream.isatty():
            self._stream.write("\n")
            self._stream.flush()
