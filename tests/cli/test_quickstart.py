"""The frame of the quickstart: order of phases, what is skipped, how time adds up. Each phase has its own tests."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from mio_jax.cli import main as cli
from mio_jax.cli import quickstart
from mio_jax.cli.quickstart import PhaseTimes, config_key
from mio_jax.config import RunConfig
from mio_jax.errors import MioError
from tests.web.made_run import make_results, make_run


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The phases replaced by notes of their calls; evaluation writes results, so that the report has something."""
    made: list[str] = []
    monkeypatch.setattr(quickstart, "_prepare", lambda config: made.append("prepare"))
    monkeypatch.setattr(quickstart, "_train", lambda config: made.append("train"))

    def evaluate(config: RunConfig) -> None:
        made.append("evaluate")
        make_results(Path(config.run_dir), examples=1)

    monkeypatch.setattr(quickstart, "_evaluate", evaluate)
    monkeypatch.setenv("MIO_INSTALL_SECONDS", "12")
    # It would set JAX's cache folder for every later test of this process.
    monkeypatch.setattr("mio_jax.train.compilation.use_compilation_cache", lambda: None)
    return made


def command(folder: Path, *more: str) -> list[str]:
    run = folder / "run"
    if not run.exists():
        make_run(run, steps=4, evaluated=False)
    file = folder / "c.py"
    file.write_text(
        "from mio_jax.config import RunConfig\ndef get_config():\n"
        f"    return RunConfig(name='made', run_dir={str(run)!r})\n"
    )
    return ["quickstart", "--config", str(file), *more]


def test_phases_run_in_order_and_can_be_run_again(
    tmp_path: Path, calls: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(command(tmp_path)) == 0
    assert calls == ["prepare", "train", "evaluate"]
    shown = capsys.readouterr().out
    assert "[1/4] prepare" in shown
    assert "image+question->text" in shown
    assert str((tmp_path / "run" / "report.html").resolve()) in shown
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["wall_s"]["install"] == 12
    assert set(results["wall_s"]) == {"install", "prepare", "train", "evaluate", "report", "total"}
    assert results["directions"]["text->image"]["n"] == 208  # untouched beside the times

    assert cli.main(command(tmp_path)) == 0  # each phase is asked again: it knows itself what is finished
    assert calls == ["prepare", "train", "evaluate"] * 2


def test_an_interrupted_phase_is_not_finished_and_its_time_counts(
    tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(config: RunConfig) -> None:
        time.sleep(0.2)
        raise KeyboardInterrupt

    words = command(tmp_path)
    monkeypatch.setattr(quickstart, "_train", interrupted)
    assert cli.main(words) == 130
    phases = json.loads((tmp_path / "run" / "phases.json").read_text())["phases"]
    assert phases["prepare"]["finished"]
    assert not phases["train"]["finished"]
    assert phases["train"]["wall_s"] >= 0.2
    assert cli.main(words) == 130
    again = json.loads((tmp_path / "run" / "phases.json").read_text())["phases"]
    assert again["train"]["wall_s"] >= phases["train"]["wall_s"] + 0.2
    assert "evaluate" not in calls


def test_time_of_a_killed_attempt_is_on_disk_while_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "phases.json"
    times = PhaseTimes(path, "k", every=0.02)
    with times.measure("train"):
        deadline = time.monotonic() + 10
        while not path.is_file() and time.monotonic() < deadline:
            time.sleep(0.01)
        seen = json.loads(path.read_text())["phases"]["train"]
    assert seen["wall_s"] > 0
    assert not seen["finished"]
    assert PhaseTimes(path, "k").finished("train")
    assert not PhaseTimes(path, "other").finished("train")
    assert PhaseTimes(path, "other").seconds("train") == 0


def test_damaged_times_are_named(tmp_path: Path) -> None:
    (tmp_path / "phases.json").write_text('{"phases": [1]}')
    with pytest.raises(MioError, match=r"phases\.json is damaged"):
        PhaseTimes(tmp_path / "phases.json", "k")
    (tmp_path / "phases.json").write_text("{")
    with pytest.raises(MioError, match=r"phases\.json is damaged"):
        PhaseTimes(tmp_path / "phases.json", "k")


def test_key_follows_every_field() -> None:
    assert config_key(RunConfig()) == config_key(RunConfig())
    assert config_key(RunConfig()) != config_key(RunConfig(seed=1))
