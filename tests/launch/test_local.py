"""Several processes on this machine: what each is told, who ends whom, and when the job starts again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch import local
from mio_jax.errors import MioError

NAMES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "JAX_PLATFORMS", "XLA_FLAGS")


def program(folder: Path, body: str) -> str:
    """Words for --program: a script that runs `body` with `i`, its number, and `folder` defined."""
    path = folder / "program.py"
    head = f"import json, os, pathlib, signal, sys, time\nfolder = pathlib.Path({str(folder)!r})\n"
    path.write_text(head + "i = int(os.environ['JAX_PROCESS_ID'])\n" + body)
    return f"{sys.executable} {path}"


def test_each_process_gets_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8 --xla_cpu_enable_fast_math=false")
    body = f"(folder / f'{{i}}.json').write_text(json.dumps([[os.environ[n] for n in {NAMES!r}], sys.argv[1:]]))\n"
    given = program(tmp_path, body + "print('hello', i)")
    assert local.main(["--processes", "3", "--cpu_devices", "2", "--program", given, "--", "--config", "x"]) == 0
    found = [json.loads((tmp_path / f"{i}.json").read_text()) for i in range(3)]
    flags = "--xla_cpu_enable_fast_math=false --xla_force_host_platform_device_count=2"
    for index, (values, words) in enumerate(found):
        assert values[0] == found[0][0][0]
        assert values[0].startswith("localhost:")
        assert values[1:] == ["3", str(index), "cpu", flags]
        assert words == ["--config", "x"]
    assert sorted(capsys.readouterr().out.splitlines()) == [f"[{i}] hello {i}" for i in range(3)]


def test_gpus_are_dealt_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert local.main(["--processes", "2", "--gpus", "2", "--port", "5", "--dry-run", "--", "--config", "x.py"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ["CUDA_VISIBLE_DEVICES=0,1" in lines[0], "CUDA_VISIBLE_DEVICES=2,3" in lines[1]] == [True, True]
    assert all(
        "JAX_COORDINATOR_ADDRESS=localhost:5" in line and "-m mio_jax.train --config x.py" in line for line in lines
    )


def test_one_that_fails_ends_the_others(tmp_path: Path) -> None:
    began = time.monotonic()
    given = program(tmp_path, "sys.exit(3) if i == 1 else time.sleep(60)")
    assert local.main(["--processes", "2", "--program", given]) == 3
    # One that does not listen is made to.
    body = "signal.signal(signal.SIGTERM, signal.SIG_IGN); (folder / 'deaf').touch(); time.sleep(60)"
    wait = "\nwhile not (folder / 'deaf').exists(): time.sleep(0.05)\nsys.exit(3)"
    given = program(tmp_path, f"if i == 0:\n    {body}{wait}")
    assert local.main(["--processes", "2", "--grace", "0.5", "--program", given]) == 3
    assert (tmp_path / "deaf").exists()
    assert time.monotonic() - began < 50


def test_a_job_that_lost_a_process_starts_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = "mark = folder / f'seen{i}'\nfirst = not mark.exists()\nmark.touch()\n"
    given = program(tmp_path, body + "sys.exit(0 if not first else 75) if i else (first and os.kill(os.getpid(), 9))")
    assert local.main(["--processes", "2", "--restarts", "2", "--program", given]) == 0
    assert "starting again (1 of 2)" in capsys.readouterr().out
    given = program(tmp_path, "sys.exit(2)")
    assert local.main(["--processes", "2", "--restarts", "2", "--program", given]) == 2
    assert "starting again" not in capsys.readouterr().out
    given = program(tmp_path, "sys.exit(75)")
    assert local.main(["--processes", "2", "--restarts", "1", "--program", given]) == 75


def test_a_signal_reaches_every_process(tmp_path: Path) -> None:
    body = "signal.signal(signal.SIGTERM, lambda *_: ((folder / f'stopped{i}').touch(), sys.exit(143)))\n"
    given = program(tmp_path, body + "(folder / f'up{i}').touch()\ntime.sleep(60)")
    root = Path(__file__).parents[2]
    words = [sys.executable, "-m", "launch.local", "--processes", "2", "--restarts", "3", "--program", given]
    with subprocess.Popen(words, cwd=root) as process:
        while not all((tmp_path / f"up{i}").exists() for i in range(2)):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
    assert all((tmp_path / f"stopped{i}").exists() for i in range(2))


@pytest.mark.parametrize(
    ("statuses", "cause", "again"),
    [
        *(([0, 0], 0, False), ([137, 75], 137, True), ([75, 143], 75, True), ([134, 75], 134, True)),
        *(([2, 75], 2, False), ([75, 2], 2, False), ([3, 143], 3, False), ([143, 1], 1, False)),
    ],
)
def test_why_a_job_ended(statuses: list[int], cause: int, again: bool) -> None:
    assert (local.cause(statuses), local.lost(statuses)) == (cause, again)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--processes", "0", "--", "--config", "x"], "--processes is 0"),
        (["--processes", "2"], "say what to train"),
        (["--processes", "2", "--gpus", "1", "--cpu_devices", "1", "--", "--run", "x"], "exclude each other"),
        ([], "required: --processes"),
    ],
)
def test_wrong_words_are_one_line(words: list[str], said: str) -> None:
    with pytest.raises(MioError, match=said):
        local.main(words)
