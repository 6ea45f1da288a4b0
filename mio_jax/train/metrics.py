"""What a run reports: one JSON row a step, and the same figures for TensorBoard.

`metrics.jsonl` of a resumed run is cut back to the step that was restored, so that in the end it holds the same losses,
bit for bit, as the file of a run that was never interrupted.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mio_jax.train.tracking import Tracker

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """The rows of a metrics file, in order; a last line cut short by a kill is left out. Missing file: no rows."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_bytes().split(b"\n")[:-1]:  # what follows the last newline is unfinished
        rows.append(json.loads(line))
    return rows


def cut_rows(path: Path, step: int) -> list[Row]:
    """Drops rows after `step` and an unfinished last line; the file is replaced whole. Returns the rows kept."""
    kept = [row for row in read_rows(path) if row["step"] <= step]
    if path.is_file():
        new = path.with_suffix(".tmp")
        with open(new, "w", encoding="utf-8") as out:
            out.writelines(_line(row) for row in kept)
            out.flush()
            os.fsync(out.fileno())
        os.replace(new, path)
    return kept


def _line(row: Row) -> str:
    return json.dumps(row, allow_nan=False) + "\n"


class MetricsWriter:
    """Appends rows to `<directory>/metrics.jsonl` and to TensorBoard events in `<directory>/tensorboard`.

    Args:
      directory: the stage's folder.
      step: the step restored; everything recorded after it is forgotten.
      global_step: the same counted over the whole run, TensorBoard's axis.
      tensorboard: whether to write events.
      tracker: where rows go too, such as W&B; it is not closed with this.

    Attributes:
      kept: the rows up to `step` that were there.
      directory: the stage's folder.
    """

    def __init__(
        self, directory: Path, step: int, global_step: int, tensorboard: bool, tracker: Tracker | None = None
    ) -> None:
        self._tracker = tracker
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        path = directory / "metrics.jsonl"
        self.kept = cut_rows(path, step)
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (closed by close)
        self._events: Any = None
        if tensorboard:
            from tensorboardX import SummaryWriter

            # `purge`: where TensorBoard forgets what a killed process recorded beyond the step restored. The step is
            # in the name because names have seconds only, and a file of the same name would be overwritten.
            purge = global_step + 1 if (directory / "tensorboard").is_dir() else None
            self._events = SummaryWriter(
                str(directory / "tensorboard"), purge_step=purge, filename_suffix=f".{global_step:09d}"
            )

    def write(self, row: Row) -> None:
        """Appends `row`; it survives a kill of this process from here on. None values are left out of TensorBoard."""
        self._file.write(_line(row))
        self._file.flush()
        if self._tracker is not None:
            self._tracker.log(row)
        if self._events is not None:
            for name, value in row.items():
                if isinstance(value, float):
                    self._events.add_scalar(name, value, row["global_step"])

    def sync(self) -> None:
        """Puts everything on disk: called before a checkpoint, whose step the rows must reach."""
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._events is not None:
            self._events.flush()

    def close(self) -> None:
        self._file.close()
        if self._events is not None:
            self._events.close()
