"""The training loop of one stage: load, step, report, save.

While the device works on step t, the host loads batch t + 1 and reads the metrics of step t - 1, so that neither waits
for the other. Nothing crosses between them unasked: a transfer guard makes that an error.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np

from mio_jax.errors import MioError
from mio_jax.train.bad_batches import BadBatches
from mio_jax.train.checkpoint import Checkpoints
from mio_jax.train.metrics import MetricsWriter, Row
from mio_jax.train.progress import RunProgress
from mio_jax.train.signals import Stopped, StopRequest
from mio_jax.train.state import State
from mio_jax.train.step import Step


class Loader(Protocol):
    """An endless iterator of batches whose position can be taken and set (a Grain `DatasetIterator`)."""

    def __next__(self) -> dict[str, np.ndarray]: ...

    def get_state(self) -> dict[str, Any]: ...

    def set_state(self, state: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class StageLoop:
    """What the loop of one stage needs; steps are counted from 1.

    Attributes:
      index, name, steps: which stage of the run, and how long it is.
      first_global: steps of the run before this stage.
      step: the compiled step; `place` puts a host batch on the devices, `rate` gives the learning rate of a step as a
        device scalar.
      save_every, log_every: in steps; the last step is always saved and logged.
      note: stored with every checkpoint.
      max_in_a_row: so many bad updates without a good one between end the run (see `mio_jax.config.GuardConfig`).
      mfu_per_speed: times tokens a second it is a row's `mfu` (`mio_jax.parallel.flops`); None: the peak is not known.
    """

    index: int
    name: str
    steps: int
    first_global: int
    step: Step
    place: Callable[[dict[str, np.ndarray]], dict[str, jax.Array]]
    rate: Callable[[int], tuple[float, jax.Array]]
    save_every: int
    log_every: int
    note: dict[str, Any]
    max_in_a_row: int = 1
    mfu_per_speed: float | None = None

    def run(
        self,
        state: State,
        done: int,
        loader: Loader,
        checkpoints: Checkpoints,
        writer: MetricsWriter,
        progress: RunProgress,
        stop: StopRequest,
    ) -> State:
        """Trains from after step `done` to the end of the stage; its last checkpoint is committed on return.

        Raises:
          MioError: too many bad updates in a row (their batches are then in `bad_batches/` of the stage's folder), or a
            checkpoint cannot be written.
          Stopped: a stop was requested; the state has been saved.
        """
        report = _Reporter(self, writer, progress)
        progress.start(done)
        batch = next(loader)
        for step in range(done + 1, self.steps + 1):
            rate, device_rate = self.rate(step)
            with jax.transfer_guard("disallow"):
                state, metrics = self.step(state, self.place(batch), device_rate)
            report.add(step, metrics, batch, rate)
            stopping = stop.signum
            save = step % self.save_every == 0 or step == self.steps or bool(stopping)
            position = loader.get_state() if save else {}  # before the next batch is taken
            if step < self.steps and not stopping:
                batch = next(loader)
            report.read(keep=1)
            if save:
                report.read(keep=0)
                writer.sync()  # rows up to a checkpoint are on disk before it is
                checkpoints.save(step, state, position, {**self.note, "step": step})
            if stopping and step < self.steps:
                checkpoints.wait()
                raise Stopped(stopping, f"stage {self.name}, step {step}")
        checkpoints.wait()
        if stop.signum:
            raise Stopped(stop.signum, f"the end of stage {self.name}")
        return state


class _Reporter:
    """Reads the metrics of finished steps and makes rows of them."""

    def __init__(self, loop: StageLoop, writer: MetricsWriter, progress: RunProgress) -> None:
        self._loop, self._writer, self._progress = loop, writer, progress
        self._pending: list[tuple[int, dict[str, jax.Array], float, dict[str, np.ndarray]]] = []
        self._bad = BadBatches(writer.directory)
        self._tokens = 0
        self._began = self._since = time.monotonic()
        self._wall_before = float(writer.kept[-1]["wall_s"]) if writer.kept else 0.0

    def add(self, step: int, metrics: dict[str, jax.Array], batch: dict[str, np.ndarray], rate: float) -> None:
        """Notes a step that has been dispatched."""
        self._pending.append((step, metrics, rate, batch))

    def read(self, keep: int) -> None:
        """Reads all but the newest `keep` steps, waiting for them."""
        while len(self._pending) > keep:
            step, metrics, rate, batch = self._pending.pop(0)
            values = {k: float(v) for k, v in jax.device_get(metrics).items()}
            self._check(step, values, batch)
            used = batch["segment_ids"] != 0
            self._finish(step, values, rate, int(used.sum()), used.size)

    def _check(self, step: int, values: dict[str, float], batch: dict[str, np.ndarray]) -> None:
        """Raises MioError if this was one bad update too many. Without a guard the first that is not finite is."""
        loop = self._loop
        strange = [f"{name} is {values[name]}" for name in ("loss", "grad_norm") if not math.isfinite(values[name])]
        in_a_row = int(values.get("in_a_row", len(strange) > 0))
        self._bad.note(step, batch, in_a_row)
        if in_a_row < max(loop.max_in_a_row, 1) or not in_a_row:
            return
        what = strange[0] if strange else f"loss is {values['loss']:.6g}, a spike"
        if loop.max_in_a_row > 1:
            what += f", and this is the update number {in_a_row} in a row that was skipped"
        raise MioError(
            f"stage {loop.name}, step {step}: {what}; the last checkpoint is from before it, and {self._bad.save()} "
            "has what it was trained on. Lower the stage's optim.learning_rate, or lengthen its warmup, in a new run"
        )

    def _finish(self, step: int, values: dict[str, float], rate: float, tokens: int, size: int) -> None:
        loop, now = self._loop, time.monotonic()
        self._tokens += tokens
        if step % loop.log_every and step != loop.steps:
            return
        speed = self._tokens / max(now - self._since, 1e-9)
        row: Row = {"step": step, "global_step": loop.first_global + step, "stage": loop.name}
        row["loss"] = _finite(values["loss"])
        for name, value in values.items():
            if name.startswith("loss/"):
                row[name] = _finite(value) if values["weight" + name[4:]] > 0 else None
        row |= {
            "tokens_per_s": round(speed, 1),
            "packing_fill": tokens / size,
            "grad_norm": _finite(values["grad_norm"]),
            "learning_rate": rate,
            "wall_s": round(self._wall_before + now - self._began, 3),
        }
        if "skipped" in values:
            row["skipped"] = int(values["skipped"])
        if loop.mfu_per_speed is not None:
            row["mfu"] = round(speed * loop.mfu_per_speed, 4)
        self._writer.write(row)
        self._progress.update(loop.index, step, values["loss"], speed)
        self._tokens, self._since = 0, now


def _finite(value: float) -> float | None:
    """JSON has no NaN: what a skipped update gave is left open."""
    return value if math.isfinite(value) else None
