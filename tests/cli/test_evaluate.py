"""`mio eval`: what it passes on, what it prints, and its one line for bad input."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from mio_jax.cli.main import main
from mio_jax.config import RunConfig
from mio_jax.config_loading import save_json


@pytest.fixture
def run_dir(tmp_path: pathlib.Path) -> str:
    save_json(RunConfig(run_dir=str(tmp_path)), tmp_path / "config.json")
    return str(tmp_path)


def test_arguments_reach_the_harness(
    run_dir: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: dict[str, Any] = {}
    entry = {"metric": "accuracy", "value": 0.75, "control": 0.25, "stderr": 0.1, "n": 9, "sigmas": 5.0}

    def evaluate(config: RunConfig, **options: Any) -> dict[str, Any]:
        seen.update(options, examples=config.eval.examples, run_dir=config.run_dir)
        return {"directions": {"image->text": entry}}

    monkeypatch.setattr("mio_jax.evaluate.harness.evaluate", evaluate)
    words = ["eval", "--run", run_dir, "--directions", "image->text, text->image", "--examples", "9", "--force"]
    assert main(words) == 0
    assert seen == {"directions": ["image->text", "text->image"], "force": True, "examples": 9, "run_dir": run_dir}
    assert "image->text  0.750 against 0.250 shuffled, 5.0 standard errors apart" in capsys.readouterr().out
    assert main(["eval", "--run", run_dir]) == 0
    assert (seen["directions"], seen["force"], seen["examples"]) == ([], False, RunConfig().eval.examples)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--run", "nowhere"], "no run directory nowhere"),
        ([], "--run"),
        (["--run", "{run}", "--examples", "1"], "at least 2"),
        (["--run", "{run}", "--examples", "many"], "many"),
        (["--run", "{run}"], "no checkpoint yet"),
    ],
)
def test_bad_input(words: list[str], message: str, run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", *(word.format(run=run_dir) for word in words)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


def test_a_folder_that_is_no_run(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--run", str(tmp_path)]) == 2
    assert "not a run directory" in capsys.readouterr().err
