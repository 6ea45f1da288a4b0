"""`mio generate --requests`, and what it writes of answers with several pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mio_jax.cli.main import main
from mio_jax.errors import MioError
from mio_jax.generate.answer_files import write_frames
from mio_jax.recipes.mio import generation


def test_requests_are_answered_as_if_alone(run_dir: str, media: dict[str, str], tmp_path: Path) -> None:
    lines = [
        {"id": "red", "prompt": "red heart", "ask": "image", "seed": 5, "max_new_tokens": 70},
        {"prompt": "What is <image_placeholder_0>?", "image": ["in.png"], "max_new_tokens": 3, "greedy": True},
        {"id": "again", "prompt": "red heart", "ask": "image", "seed": 5, "max_new_tokens": 70},
    ]
    file = Path(media["in.png"]).parent / "requests.jsonl"
    file.write_text("".join(json.dumps(line) + "\n\n" for line in lines))
    out = tmp_path / "out"
    assert main(["generate", "--run", run_dir, "--requests", str(file), "--rows", "2", "--out", str(out)]) == 0
    facts = {name: json.loads((out / f"{name}.json").read_text()) for name in ("red", "001", "again")}
    assert facts["red"]["ids"] == facts["again"]["ids"]
    assert Image.open(out / facts["red"]["files"][0]).size == (64, 64)
    assert len(facts["001"]["ids"]) <= 3
    alone = ["--prompt", "red heart", "--ask", "image", "--seed", "5", "--max-new-tokens", "70"]
    assert main(["generate", "--run", run_dir, *alone, "--out", str(tmp_path / "b")]) == 0
    assert json.loads((tmp_path / "b" / "000.json").read_text())["ids"] == facts["red"]["ids"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "holds no requests"),
        ("{", "r.jsonl:1 is no JSON"),
        ("[]", "r.jsonl:1: a request is a JSON object, not list"),
        ('{"prompt": "x", "colour": 1}', "a request has no 'colour'"),
        ('{"prompt": 3}', "prompt is 3, of another type"),
        ('{"prompt": "x", "seed": true}', "seed is True, of another type"),
        ('{"prompt": "x", "image": [1]}', "image must be a list of file names"),
        ('{"seed": 1}', "nothing to answer"),
        ('{"prompt": "x", "id": "a/b"}', "the id 'a/b' is taken, or no file name"),
        ('{"prompt": "x", "id": "a"}\n{"prompt": "y", "id": "a"}', "r.jsonl:2: the id 'a' is taken"),
        ('{"prompt": "x", "image": ["no.png"]}', "no.png"),
        ('{"prompt": "x"}\n{"prompt": "x", "top_p": 2.0}', "r.jsonl:2: top_p is 2.0"),
        ('{"prompt": "x", "seed": -1}', "r.jsonl:1: seeds must be"),
        ('{"prompt": "x", "expect": "image", "max_new_tokens": 3}', "r.jsonl:1: the response must hold"),
    ],
)
def test_bad_requests(
    lines: str, message: str, run_dir: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.jsonl").write_text(lines)
    assert main(["generate", "--run", run_dir, "--requests", str(tmp_path / "r.jsonl"), "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--requests", "r.jsonl", "--prompt", "x"], "brings prompts and media of its own"),
        (["--prompt", "x", "--output", "video"], "--output is of --published"),
        (["--prompt", "x", "--published", "paper", "--output", "smell"], "no decoding settings for 'smell'"),
    ],
)
def test_options_that_do_not_go_together(
    words: list[str], message: str, run_dir: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "--run", run_dir, *words]) == 2
    assert message in capsys.readouterr().err


def test_a_long_prompt_is_cut_on_its_right(run_dir: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", "--run", run_dir, "--prompt", "word " * 60, "--base", "--greedy", "--max-new-tokens", "2"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    assert main([*words, "--max-prompt-tokens", "9", "--out", str(tmp_path / "b")]) == 0
    assert "were cut on the right to 9" in capsys.readouterr().err
    whole, cut = (json.loads((tmp_path / name / "000.json").read_text())["prompt_ids"] for name in "ab")
    assert cut == whole[:9]


def test_published_lengths_and_kinds_of_speech() -> None:
    assert {style: generation.published_prompt_tokens(style) for style in ("base", "chat")} == {
        "base": 3000,
        "chat": 2048,
    }
    for kind in ("audio", "audio reply", "audio to audio", "video", "interleaved"):
        paper = generation.published_sampling(kind)
        assert (paper.num_beams, paper.top_p, paper.repetition_penalty) == (1, 0.7, 1.15)
    assert generation.published_sampling("audio to audio", "repository").repetition_penalty == 1.15
    assert generation.published_sampling("audio to audio", "repository").num_beams == 5
    for source in ("paper", "repository"):
        assert generation.PUBLISHED[source].keys() == generation.PUBLISHED["paper"].keys()


def test_frames_as_an_animation_and_a_sheet(tmp_path: Path) -> None:
    frames = [np.full((6, 10, 3), 40 * i, np.uint8) for i in range(5)]
    gif, sheet = write_frames(tmp_path / "000", frames)
    with Image.open(gif) as moving:
        assert moving.n_frames == 5
        assert moving.size == (10, 6)
    page = np.asarray(Image.open(sheet))
    assert page.shape == (12, 40, 3)
    assert page[8, 5].tolist() == [160] * 3
    with pytest.raises(MioError, match="one size"):
        write_frames(tmp_path / "000", [frames[0], frames[0][:3]])
