"""The loop of a stage on a real (tiny) decoder: rows, checkpoints, resumption, stops and failures."""

from __future__ import annotations

import dataclasses
import functools
import io
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from mio_jax.config import CheckpointConfig, GuardConfig, MeshConfig, OptimConfig
from mio_jax.errors import MioError
from mio_jax.nn.transformer import Decoder, DecoderSpec
from mio_jax.parallel import batch_sharding, make_mesh, replicated
from mio_jax.recipes.mio.loss import loss
from mio_jax.train.checkpoint import Checkpoints, latest_step
from mio_jax.train.loop import StageLoop
from mio_jax.train.metrics import MetricsWriter, read_rows
from mio_jax.train.optimizer import learning_rate, make_optimizer
from mio_jax.train.progress import RunProgress, StatusLine
from mio_jax.train.signals import Stopped, StopRequest
from mio_jax.train.state import Plan, State, abstract_state, new_params, new_state, plan_model
from mio_jax.train.step import make_step

ROWS, LENGTH, VOCAB, STEPS = 2, 8, 24, 7
OPTIM = OptimConfig(learning_rate=1e-2, warmup_ratio=0.3)


class Counting:
    """Batches drawn from their number; the state is the next number."""

    def __init__(self, before: Callable[[int], None] = lambda n: None) -> None:
        self.next, self._before = 0, before

    def __next__(self) -> dict[str, np.ndarray]:
        self._before(self.next)
        rng = np.random.default_rng(self.next)
        self.next += 1
        segments = np.ones((ROWS, LENGTH), np.int32)
        segments[:, LENGTH - 2 :] = 0
        return {
            "tokens": rng.integers(0, VOCAB, (ROWS, LENGTH), dtype=np.int32),
            "positions": np.repeat(np.arange(LENGTH, dtype=np.int32)[None], ROWS, 0),
            "segment_ids": segments,
            "modality_ids": np.full((ROWS, LENGTH), self.next % 2, np.int32),  # text and image in turn, never audio
            "loss_weights": np.ones((ROWS, LENGTH), np.float32),
        }

    def get_state(self) -> dict[str, Any]:
        return {"next": self.next}

    def set_state(self, state: dict[str, Any]) -> None:
        self.next = state["next"]

    def close(self) -> None:
        pass


class Bench:
    """One compiled step, many runs."""

    def __init__(self, optim: OptimConfig = OPTIM) -> None:
        self.mesh = make_mesh(MeshConfig(data=1), jax.devices()[:1])
        spec = DecoderSpec(vocab_size=VOCAB, dim=8, depth=1, heads=2, kv_heads=1, head_dim=4, mlp_dim=8)
        self.plan: Plan = plan_model(lambda key: Decoder(spec, key), self.mesh)
        self.optimizer = make_optimizer(optim, self.plan.axes)
        self.abstract: State = abstract_state(self.plan, self.optimizer)
        self.step = make_step(self.plan, self.optimizer, functools.partial(loss, z_loss=0.0), self.abstract)
        with jax.set_mesh(self.mesh):
            self.first = jax.tree.map(np.asarray, new_params(self.plan, 0))
        sharding, whole = batch_sharding(self.mesh, ROWS, LENGTH), replicated(self.mesh)

        def rate(step: int) -> tuple[float, jax.Array]:
            value = learning_rate(OPTIM, STEPS, step)
            return value, jax.device_put(np.float32(value), whole)

        self.loop = StageLoop(
            index=0,
            name="only",
            steps=STEPS,
            first_global=100,
            step=self.step,
            place=lambda batch: {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch.items()},
            rate=rate,
            save_every=3,
            log_every=1,
            note={},
            max_in_a_row=optim.guard.max_in_a_row,
        )

    def run(
        self, folder: Path, loader: Counting | None = None, stop: StopRequest | None = None, **changes: Any
    ) -> list[dict[str, Any]]:
        """Starts or resumes in `folder`, as `mio_jax.train.stages` does, and returns the rows."""
        loader = loader or Counting()
        done = latest_step(folder / "checkpoints") or 0
        with jax.set_mesh(self.mesh), Checkpoints(folder / "checkpoints", CheckpointConfig(keep_last=2)) as checkpoints:
            if done:
                state, position = checkpoints.restore(done, self.abstract)
                loader.set_state(position)
            else:
                params = jax.tree.map(lambda x, like: jax.device_put(x, like.sharding), self.first, self.plan.params)
                state = new_state(params, self.optimizer, self.abstract)
            writer = MetricsWriter(folder, done, 100 + done, False)
            progress = RunProgress([("only", STEPS, ROWS)], line=StatusLine(stream=io.StringIO()))
            loop = dataclasses.replace(self.loop, **changes)
            try:
                loop.run(state, done, loader, checkpoints, writer, progress, stop or StopRequest())
            finally:
                writer.close()
        return read_rows(folder / "metrics.jsonl")


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench()


@pytest.fixture(scope="module")
def unbroken(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return bench.run(tmp_path_factory.mktemp("unbroken"))


TIMES = ("wall_s", "tokens_per_s")


def timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def test_rows(unbroken: list[dict[str, Any]]) -> None:
    assert [row["step"] for row in unbroken] == list(range(1, STEPS + 1))
    assert [row["global_step"] for row in unbroken] == list(range(101, 101 + STEPS))
    for row in unbroken:
        assert list(row) == [
            *("step", "global_step", "stage", "loss", "loss/audio", "loss/image", "loss/text", "tokens_per_s"),
            *("packing_fill", "grad_norm", "learning_rate", "wall_s"),
        ]
        seen, other = ("loss/image", "loss/text") if row["step"] % 2 else ("loss/text", "loss/image")
        assert row[seen] == row["loss"]
        assert row[other] is row["loss/audio"] is None  # nothing of it in this batch
        assert row["packing_fill"] == (LENGTH - 2) / LENGTH
        assert row["learning_rate"] == learning_rate(OPTIM, STEPS, row["step"])
        assert row["tokens_per_s"] > 0
        assert row["grad_norm"] > 0
    assert len({row["loss"] for row in unbroken}) == STEPS


class Crash(Exception):
    pass


@pytest.mark.parametrize("at", [1, 3, 4, 6])
def test_a_crash_anywhere_changes_no_loss(
    bench: Bench, unbroken: list[dict[str, Any]], tmp_path: Path, at: int
) -> None:
    def crash(number: int) -> None:
        if number == at:
            raise Crash

    with pytest.raises(Crash):
        bench.run(tmp_path, Counting(crash))
    # The crash comes while batch `at` is loaded, in the middle of step `at`: its checkpoint is not written any more.
    assert (latest_step(tmp_path / "checkpoints") or 0) == (at - 1) // 3 * 3
    assert timeless(bench.run(tmp_path)) == timeless(unbroken)
    assert latest_step(tmp_path / "checkpoints") == STEPS


def test_sigterm_saves_and_ends_with_143(bench: Bench, unbroken: list[dict[str, Any]], tmp_path: Path) -> None:
    def terminate(number: int) -> None:
        if number == 4:  # loaded during step 4, so the stop is seen in step 5
            os.kill(os.getpid(), signal.SIGTERM)

    with StopRequest() as stop, pytest.raises(Stopped) as stopped:
        bench.run(tmp_path, Counting(terminate), stop)
    assert stopped.value.code == 143
    assert stopped.value.where == "stage only, step 5"
    assert latest_step(tmp_path / "checkpoints") == 5
    assert timeless(bench.run(tmp_path)) == timeless(unbroken)


def test_a_second_signal_acts_at_once() -> None:
    # A process that a shell put in the background is born deaf to SIGINT, and so is its test.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.signum == signal.SIGINT
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_logging_less_often_keeps_the_last_step(bench: Bench, unbroken: list[dict[str, Any]], tmp_path: Path) -> None:
    rows = bench.run(tmp_path, log_every=3)
    assert [row["step"] for row in rows] == [3, 6, 7]
    assert [row["loss"] for row in rows] == [unbroken[i - 1]["loss"] for i in (3, 6, 7)]


def test_checkpoints_are_ranked_by_the_mean_since_the_one_before(
    bench: Bench, unbroken: list[dict[str, Any]], tmp_path: Path
) -> None:
    bench.run(tmp_path, best_metric="loss/image")  # which only odd steps have
    of = {row["step"]: row["loss/image"] for row in unbroken}
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        assert {found.step: found.metrics for found in checkpoints.saved} == {
            6: {"loss/image": of[5]},
            7: {"loss/image": of[7]},
        }
    with pytest.raises(MioError, match=r"best_metric is 'los', which no row of metrics has; they have .*loss/image"):
        bench.run(tmp_path / "other", best_metric="los")


def test_a_loss_that_is_no_number_stops_before_it_is_saved(bench: Bench, tmp_path: Path) -> None:
    def rate(step: int) -> tuple[float, jax.Array]:
        return 1e-2, jax.device_put(np.float32(1e-2 if step < 4 else np.nan), replicated(bench.mesh))

    with pytest.raises(MioError, match=r"stage only, step 5: loss is nan; .*bad_batches .*optim.learning_rate"):
        bench.run(tmp_path, rate=rate)
    assert latest_step(tmp_path / "checkpoints") == 3
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]
    assert saved_batches(tmp_path) == [5]


def saved_batches(folder: Path) -> list[int]:
    """Steps whose batches were saved; checks that each is the one that the step had."""
    steps = []
    for path in sorted((folder / "bad_batches").glob("*.npz")):
        steps.append(int(path.stem.removeprefix("step_")))
        loader = Counting()
        loader.next = steps[-1] - 1
        wanted = next(loader)
        with np.load(path) as found:
            assert sorted(found) == sorted(wanted)
            np.testing.assert_array_equal(found["tokens"], wanted["tokens"])
    return steps


class Poisoned(Counting):
    """Some batches (by number, from 0) have a weight that is no number."""

    def __init__(self, numbers: set[int], before: Callable[[int], None] = lambda n: None) -> None:
        super().__init__(before)
        self._numbers = numbers

    def __next__(self) -> dict[str, np.ndarray]:
        number = self.next
        batch = super().__next__()
        if number in self._numbers:
            batch["loss_weights"][0, 3] = np.nan
        return batch


@pytest.fixture(scope="module")
def guarded() -> Bench:
    return Bench(dataclasses.replace(OPTIM, guard=GuardConfig(max_in_a_row=2)))


def test_bad_updates_are_skipped_and_counted(guarded: Bench, tmp_path: Path) -> None:
    rows = guarded.run(tmp_path / "whole", Poisoned({1, 4}))
    assert [row["skipped"] for row in rows] == [0, 1, 1, 1, 2, 2, 2]
    assert [row["loss"] is None for row in rows] == [n in (2, 5) for n in range(1, STEPS + 1)]
    assert [row["grad_norm"] is None for row in rows] == [n in (2, 5) for n in range(1, STEPS + 1)]
    assert not (tmp_path / "whole" / "bad_batches").exists()

    def crash(number: int) -> None:
        if number == 5:
            raise Crash

    with pytest.raises(Crash):  # the count and the running mean come back from the checkpoint
        guarded.run(tmp_path / "again", Poisoned({1, 4}, crash))
    assert timeless(guarded.run(tmp_path / "again", Poisoned({1, 4}))) == timeless(rows)


def test_too_many_bad_updates_in_a_row_end_the_run(guarded: Bench, tmp_path: Path) -> None:
    said = r"step 5: loss is nan, and the last 2 updates were all skipped; .*bad_batches has what it was trained on"
    with pytest.raises(MioError, match=said):
        guarded.run(tmp_path, Poisoned({1, 3, 4}))
    assert saved_batches(tmp_path) == [4, 5]
    assert [row["step"] for row in read_rows(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]
    assert latest_step(tmp_path / "checkpoints") == 3


def test_a_bad_batch_that_cannot_be_saved_is_said(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "bad_batches").write_text("in the way")
    with pytest.raises(MioError, match=r"steps 2 were bad, and their batches could not be saved"):
        bench.run(tmp_path, Poisoned({1}))


def test_a_batch_without_a_single_target_changes_nothing_but_the_decay(bench: Bench, tmp_path: Path) -> None:
    class Empty(Counting):
        def __next__(self) -> dict[str, np.ndarray]:
            batch = super().__next__()
            return batch | {"loss_weights": np.zeros_like(batch["loss_weights"])}

    rows = bench.run(tmp_path, Empty())
    assert {row["loss"] for row in rows} == {row["grad_norm"] for row in rows} == {0.0}


def test_no_hidden_transfers(bench: Bench, tmp_path: Path) -> None:
    """What crosses from the host without being placed is an error, not a slow step."""
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        bench.run(tmp_path, place=lambda batch: batch)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    assert signal.getsignal(signal.SIGTERM) is before, "a handler was left behind"


def test_mfu_is_in_a_row_where_the_peak_is_known(bench: Bench, tmp_path: Path) -> None:
    for row in bench.run(tmp_path / "known", mfu_per_speed=1e-3):
        assert row["mfu"] == pytest.approx(1e-3 * row["tokens_per_s"], abs=2e-4)
    assert all("mfu" not in row for row in bench.run(tmp_path / "unknown"))
