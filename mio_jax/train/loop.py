"""The training loop of one stage: load, step, report, save.

While the device works on step t, the host loads batch t + 1 and reads the metrics of step t - 1, so that neither waits
for the other. Nothing crosses between them unasked: a transfer guard makes that an error.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import numpy as np

from mio_jax.errors import MioError
from mio_jax.train.bad_batches import BadBatches
from mio_jax.train.checkpoint import Checkpoints
from mio_jax.train.metrics import MetricsWriter, Row
from mio_jax.train.processes import Alone, SilentMetrics
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
      best_metric: the name of a number in the rows of metrics that checkpoints are ranked by; empty: they are not.
      peers: the other processes of the job.
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
    best_metric: str = ""
    peers: Alone = field(default_factory=Alone)
    mfu_per_speed: float | None = None

    def run(
        self,
        state: State,
        done: int,
        loader: Loader,
        checkpoints: Checkpoints,
        writer: MetricsWriter | SilentMetrics,
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
                placed = self.place(batch)
                state, metrics = self.step(state, placed, device_rate)
                tokens = self.peers.tokens(batch, placed)
                report.add(step, metrics, rate, batch, tokens, placed["segment_ids"].size)
            stopping = self.peers.stop(stop.signum)
            save = step % self.save_every == 0 or step == self.steps or bool(stopping)
            position = self.peers.position(loader.get_state()) if save else {}  # before the next batch is taken
            if step < self.steps and not stopping:
                batch = next(loader)
            report.read(keep=1)
            if save:
                report.read(keep=0)
                writer.sync()  # rows up to a checkpoint are on disk before it is
                checkpoints.save(step, state, position, {**self.note, "step": step}, report.ranked_by())
            if stopping and step < self.steps:
                checkpoints.wait()
                raise Stopped(stopping, f"stage {self.name}, step {step}")
        checkpoints.wait()
        stopping = self.peers.stop(stop.signum, now=True)
        if stopping:
            raise Stopped(stopping, f"the end of stage {self.name}")
        return state


class _Reporter:
    """Reads the metrics of finished steps and makes rows of them."""

    def __init__(self, loop: StageLoop, writer: MetricsWriter | SilentMetrics, progress: RunProgress) -> None:
        self._loop, self._writer, self._progress = loop, writer, progress
        self._pending: list[tuple[int, dict[str, jax.Array], float, dict[str, np.ndarray], Any, int]] = []
        self._bad = BadBatches(writer.directory)
        self._tokens = 0
        self._ranks: list[float] = []  # the best_metric of the rows since the last checkpoint
        self._began = self._since = time.monotonic()
        self._wall_before = float(writer.kept[-1]["wall_s"]) if writer.kept else 0.0

    def add(
        self,
        step: int,
        metrics: dict[str, jax.Array],
        rate: float,
        batch: dict[str, np.ndarray],
        tokens: Any,
        size: int,
    ) -> None:
        """Notes a step that has been dispatched: `tokens` of the `size` places of its global batch are not padding;
        `batch` is what this process has of it."""
        self._pending.append((step, metrics, rate, batch, tokens, size))

    def read(self, keep: int) -> None:
        """Reads all but the newest `keep` steps, waiting for them."""
        while len(self._pending) > keep:
            step, metrics, rate, batch, tokens, size = self._pending.pop(0)
            values = {k: float(v) for k, v in jax.device_get(metrics).items()}
            self._check(step, values, batch)
            self._finish(step, values, rate, int(jax.device_get(tokens)), size)

    def _check(self, step: int, values: dict[str, float], batch: dict[str, np.ndarray]) -> None:
        """Raises MioError if this was one bad update too many. Without a guard the first that is not finite is."""
        loop = self._loop
        strange = [f"{name} is {values[name]}" for name in ("loss", "grad_norm") if not math.isfinite(values[name])]
        in_a_row = int(values.get("in_a_row", len(strange) > 0))
        self._bad.note(step, batch, in_a_row)
        if not in_a_row or in_a_row < loop.max_in_a_row:
            return
        what = strange[0] if strange else f"loss is {values['loss']:.6g}, a spike"
        if loop.max_in_a_row > 1:
            what += f", and the last {in_a_row} updates were all skipped"
        raise MioError(
            f"stage {loop.name}, step {step}: {what}; the last checkpoint is from before it, and {self._bad.save()} "
            "has what it was trained on. Lower the stage's optim.learning_rate, or lengthen its warmup, in a new run"
        )

    def ranked_by(self) -> dict[str, float]:
        """The mean of the best_metric over the rows since this was last asked; empty if no row had it."""
        ranks, self._ranks = self._ranks, []
        return {self._loop.best_metric: math.fsum(ranks) / len(ranks)} if ranks else {}

    def _rank(self, row: Row) -> None:
        name = self._loop.best_metric
        if name and name not in row:
            numbers = ", ".join(key for key, value in row.items() if not isinstance(value, str))
            raise MioError(f"checkpoint.best_metric is {name!r}, which no row of metrics has; they have {numbers}")
        if name and row[name] is not None:
            self._ranks.append(float(row[name]))

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
        self._rank(row)
        self._writer.write(row)
        self._progress.update(loop.index, step, values["loss"], speed)
        self._tokens, self._since = 0, now


def _finite(value: float) -> float | None:
    """JSON has no NaN: what a skipped update gave is left open."""
    return value if math.isfinite(value) else None
