"""The page of `mio status`: what it says of a run that is training, stopped, finished or not begun."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from mio_jax.cli.main import main
from mio_jax.cli.status import status
from mio_jax.config import RunConfig, StageConfig
from mio_jax.config_loading import save_json
from mio_jax.train.goodput import FILE, KINDS
from mio_jax.train.run_dir import checkpoint_dir, stage_dir


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    """A run of two stages, the second half way."""
    stages = (StageConfig("a", 4, "m", 2), StageConfig("b", 10, "m", 4))
    made = RunConfig(run_dir=str(tmp_path / "run"), stages=stages)
    save_json(made, tmp_path / "run" / "config.json")
    for index, steps in enumerate((4, 5)):
        rows = [
            {
                "step": n,
                "global_step": n + 4 * index,
                "stage": "ab"[index],
                "loss": 3.0,
                "loss/text": 2.0,
                "loss/image": None if n % 2 else 4.0,
                "tokens_per_s": 100.0 * n,
                "wall_s": 2.0 * n + 7,
            }
            for n in range(1, steps + 1)
        ]
        stage_dir(made, index).mkdir(parents=True)
        (stage_dir(made, index) / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        folder = checkpoint_dir(made, index)
        for name in ("3", "4", "5.orbax-checkpoint-tmp"):
            (folder / name).mkdir(parents=True)
            (folder / name / "data").write_bytes(bytes(1000))
    books = {"attempt": 1, "step": 9, "time": 1.7e9, "seconds": dict.fromkeys(KINDS, 0.0) | {"step": 75, "input": 25}}
    (tmp_path / "run" / FILE).write_text(json.dumps(books) + "\n")
    return made


def test_figures(config: RunConfig) -> None:
    found = status(config)
    assert (found["state"], found["stage"], found["stage_step"], found["step"], found["steps"]) == (
        "stopped",
        "b",
        5,
        9,
        14,
    )
    assert found["tokens_per_s"] == pytest.approx(400)  # those of steps 3 to 5, in 6 s
    assert found["seconds_per_step"] == pytest.approx(2)
    assert found["eta_s"] == pytest.approx(10)
    assert found["losses"] == {"loss": 3.0, "text": 2.0, "image": 4.0}
    assert found["goodput"]["share"] == pytest.approx(0.75)
    assert (found["checkpoint"]["stage"], found["checkpoint"]["step"]) == ("b", 4)  # not the one being written
    assert found["disk"]["checkpoint_bytes"] == 6000
    assert found["disk"]["run_bytes"] > 6000


def test_states(config: RunConfig, capsys: pytest.CaptureFixture[str]) -> None:
    with open(Path(config.run_dir) / ".lock", "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(["status", config.run_dir]) == 0
        shown = capsys.readouterr().out
    for part in (
        "training, last row",
        "2/2 b  step 5/10",
        "9/14",
        "400 tokens/s, 2 s a step",
        "0:10",
        "75.0% of the time",
    ):
        assert part in shown
    (checkpoint_dir(config, 1) / "10").mkdir()
    assert main(["status", config.run_dir, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["state"], found["eta_s"]) == ("finished", 0.0)


def test_a_run_that_has_not_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_json(RunConfig(), tmp_path / "config.json")
    assert main(["status", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    for part in ("stopped, last row never", "step 0/100", "not known yet", "no books kept", "none yet"):
        assert part in shown
    assert main(["status", str(tmp_path / "nowhere")]) == 2
    assert "there is no run directory" in capsys.readouterr().err
