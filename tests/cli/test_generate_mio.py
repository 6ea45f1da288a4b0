"""MIO's tasks by name, videos and the suite `mio` by the commands, on a real run directory with an untrained model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mio_jax.cli.main import main
from tests.data.made_sets.animations import animation
from tests.evaluate.made_mio_sets import make_mmlu, make_okvqa

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    frames = np.zeros((40, 16, 16, 3), np.uint8)
    frames[:20, ..., 0], frames[20:, ..., 2] = 250, 250
    frames[:, 0, 0] = np.arange(40)[:, None]
    animation(folder / "cut.webp", frames)
    animation(folder / "still.webp", frames[:20])
    for number in range(3):
        (folder / "frames").mkdir(exist_ok=True)
        Image.fromarray(frames[number]).save(folder / "frames" / f"{number}.png")
    (folder / "empty").mkdir()
    (folder / "zero.mp4").touch()
    (folder / "broken.webp").write_bytes((folder / "cut.webp").read_bytes()[:60])
    return folder


def facts(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "000.json").read_text())
    return found


def test_a_video_is_described(run_dir: str, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", "--run", run_dir, "--task", "video_caption", "--greedy", "--max-new-tokens", "4"]
    assert main([*words, "--video", str(videos / "still.webp"), "--out", str(tmp_path)]) == 0
    note = "3 of 10 frames were shown: the context of 288 holds no more"
    assert facts(tmp_path)["note"] == note
    assert f"({note})" in capsys.readouterr().out


def test_a_video_in_a_prompt_of_ones_own(run_dir: str, videos: Path, tmp_path: Path) -> None:
    words = ["generate", "--run", run_dir, "--prompt", "What?", "--greedy", "--max-new-tokens", "2", "--frames", "2"]
    opening = 2048 + 5  # <image>
    assert main([*words, "--video", str(videos / "frames"), "--key-frames", "all", "--out", str(tmp_path)]) == 0
    assert facts(tmp_path)["prompt_ids"].count(opening) == 2


@pytest.mark.slow
def test_a_picture_is_drawn(run_dir: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", "--run", run_dir, "--task", "image_generation", "--text", "red heart", "--out", str(tmp_path)]
    assert main(words) == 0
    assert "a picture of 64x64" in capsys.readouterr().out
    assert Image.open(tmp_path / "000.png").size == (64, 64)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--task video_caption --video {v}/empty", "has no frames"),
        ("--task video_caption --video {v}/zero.mp4", "zero.mp4 is empty (0 bytes)"),
        ("--task video_caption --video {v}/broken.webp", "broken.webp is damaged"),
        ("--prompt x --video {v}/broken.webp", "broken.webp is damaged"),
        ("--prompt x --video {v}/none.mp4", "there is no video"),
        ("--prompt x --video {v}/still.webp", "the context of"),
        ("--prompt x --video {v}/still.webp --frames 0", "--frames is 0"),
        ("--task video_caption --video {v}/still.webp --key-frames scenes", "has no scene cut"),
        ("--task video_capt --video {v}/still.webp", "did you mean 'video_caption'?"),
        ("--task video_qa --video {v}/still.webp", "task 'video_qa' needs --text"),
        ("--task refexp --text x", "there is no task 'refexp'"),
    ],
)
def test_one_clear_line(
    words: str, message: str, run_dir: str, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "--run", run_dir, "--out", str(tmp_path), *words.format(v=videos).split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


def test_the_suite_by_the_command(run_dir: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_mmlu(tmp_path / "mmlu")
    make_okvqa(tmp_path / "okvqa")
    assert main(["eval", "--run", run_dir, "--suite", "mio", "--data", str(tmp_path), "--examples", "2"]) == 0
    printed = capsys.readouterr().out
    assert "vqav2 is left out: there is no" in printed
    assert re.search(r"mmlu +exact_match +\d+\.0 +published: MIO-Instruct 45\.7", printed)
    results = json.loads((Path(run_dir) / "suites/mio/results.json").read_text())
    assert {name: entry["n"] for name, entry in results["tasks"].items()} == {"okvqa": 2, "mmlu": 2}


def test_the_python_of_the_page_runs(
    run_dir: str, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "video.md").read_text(encoding="utf-8")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "x").symlink_to(run_dir)
    (tmp_path / "cat.webp").symlink_to(videos / "cut.webp")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(code, names)
    assert names["chosen"].tolist() == [10, 30]
    assert names["answer"].note == ""
    assert names["document"]["parts"][1] == "It sleeps."
