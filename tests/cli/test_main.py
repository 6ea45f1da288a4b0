"""The `mio` command: help, errors as one line, exit statuses, lazy imports."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mio_jax.cli import main as cli
from mio_jax.config_loading import add_config_arguments, config_from_args, parse_args
from mio_jax.errors import MioError


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A subcommand `probe` whose body a test chooses."""

    def install(body: str, arguments: str = "pass") -> None:
        text = (
            '"""Probe."""\nimport os\nfrom mio_jax.errors import MioError\nfrom mio_jax.config_loading import *\n'
            f'SUMMARY = "probe"\ndef add_arguments(parser):\n    {arguments}\ndef run(args):\n    {body}\n'
        )
        (tmp_path / "mio_probe_command.py").write_text(text)
        monkeypatch.syspath_prepend(str(tmp_path))
        sys.modules.pop("mio_probe_command", None)
        importlib.invalidate_caches()
        monkeypatch.setitem(cli.COMMANDS, "probe", cli.Command("mio_probe_command", "probe"))

    return install


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_teaches(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    shown = capsys.readouterr().out
    for name in ("data", "tokenizer", "train", "generate", "eval", "report", "quickstart"):
        assert f"\n  {name} " in shown
    assert "mio train --config configs/quickstart.py" in shown


def test_help_imports_no_jax() -> None:
    """Help must come at once, also on a machine where JAX does not work."""
    script = (
        "import sys; from mio_jax.cli.main import main; main(['--help']);"
        "print([m for m in ('jax', 'tensorflow', 'grain') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_its_module_and_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(cli.COMMANDS[name].module)
    assert isinstance(module.SUMMARY, str)
    with pytest.raises(SystemExit) as stopped:
        cli.main([name, "--help"])
    assert stopped.value.code == 0
    assert f"usage: mio {name}" in capsys.readouterr().out


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trian"]) == 2
    assert one_line(capsys) == "error: mio has no command 'trian'; did you mean `mio train`?\n"
    assert cli.main(["xyzzy"]) == 2
    assert "commands: quickstart, data" in one_line(capsys)


def test_expected_errors_are_one_line(command, capsys: pytest.CaptureFixture[str]) -> None:
    command("raise MioError('the picture x.png\\n is no picture')")
    assert cli.main(["probe"]) == 2
    assert one_line(capsys) == "error: the picture x.png is no picture\n"


def test_usage_errors_are_one_line(command, capsys: pytest.CaptureFixture[str]) -> None:
    command("return 0", "parser.add_argument('--n', type=int)")
    assert cli.main(["probe", "--n", "x"]) == 2
    assert "--n" in one_line(capsys)
    assert cli.main(["probe", "--m", "1"]) == 2
    assert "--m" in one_line(capsys)


def test_other_errors_are_not_swallowed(command) -> None:
    command("return 1 / 0")
    with pytest.raises(ZeroDivisionError):
        cli.main(["probe"])


def test_status_of_the_command_is_the_exit_status(command) -> None:
    command("return 7")
    assert cli.main(["probe"]) == 7


def test_interrupt_and_full_disk(command, capsys: pytest.CaptureFixture[str]) -> None:
    command("raise KeyboardInterrupt")
    assert cli.main(["probe"]) == 130
    assert "run the same command again" in one_line(capsys)
    command(f"raise OSError({errno.ENOSPC}, os.strerror({errno.ENOSPC}), 'runs/x/file')")
    assert cli.main(["probe"]) == 2
    assert "error: the disk is full while writing runs/x/file" in one_line(capsys)
    command(f"raise OSError({errno.EIO}, 'broken')")
    with pytest.raises(OSError, match="broken"):
        cli.main(["probe"])


def test_config_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.py"
    file.write_text("from mio_jax.config import RunConfig\ndef get_config():\n    return RunConfig()\n")
    parser = argparse.ArgumentParser(prog="mio x")
    add_config_arguments(parser)
    parser.add_argument("--n", type=int)
    args = parse_args(
        parser, ["--config", str(file), "--config.seed=5", "--n", "2", "--config.model.depth", "3", "--config.name=a=b"]
    )
    config = config_from_args(args)
    assert (config.seed, config.model.depth, config.name, args.n) == (5, 3, "a=b", 2)
    with pytest.raises(MioError, match="has no value"):
        parse_args(parser, ["--config.seed"])
    with pytest.raises(MioError, match="no config"):
        config_from_args(parse_args(parser, []))
    with pytest.raises(MioError, match="takes no config"):
        parse_args(argparse.ArgumentParser(prog="mio y"), ["--config.seed=5"])


def test_a_wrong_key_stops_training_before_anything_is_built(tmp_path: Path) -> None:
    words = [
        "train",
        "--config",
        "configs/quickstart.py",
        f"--config.run_dir={tmp_path / 'run'}",
        "--config.model.dept=3",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "mio_jax", *words],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.stderr == "error: command line: unknown key model.dept; did you mean model.depth?\n"
    assert (done.returncode, done.stdout) == (2, "")
    assert not (tmp_path / "run").exists()
