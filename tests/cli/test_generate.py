"""`mio generate` on a real run directory with an untrained model: files in, files out, one line for bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from mio_jax.cli.main import main
from mio_jax.errors import MioError
from mio_jax.protocols import Segment
from mio_jax.recipes.mio import generation
from mio_tokenizers.audio.io import read_audio
from tests.cli.conftest import LENGTH


def facts(out: Path, number: int) -> dict:
    return json.loads((out / f"{number:03d}.json").read_text())


def test_picture_and_words_in_pictures_out(
    run_dir: str, media: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", "--run", run_dir, "--image", media["in.png"], "--max-new-tokens", "70"]
    out = tmp_path / "out"
    asked = [*words, "--prompt", "Now <image_placeholder_0> again.", "--expect", "image", "--n", "2", "--seed", "5"]
    assert main([*asked, "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    for number in range(2):
        assert Image.open(out / f"{number:03d}_0.png").size == (64, 64)
        assert str(out / f"{number:03d}_0.png") in printed
        assert f"[{number:03d}_0.png]" in (out / f"{number:03d}.txt").read_text()
        assert facts(out, number)["seed"] == 5 + number
        assert facts(out, number)["error"] == ""
    assert facts(out, 0)["ids"] != facts(out, 1)["ids"]
    # The second of two seeds is the first of the next: nothing depends on the batch.
    again = tmp_path / "again"
    asked[asked.index("2")], asked[asked.index("5")] = "1", "6"
    assert main([*asked, "--out", str(again)]) == 0
    assert facts(again, 0)["ids"] == facts(out, 1)["ids"]


def test_a_sound_out_and_a_sound_in(run_dir: str, media: dict[str, str], tmp_path: Path) -> None:
    words = ["generate", "--run", run_dir, "--seed", "1", "--max-new-tokens", "70"]
    assert main([*words, "--ask", "sound", "--prompt", "flute playing C4", "--out", str(tmp_path / "a")]) == 0
    made = read_audio(tmp_path / "a" / "000_0.wav")
    assert made.rate == 16000
    assert len(made.samples) > 0
    heard = ["--ask", "describe", "--audio", media["in.wav"], "--max-new-tokens", "2", "--out", str(tmp_path / "b")]
    assert main(["generate", "--run", run_dir, "--greedy", *heard]) == 0
    assert facts(tmp_path / "b", 0)["files"] == []
    spoken = facts(tmp_path / "b", 0)["prompt_ids"]
    assert sum(i >= 2048 + 6 + 512 for i in spoken) == 4 * 13, "half a second of sound: 4 layers of 13 codes"


def test_the_stage_says_how_it_is_asked(run_dir: str, tmp_path: Path) -> None:
    words = ["generate", "--run", run_dir, "--prompt", "Once", "--greedy", "--max-new-tokens", "2"]
    prompts = []
    for name, extra in (("chat", []), ("stage", ["--stage", "alignment"]), ("base", ["--base"])):
        assert main([*words, *extra, "--out", str(tmp_path / name)]) == 0
        prompts.append(facts(tmp_path / name, 0)["prompt_ids"])
    assert prompts[1] == prompts[2]
    assert prompts[0].count(6) == 3, "system, user and assistant turns"
    assert 6 not in prompts[1]


def test_beams_and_published_settings(run_dir: str, tmp_path: Path) -> None:
    words = ["generate", "--run", run_dir, "--prompt", "Once", "--max-new-tokens", "2", "--expect", "text"]
    assert main([*words, "--published", "paper", "--out", str(tmp_path / "a")]) == 0
    assert main([*words, "--beams", "5", "--out", str(tmp_path / "b")]) == 0
    assert facts(tmp_path / "a", 0)["ids"] == facts(tmp_path / "b", 0)["ids"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to answer"),
        (["--prompt", "x", "--image", "{broken.png}"], "broken.png"),
        (["--prompt", "x", "--image", "{in.wav}"], "not a picture"),
        (["--prompt", "x", "--image", "absent.png"], "no picture absent.png"),
        (["--prompt", "x", "--audio", "{broken.wav}"], "broken.wav"),
        (["--prompt", "x", "--audio", "{empty.wav}"], "empty"),
        (["--prompt", "x", "--audio", "{silent.wav}"], "silent"),
        (["--prompt", "<image_placeholder_1>", "--image", "{in.png}"], "1 --image files"),
        (["--prompt", "word " * 400], f"the context of {{run}} holds {LENGTH}"),
        (["--prompt", "x"] + ["--image", "{in.png}"] * 5, f"holds {LENGTH}"),
        (["--prompt", "x", "--expect", "image", "--max-new-tokens", "20"], "at least 66 tokens"),
        (["--prompt", "x", "--expect", "video"], "--expect"),
        (["--prompt", "x", "--ask", "dance"], "there are: image, sound"),
        (["--prompt", "x", "--ask", "caption"], "takes one image; it got: text"),
        (["--prompt", "x", "--ask", "image", "--base"], "--ask words a chat turn"),
        (["--prompt", "x", "--temperature", "-1"], "temperature is -1"),
        (["--prompt", "x", "--beams", "3", "--top-p", "0.5"], "beam search does not sample"),
        (["--prompt", "x", "--beams", "3", "--n", "2"], "beam search does not sample"),
        (["--prompt", "x", "--n", "0"], "--n is 0"),
        (["--prompt", "x", "--seed", "-1"], "--seed is -1"),
        (["--prompt", "x", "--stage", "third"], "no stage 'third'"),
    ],
)
def test_bad_input(
    words: list[str], message: str, run_dir: str, media: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    def fill(word: str) -> str:
        for name, path in (*media.items(), ("run", run_dir)):
            word = word.replace(f"{{{name}}}", path)
        return word

    assert main(["generate", "--run", run_dir, *map(fill, words)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert fill(message) in error


def test_wordings_are_those_of_the_tasks() -> None:
    asked, begins = generation.ask("answer", [Segment("image", [1]), Segment("text", "What is it?")])
    assert ([s.kind for s in asked], begins) == (["text", "image"], "text")
    assert asked[0].value == "What is it?\n"
    with pytest.raises(MioError, match="takes one text and one image; it got: text"):
        generation.ask("answer", [Segment("text", "What is it?")])


def test_published_settings() -> None:
    assert generation.published_sampling("text").num_beams == 5
    assert generation.published_sampling("image").top_p == 0.7
    assert generation.published_sampling("audio reply", "repository").repetition_penalty == 2.0
    with pytest.raises(MioError, match="no decoding settings for 'smell'"):
        generation.published_sampling("smell")
    with pytest.raises(MioError, match="of one of paper, repository"):
        generation.published_sampling("text", "rumour")
