"""A real tiny run under observation: books that add up, a trace of the steps asked for, W&B where it is asked for."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

from mio_jax.config import LogConfig, RunConfig
from mio_jax.config_loading import load_json, save_json
from mio_jax.errors import MioError
from mio_jax.train.goodput import FILE, read_goodput
from mio_jax.train.metrics import MetricsWriter, read_rows
from mio_jax.train.run_dir import stage_dir
from mio_jax.train.trace import Steps, Trace, parse_steps
from mio_jax.train.tracking import WandbTracker
from tests.train import tiny
from tests.train.processes import Server, rows, start, steps_done


def test_books_of_a_finished_run(finished: RunConfig) -> None:
    found = read_goodput(Path(finished.run_dir))
    assert found.attempts == 1
    assert found.seconds["lost"] == found.stopped == 0
    assert min(found.seconds[kind] for kind in ("start", "step", "save")) > 0
    assert found.seconds["compile"] > 0
    assert 0 < found.share < 1
    loops = sum(read_rows(stage_dir(finished, i) / "metrics.jsonl")[-1]["wall_s"] for i in range(3))
    assert found.total >= 0.9 * loops  # the books cover the loops and what lies around them


def test_a_traced_run_has_the_same_losses(
    server: Server, finished: RunConfig, unbroken: list[dict[str, Any]], tmp_path: Path
) -> None:
    given, folder = tmp_path / "given.json", tmp_path / "run"
    config = load_json(RunConfig, Path(finished.run_dir) / "config.json").replace(run_dir=str(folder))
    config = config.replace(stages=(dataclasses.replace(config.stages[0], steps=tiny.STEPS),))
    file = tmp_path / "given.py"
    save_json(config, given)
    loads = "from mio_jax.config import RunConfig\nfrom mio_jax.config_loading import load_json\n"
    file.write_text(f"{loads}def get_config():\n    return load_json(RunConfig, {str(given)!r})\n")
    server.start(["train", "--config", str(file), "--profile", "3:5"], tmp_path / "log.txt")
    assert server.wait() == 0, (tmp_path / "log.txt").read_text()[-3000:]
    assert "trace of steps 3 to 5 written" in (tmp_path / "log.txt").read_text()
    assert [row["loss"] for row in rows(config)] == [row["loss"] for row in unbroken[: tiny.STEPS]]
    traces = list((folder / "profile").glob("plugins/profile/*/*.xplane.pb"))  # where xprof looks
    assert len(traces) == 1
    content = traces[0].read_bytes()
    assert b"step_num" in content
    assert b"train" in content


@pytest.mark.parametrize("text", ["10", "13:10", "0:3", "a:b", "3:"])
def test_a_wrong_range_is_named(text: str) -> None:
    with pytest.raises(MioError, match="write it as FIRST:LAST"):
        parse_steps(text)


def test_a_range_outside_of_what_is_trained_is_refused(tmp_path: Path) -> None:
    assert parse_steps("10:13") == Steps(10, 13)
    with pytest.raises(MioError, match="are 11 to 20"):
        Trace(Steps(10, 13), tmp_path, 10, 20)
    with pytest.raises(MioError, match="are 1 to 12"):
        Trace(Steps(10, 13), tmp_path, 0, 12)


class FakeRun:
    """The part of wandb's run that is used; wandb itself is an extra that the tests do not need."""

    def __init__(self, **given: Any) -> None:
        self.given, self.rows, self.finished = given, [], False
        self.id = given["id"] or "made-up"

    def log(self, row: dict[str, Any], step: int) -> None:
        assert not self.rows or step > self.rows[-1][0]
        self.rows.append((step, row))

    def finish(self) -> None:
        self.finished = True


def test_wandb_gets_the_rows_and_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[FakeRun] = []

    def init(**given: Any) -> FakeRun:
        runs.append(FakeRun(**given))
        return runs[-1]

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    config = RunConfig(name="n", run_dir=str(tmp_path), log=LogConfig(wandb=True))
    for first in (1, 3):
        tracker = WandbTracker(config)
        writer = MetricsWriter(tmp_path / "stage", first - 1, first + 9, False, tracker)
        for step in (first, first + 1):
            writer.write({"step": step, "global_step": step + 10, "stage": "a", "loss": 0.5, "loss/audio": None})
        writer.close()
        tracker.close()
    assert [run.given["id"] for run in runs] == [None, "made-up"]
    assert runs[0].given["project"] == "n"
    assert runs[0].given["config"]["log"]["wandb"] is True
    assert runs[0].rows == [(11, {"step": 1, "loss": 0.5}), (12, {"step": 2, "loss": 0.5})]
    assert [step for step, _ in runs[1].rows] == [13, 14]
    assert all(run.finished for run in runs)
    assert json.loads((tmp_path / "wandb.json").read_text()) == {"id": "made-up"}


def test_wandb_missing_or_unwilling_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunConfig(run_dir=str(tmp_path), log=LogConfig(wandb=True))
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MioError, match=r"pip install 'mio_jax\[wandb\]'"):
        WandbTracker(config)

    def init(**given: Any) -> None:
        raise RuntimeError("api_key not configured\nmore")

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    with pytest.raises(MioError, match="could not start: api_key not configured; WANDB_MODE=offline"):
        WandbTracker(config)


def test_a_kill_is_on_the_books(server: Server, finished: RunConfig, tmp_path: Path) -> None:
    config = finished.replace(run_dir=str(tmp_path / "run"), stages=finished.stages[:1])
    pid = start(server, config)
    while steps_done(config) < 8:  # the last checkpoint is that of step 5
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    server.wait()
    killed = read_goodput(Path(config.run_dir))
    assert (killed.attempts, killed.seconds["lost"]) == (1, 0)  # not known to be lost before the next attempt
    start(server, config)
    assert server.wait() == 0
    found = read_goodput(Path(config.run_dir))
    assert found.attempts == 2
    assert found.total > killed.total  # nothing of the first attempt is forgotten, whether it was lost or kept
    books = read_rows(Path(config.run_dir) / FILE)
    resumed = next(row["step"] for row in books if row["attempt"] == 2)
    assert resumed in (0, 5)  # the checkpoint may not have been whole yet
    assert resumed == 5 or found.seconds["lost"] > 0
    assert books[-1]["step"] == tiny.STEPS
