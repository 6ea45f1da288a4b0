"""The suite `mio` over its sets in miniature, answered by a runner that knows how MIO would be asked."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mio_jax.cli.main import main
from mio_jax.errors import MioError
from mio_jax.evaluate import distances, words
from mio_jax.evaluate.functions import function
from mio_jax.evaluate.suite_mio import PARTS
from mio_jax.evaluate.suite_run import evaluate_suite, load_recogniser
from mio_jax.evaluate.suites import Data
from mio_jax.recipes.mio.runner_table import TABLE, suite_asks, task_infos
from mio_jax.task_protocol import TaskAnswer, TaskInputs, TaskSettings
from mio_tokenizers.base import Audio
from tests.evaluate.made_mio_sets import make_mio, recognise

EXTRACTORS = {"clip_image": lambda x: x.reshape(len(x), -1)[:, :5].astype(float) + 1, "recogniser": recognise}


class Dog:
    """Says "dog", or the second of the options; notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, TaskInputs, TaskSettings]] = []

    def run(
        self, task: str, inputs: Sequence[TaskInputs], settings: TaskSettings, *, seeds: Sequence[int]
    ) -> list[TaskAnswer]:
        answers = []
        for one in inputs:
            TABLE[task].info.check(one)
            if one.video is not None:
                assert one.video[[0]].shape[-1] == 3
            self.asked.append((task, one, settings))
            answers.append(
                TaskAnswer(
                    text=one.options[1] if one.options else "dog",
                    picture=np.full((4, 4, 3), 60, np.uint8),
                    sound=Audio(np.ones(20, np.float32), 16000),
                )
            )
        return answers


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Dog:
    made = Dog()
    recipe = SimpleNamespace(task_infos=task_infos, suite_asks=suite_asks)
    run = SimpleNamespace(params={"w": np.ones(3)}, recipe=recipe, config=SimpleNamespace(recipe="mio"))
    monkeypatch.setattr("mio_jax.train.run.load_run", lambda folder, stage=None: run)
    monkeypatch.setattr("mio_jax.generate.opening.engine_of", lambda run: None)
    monkeypatch.setattr("mio_jax.generate.opening.task_runner_of", lambda run, engine: made)
    return made


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_mio(tmp_path_factory.mktemp("mio"), videos=False)


def test_everything_that_is_there(runner: Dog, tmp_path: Path) -> None:
    pytest.importorskip("av")
    whole = make_mio(tmp_path / "sets")
    captioned = ("coco_caption", "flickr30k_caption")  # these take Java
    data = Data(whole, tasks=tuple(name for name in PARTS if name not in captioned), extractors=EXTRACTORS)
    results = evaluate_suite(str(tmp_path / "run"), "mio", data)
    scores = {name: entry["scores"]["all"] for name, entry in results["tasks"].items()}
    assert scores == {
        "vqav2": {"vqa": 1.0},
        "okvqa": {"vqa": 1.0},
        "vizwiz": {"vqa": 1.0},
        "seed_bench": {"exact_match": 1.0},
        "coco_image": {"clip_i": pytest.approx(1.0)},
        "flickr30k_image": {"clip_i": pytest.approx(1.0)},
        "librispeech": {"wer": 1.0},  # "dog" for five words
        "librispeech_tts": {"wer": 0.2},
        "vctk_tts": {"wer": 5 / 3},
        "msvd_qa": {"vqa": 0.5},
        "msrvtt_qa": {"vqa": 0.5},
        "mmlu": {"exact_match": 1.0},
    }
    assert results["tasks"]["coco_image"]["n"] == 2, "the test split alone"
    assert results["tasks"]["seed_bench"]["scores"]["Scene"] == {"exact_match": 1.0}
    assert results["tasks"]["mmlu"]["scores"]["virology"] == {"exact_match": 1.0}
    assert results["tasks"]["vqav2"]["published"]["values"]["MIO-Instruct"] == 65.5
    assert results["missing"] == list(captioned)
    asked = {task: (one, settings) for task, one, settings in runner.asked}
    assert set(asked) == {"vqa", "image_generation", "transcription", "speech", "video_qa", "exam"}
    exam = asked["exam"][0]
    assert exam.text == "virology # of dogs, in\nall?\nA. one\nB. two\nC. three\nD. four\nAnswer:"
    assert asked["transcription"][1].wording == "evaluation"
    assert asked["video_qa"][0].text == "what runs?"
    spoken = [one.text for task, one, _ in runner.asked if task == "speech"]
    assert set(spoken) == {"mister quilter sees five dogs", "Please call Stella."}
    choices = next(one for task, one, _ in runner.asked if task == "vqa" and one.options)
    assert choices.options == ("cat", "dog", "3", "two")


def test_captions_by_the_package(runner: Dog, tmp_path: Path, sets: Path) -> None:
    pytest.importorskip("pycocoevalcap")
    data = Data(sets, tasks=("coco_caption", "flickr30k_caption"))
    results = evaluate_suite(str(tmp_path / "run"), "mio", data)
    entry = results["tasks"]["coco_caption"]
    assert entry["published"] == {
        "metric": "cider",
        "scale": 100.0,
        "values": {"MIO-Instruct": 120.4, "SEED-LLaMA-I 8B": 124.5, "AnyGPT": 107.5},
    }
    assert 0 <= entry["scores"]["all"]["cider"] < 10
    assert "published" not in results["tasks"]["flickr30k_caption"]
    assert runner.asked[0][2].wording == "evaluation"


def test_what_is_missing_is_named_line_by_line(
    runner: Dog, tmp_path: Path, sets: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jiwer", None)
    monkeypatch.setitem(sys.modules, "pycocoevalcap.bleu.bleu", None)
    (tmp_path / "some").mkdir()
    for name in ("okvqa", "coco", "LibriSpeech", "mmlu"):
        (tmp_path / "some" / name).symlink_to(sets / name)
    (tmp_path / "some" / "vizwiz").mkdir()
    (tmp_path / "some" / "seed_bench").mkdir()
    (tmp_path / "some" / "seed_bench" / "SEED-Bench.json").write_text('{"questions": 1}')
    run = tmp_path / "run"
    assert main(["eval", "--run", str(run), "--suite", "mio", "--data", str(tmp_path / "some")]) == 0
    printed = capsys.readouterr().out
    needs = dict(line.split(" is left out: ") for line in printed.splitlines() if "is left out" in line)
    assert set(needs) == set(PARTS) - {"okvqa", "mmlu"}
    for name, words_ in {
        "vqav2": "there is no",
        "vizwiz": "there is no",
        "seed_bench": "is not as published",
        "coco_caption": "pip install 'mio_jax[eval]'",
        "coco_image": "--extractor clip_image=MODULE:FUNCTION",
        "librispeech": "pip install 'mio_jax[eval]'",
        "librispeech_tts": "--extractor recogniser=MODULE:FUNCTION",
        "vctk_tts": "should hold txt/p225/p225_001.txt",
        "msvd_qa": "youtube_mapping.txt",
    }.items():
        assert words_ in needs[name], name
    assert "; and " in needs["vctk_tts"], "the set and the recogniser"
    table = [line for line in printed.splitlines() if "published: " in line]
    assert table == [
        "okvqa  vqa          100.0  published: MIO-Instruct 39.9, SEED-LLaMA-I 8B 45.9",
        "mmlu   exact_match  100.0  published: MIO-Instruct 45.7, SEED-LLaMA-I 8B 36.1, AnyGPT 27.4",
    ]
    assert json.loads((run / "suites/mio/results.json").read_text())["lacks"] == needs


@pytest.mark.parametrize(
    ("words_", "message"),
    [
        ("--data {d}/nothing", "there is no folder"),
        ("--data {d}/empty", "finds nothing to run"),
        ("--data {d}/empty --tasks vqav2", "vqav2: there is no"),
        ("--data {d} --tasks vqa", "suite 'mio' has no task 'vqa'"),
        ("--data {d} --recogniser whisper", "it must be MODULE:FUNCTION, or a command with {file}"),
        ("--data {d} --recogniser nowhere_at_all:f", "--recogniser nowhere_at_all:f: No module named"),
    ],
)
def test_one_clear_line(
    words_: str, message: str, runner: Dog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    words_ = words_.replace("{d}", str(tmp_path))
    assert main(["eval", "--run", str(tmp_path / "run"), "--suite", "mio", *words_.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


def test_a_set_that_is_damaged(runner: Dog, tmp_path: Path) -> None:
    (tmp_path / "mmlu" / "test").mkdir(parents=True)
    (tmp_path / "mmlu" / "test" / "law_test.csv").write_text("q,a,b,c,d,E\n")
    with pytest.raises(MioError, match="question 0: not four answers"):
        evaluate_suite(str(tmp_path / "run"), "mio", Data(tmp_path, tasks=("mmlu",)))


# -------------------------------------------------------------------------------------------------------- metrics


def test_word_error_rates_are_pooled_and_normalised() -> None:
    score = function("wer")
    assert score(["Mister Smith's TWO dogs."], ["mr. smith's 2 dogs"]) == {"wer": 0.0}
    assert score(["a b c", "d"], ["a x c e", ""]) == {"wer": 3 / 4}  # one of each kind, over four words
    with pytest.raises(MioError, match="2 transcripts for 1 references"):
        score(["a"], ["a", "b"])
    with pytest.raises(MioError, match="at least one word"):
        score(["um", "uh"], ["a", "b"])


def test_a_command_as_recogniser(tmp_path: Path) -> None:
    code = "import sys, wave; f = wave.open(sys.argv[1]); print('heard', f.getnframes()); print(f.getframerate())"
    found = load_recogniser(f'{sys.executable} -c "{code}" {{file}}')
    sounds = [Audio(np.ones(n, np.float32), 16000) for n in (5, 7)]
    assert found["recogniser"](sounds) == ["heard 5 16000", "heard 7 16000"]
    assert function("spoken_wer", found)(["heard 5 16000", "heard seven 16000"], sounds) == {"wer": 0.0}
    deaf = "import sys; print('cannot hear', file=sys.stderr); sys.exit(3)"
    with pytest.raises(MioError, match="exit status 3: cannot hear"):
        load_recogniser(f'{sys.executable} -c "{deaf}" {{file}}')["recogniser"](sounds)
    with pytest.raises(MioError, match="the recogniser cannot be run"):
        load_recogniser("no_such_program_at_all {file}")["recogniser"](sounds)
    assert load_recogniser("") == {}
    assert load_recogniser("numpy:mean")["recogniser"] is np.mean


def test_a_recogniser_must_give_a_text_for_each_sound() -> None:
    for wrong in (lambda sounds: ["one"], lambda sounds: [1, 2]):
        with pytest.raises(MioError, match="for 2 sounds; each must be a text"):
            function("spoken_wer", {"recogniser": wrong})(["a", "b"], [None, None])
    with pytest.raises(MioError, match="--extractor recogniser=MODULE:FUNCTION"):
        function("spoken_wer")


def test_without_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(MioError, match=r"pip install 'mio_jax\[eval\]'"):
        words.wer_metric({})


def test_similarity_of_pictures() -> None:
    pictures = [np.full((2, 2, 3), value, np.uint8) for value in (1, 2)]
    corner: Any = {"clip_image": lambda x: np.asarray([[1.0, 0.0] if x[0, 0, 0, 0] == 1 else [0.6, 0.8]])}
    score = distances.similarity_metric(corner)
    assert score(pictures, pictures) == {"clip_i": pytest.approx(1.0)}
    assert score(pictures, pictures[::-1]) == {"clip_i": pytest.approx(0.6)}
    with pytest.raises(MioError, match="length 0 or NaN"):
        distances.similarity_metric({"clip_image": lambda x: np.zeros((1, 2))})(pictures, pictures)
    with pytest.raises(MioError, match=r"gave \[2\] for 1 examples"):
        distances.similarity_metric({"clip_image": lambda x: np.zeros(2)})(pictures, pictures)
