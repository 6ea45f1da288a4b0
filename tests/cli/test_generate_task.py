"""`mio generate --task` on a real run directory with an untrained Unified-IO 2."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io.wavfile
from PIL import Image

from mio_jax.cli.main import main
from mio_jax.recipes.unified_io2.runner_table import TABLE
from mio_tokenizers.audio.io import read_audio, write_wav
from mio_tokenizers.base import Audio
from tests.recipes.unified_io2.untrained import make_run

ROOT = Path(__file__).parents[2]
TOY = ROOT / "tests" / "golden" / "unified-io-2" / "toy_llama_style.model"


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (40, 80, 3), dtype=np.uint8)).save(folder / "in.png")
    Image.new("1", (20000, 20000)).save(folder / "huge.png")
    frames = [Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)) for _ in range(3)]
    frames[0].save(folder / "in.gif", save_all=True, append_images=frames[1:], duration=100)
    (folder / "frames").mkdir()
    for number, frame in enumerate(frames):
        frame.save(folder / "frames" / f"{number}.png")
    (folder / "uneven").mkdir()
    frames[0].save(folder / "uneven" / "0.png")
    frames[0].resize((5, 5)).save(folder / "uneven" / "1.png")
    (folder / "empty").mkdir()
    write_wav(folder / "in.wav", Audio(np.sin(np.arange(8000) / 9).astype(np.float32), 16000))
    nan = np.full(8000, np.nan, np.float32)
    scipy.io.wavfile.write(folder / "nan.wav", 16000, nan)
    Image.new("RGB", (1, 1), (200, 10, 10)).save(folder / "dot.png")
    (folder / "names.txt").write_text("cat\ndog\n\nhorse\n")
    return folder


def test_a_box_is_written_and_drawn(
    run_dir: str, media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", "--run", run_dir, "--task", "refexp", "--image", str(media / "in.png"), "--text", "The Cup"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    facts = json.loads((tmp_path / "000.json").read_text())
    assert (facts["task"], facts["given"]["text"]) == ("refexp", "The Cup")
    assert facts["files"] == ["000_drawn.png"]
    assert Image.open(tmp_path / "000_drawn.png").size == (80, 40)
    for box in facts["boxes"]:  # an untrained model may name corners in the wrong order, which are left out
        assert 0 <= box["x1"] <= box["x2"] <= 80
        assert 0 <= box["y1"] <= box["y2"] <= 40
    assert len(facts["boxes"]) + facts.get("dropped", 0) == 1
    assert str(tmp_path / "000.json") in capsys.readouterr().out


def test_a_picture_of_one_pixel(run_dir: str, media: Path, tmp_path: Path) -> None:
    words = ["generate", "--run", run_dir, "--task", "refexp", "--image", str(media / "dot.png"), "--text", "it"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    assert Image.open(tmp_path / "000_drawn.png").size == (1, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizers": {"text": f"unified_io2:{TOY}"}}, "was trained with text tokenizer"),
        ({"model": {"dim": 32}}, "is of another model: params"),
        ({"model": {"depth": 2}}, "is of another model: params"),
    ],
)
def test_a_run_whose_parts_are_of_another_size(
    changes: dict[str, Any],
    message: str,
    run_dir: str,
    media: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Another vocabulary than the run was trained with, and a checkpoint of another model."""
    run = tmp_path / "run"
    shutil.copytree(run_dir, run)
    config = json.loads((run / "config.json").read_text())
    config["run_dir"] = str(run)
    for part, values in changes.items():
        config[part] |= values
    (run / "config.json").write_text(json.dumps(config))
    assert main(["generate", "--run", str(run), "--task", "caption", "--image", str(media / "in.png")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


def test_pictures_guided_away_from_a_text(run_dir: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", "--run", run_dir, "--task", "image_generation", "--text", "a red heart", "--seed", "5"]
    assert (
        main([*words, "--out", str(tmp_path / "a"), "--n", "2", "--negative", "a photograph", "--guidance", "3"]) == 0
    )
    assert "a picture of 64x64" in capsys.readouterr().out
    assert [json.loads((tmp_path / "a" / f"00{i}.json").read_text())["seed"] for i in range(2)] == [5, 6]
    assert main([*words, "--out", str(tmp_path / "b"), "--n", "2"]) == 0
    pictures = [np.asarray(Image.open(tmp_path / folder / "000.png")) for folder in "ab"]
    assert not np.array_equal(*pictures)


def test_a_sound_can_always_be_heard(run_dir: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The codec has layers: what an untrained model draws is still of the layer whose turn it is."""
    words = ["generate", "--run", run_dir, "--task", "audio_generation", "--text", "rain", "--out", str(tmp_path)]
    assert main(words) == 0
    assert "a sound of" in capsys.readouterr().out
    assert len(read_audio(tmp_path / "000.wav").samples) > 8000


def test_answers_are_chosen_from_a_file(run_dir: str, media: Path, tmp_path: Path) -> None:
    words = ["generate", "--run", run_dir, "--task", "categorization", "--image", str(media / "in.png")]
    assert main([*words, "--out", str(tmp_path), "--options", str(media / "names.txt")]) == 0
    facts = json.loads((tmp_path / "000.json").read_text())
    assert set(facts["scores"]) == {"cat", "dog", "horse"}
    assert facts["text"] == max(facts["scores"], key=facts["scores"].get)


def test_the_list_says_what_each_task_needs(run_dir: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["generate", "--task", "list"], ["generate", "--task", "list", "--run", run_dir]):
        assert main(words) == 0
        printed = capsys.readouterr().out
        assert all(name in printed for name in TABLE)
        assert "vqa" in printed
        assert "needs --image --text [--options]; gives text" in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--task refexp --image {m}/in.png", "task 'refexp' needs --text"),
        ("--task caption --image {m}/in.png --text what", "has no use for --text"),
        ("--task refexpp --image {m}/in.png", "did you mean 'refexp'?"),
        ("--task caption --image {m}/huge.png", "pixels; scale it below 50000000 pixels first"),
        ("--task caption --image {m}/in.png --image {m}/in.png", "a task takes one --image, not 2"),
        ("--task keypoint_box --image {m}/in.png --box 1,2,3", "it must be four numbers"),
        ("--task keypoint_box --image {m}/in.png --box 10,10,200,30", "not within the picture, which is 80 wide"),
        ("--task vqa --image {m}/in.png --text why --options cat", "has 1 answers to choose from"),
        ("--task audio_caption --audio {m}/in.wav --ask image", "--ask is for prompts of your own"),
        ("--task video_caption --video {m}/in.gif", "built without it"),
        ("--task video_caption --video {m}/frames", "built without it"),
        ("--task video_caption --video {m}/uneven", "not all of one size"),
        ("--task video_caption --video {m}/empty", "has no frames"),
        ("--task video_caption --video {m}/nothing.gif", "there is no video"),
        ("--task video_caption --video {m}/in.gif --frames 3", "leave --key-frames and --frames out"),
        ("--task video_caption --video {m}/in.gif --frames 0", "--frames is 0"),
        ("--task caption --image {m}/in.png --base", "leave --base and --chat out"),
        ("--task audio_caption --audio {m}/nan.wav", "nan.wav: the sound holds NaN or infinite samples"),
        ("--task audio_generation --text rain --segments 3", "built without audio_history"),
        ("--task image_generation --text rain --guidance -1", "guidance is -1.0"),
        ("--box 1,2,3,4 --prompt x", "--box is for tasks"),
    ],
)
def test_one_clear_line(
    words: str, message: str, run_dir: str, media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["generate", "--run", run_dir, "--out", str(tmp_path), *words.format(m=media).split()]
    assert main(given) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


def test_the_python_of_the_page_runs(
    run_dir: str, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "x").symlink_to(run_dir)
    (tmp_path / "cat.png").symlink_to(media / "in.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["found"].boxes.shape in ((0, 4), (1, 4))
    assert [set(answer.scores) for answer in names["answers"]] == [{"yes", "no"}] * 2


def test_a_run_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--task", "caption"]) == 2
    assert "give --run DIR" in capsys.readouterr().err
    assert main(["generate", "--prompt", "x"]) == 2
    assert "give --run DIR" in capsys.readouterr().err
