"""Suites over made-up folders in the published layouts, answered by a runner that is right, wrong, or interrupted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mio_jax.cli.main import main
from mio_jax.errors import MioError
from mio_jax.evaluate import suite_run
from mio_jax.evaluate.rle import decode_mask
from mio_jax.evaluate.stored import Predictions
from mio_jax.evaluate.suite_run import drawn, evaluate_suite, load_extractors
from mio_jax.evaluate.suites import SUITES, Data, Item, Suite, register, suite_named, suites
from mio_jax.recipes.unified_io2.runner_table import TABLE, suite_asks, task_infos
from mio_jax.task_protocol import TaskAnswer, TaskInputs, TaskSettings
from mio_tokenizers.base import Audio
from tests.data.made_sets.boxes import refer
from tests.evaluate.made_sets import (
    BOX,
    POSE,
    SIZE,
    make_coco,
    make_folder,
    make_grit,
    make_vqav2,
    mask_of_box,
    normals,
)


class Right:
    """A runner that knows the answers of the made-up sets; it notes what it is asked."""

    def __init__(self, break_at: int = 10**9) -> None:
        self.asked: list[tuple[str, TaskInputs, int]] = []
        self.break_at = break_at

    def run(
        self, task: str, inputs: Sequence[TaskInputs], settings: TaskSettings, *, seeds: Sequence[int]
    ) -> list[TaskAnswer]:
        assert len(inputs) <= settings.rows
        for one, seed in zip(inputs, seeds, strict=True):
            TABLE[task].info.check(one)
            if len(self.asked) == self.break_at:
                raise KeyboardInterrupt
            self.asked.append((task, one, seed))
        boxes = np.asarray([BOX], np.float32)
        answer = TaskAnswer(
            text="dog",
            boxes=boxes,
            labels=("dog",),
            poses=np.asarray(POSE, np.float32).reshape(1, 17, 3),
            masks=(mask_of_box(),),
            picture=normals(),
            depth=np.full(SIZE, 1.5, np.float32),
            sound=Audio(np.ones(20, np.float32), 16000),
        )
        return [answer] * len(inputs)


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Right:
    made = Right()
    recipe = SimpleNamespace(task_infos=task_infos, suite_asks=suite_asks)
    run = SimpleNamespace(params={"w": np.ones(3)}, recipe=recipe, config=SimpleNamespace(recipe="unified_io2"))
    monkeypatch.setattr("mio_jax.train.run.load_run", lambda folder, stage=None: run)
    monkeypatch.setattr("mio_jax.generate.opening.engine_of", lambda run: None)
    monkeypatch.setattr("mio_jax.generate.opening.task_runner_of", lambda run, engine: made)
    return made


def test_grit_by_the_command(runner: Right, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run = make_grit(tmp_path / "GRIT"), tmp_path / "run"
    assert main(["eval", "--run", str(run), "--suite", "grit", "--data", str(data)]) == 0
    printed = capsys.readouterr().out
    assert "grit/overall: 1.0000" in printed
    results = json.loads((run / "suites" / "grit" / "results.json").read_text())
    assert set(results["tasks"]) == {*results["tasks"], "vqa", "normal"}
    assert len(results["tasks"]) == 7
    assert results["missing"] == []
    for name, entry in results["tasks"].items():
        assert set(entry["scores"]) == {"all", "same", "new", "distorted"}
        # Four of ten annotators say "dog": min(1, 4 / 3).
        assert entry["scores"]["same"] == {f"grit/{name}": pytest.approx(1.0, abs=1e-6)}
        assert (entry["n"], entry["with_truth"]) == (3, 3)
        assert entry["protocol"]
    asked = {task for task, _, _ in runner.asked}
    assert {"box_categorization", "categorization", "semantic_segmentation", "keypoint", "surface_normals"} <= asked
    stuff = next(one for task, one, _ in runner.asked if task == "semantic_segmentation")
    assert stuff.text == "sky"
    boxed = next(one for task, one, _ in runner.asked if task == "box_categorization")
    assert (boxed.box, boxed.options) == (tuple(BOX), ("cat", "dog", "zebra"))


def test_a_missing_task_counts_as_nothing(runner: Right, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_grit(tmp_path / "GRIT")
    words = ["eval", "--run", str(tmp_path / "run"), "--suite", "grit", "--data", str(data), "--tasks", "vqa,refexp"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert f"grit/overall: {2 / 7:.4f} (missing, counted as 0: categorization, localization" in printed


def test_published_samples_without_answers_become_a_submission(runner: Right, tmp_path: Path) -> None:
    data, run = make_grit(tmp_path / "GRIT", truth=False), tmp_path / "run"
    results = evaluate_suite(str(run), "grit", Data(data))
    assert results["overall"] == {}
    assert all(entry["scores"] == {} and entry["with_truth"] == 0 for entry in results["tasks"].values())
    made = {path.stem: json.loads(path.read_text()) for path in (run / "suites/grit/submission").glob("*.json")}
    assert len(made) == 7
    assert made["vqa"][0] == {"example_id": "vqa_0", "confidence": 1.0, "words": "dog"}
    assert made["localization"][0]["bboxes"] == [[8, 12, 40, 36]]
    assert np.array_equal(decode_mask(made["segmentation"][0]["masks"][0]), mask_of_box())
    assert len(made["keypoint"][0]["points"][0]) == 51
    picture = Image.open(run / "suites/grit/submission/normals" / made["normal"][0]["normal"])
    assert np.array_equal(np.asarray(picture), normals())


def test_an_interrupted_suite_goes_on(
    runner: Right, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = make_grit(tmp_path / "GRIT"), str(tmp_path / "run")
    whole = evaluate_suite(str(tmp_path / "other"), "grit", Data(data), rows=2)
    every = list(runner.asked)
    runner.asked.clear()
    runner.break_at = 10
    with pytest.raises(KeyboardInterrupt):
        evaluate_suite(run, "grit", Data(data), rows=2)
    kept = {json.loads(line)["id"] for path in Path(run).rglob("*.jsonl") for line in path.read_text().splitlines()[1:]}
    with (Path(run) / "suites/grit/predictions/vqa.jsonl").open("a") as file:  # killed within a line
        file.write('{"id": "vqa_9", "predic')
    runner.asked.clear()
    runner.break_at = 10**9
    again = evaluate_suite(run, "grit", Data(data), rows=2)
    assert 0 < len(kept) < len(every)
    assert len(runner.asked) == len(every) - len(kept)
    assert {name: entry["scores"] for name, entry in again["tasks"].items()} == {
        name: entry["scores"] for name, entry in whole["tasks"].items()
    }
    seeds = {(task, seed) for task, _, seed in every}
    assert {(task, seed) for task, _, seed in runner.asked} <= seeds  # of the example, not of its place
    runner.asked.clear()
    evaluate_suite(run, "grit", Data(data), rows=2)
    assert not runner.asked
    evaluate_suite(run, "grit", Data(data), rows=2, force=True)
    assert len(runner.asked) == len(every)


def test_predictions_of_another_model_are_not_taken_over(tmp_path: Path) -> None:
    made = Predictions(tmp_path, "vqa", "one")
    values: dict[str, Any] = {
        "words": "dog",
        "boxes": np.asarray([[1.0, 2, 3, 4]]),
        "none": np.zeros((0, 17, 3)),
        "masks": [mask_of_box(), ~mask_of_box()],
        "no masks": [],
        "a/picture": normals(),
        "map": np.random.default_rng(0).random((70, 70)).astype(np.float32),
        "sound": Audio(np.ones(5, np.float32), 8000),
        "found": {"boxes": np.zeros((0, 4)), "labels": ["cat"]},
    }
    for name, value in values.items():
        made.put(name, value)
    read = Predictions(tmp_path, "vqa", "one").found
    assert list(read) == list(values)
    for name, value in values.items():
        if isinstance(value, np.ndarray):
            assert read[name].shape == value.shape
            np.testing.assert_array_equal(read[name], value)
    assert all(np.array_equal(*pair) for pair in zip(read["masks"], values["masks"], strict=True))
    assert (read["words"], read["no masks"], read["sound"].rate) == ("dog", [], 8000)
    assert read["found"]["labels"] == ["cat"]
    assert Predictions(tmp_path, "vqa", "two").found == {}
    with pytest.raises(MioError, match="cannot be stored"):
        Predictions(tmp_path, "vqa", "two").put("x", 3.5)


def test_a_folder_of_ones_own(runner: Right, tmp_path: Path) -> None:
    data = Data(make_folder(tmp_path / "mine"), extractors={"fid": lambda x: x.mean((1, 2))})
    tasks = evaluate_suite(str(tmp_path / "run"), "folder", data)["tasks"]
    scores = {name: entry["scores"].get("all") for name, entry in tasks.items()}
    assert scores["vqa"] == {"vqa": 1.0}
    assert scores["refexp"] == {"refexp": 1.0}
    assert scores["categorization"] == {"exact_match": 1.0}
    assert scores["segmentation_box"] == {"mask_iou": 1.0}
    assert scores["depth"]["rmse"] == pytest.approx(0)
    assert scores["surface_normals"]["mean_angle"] == pytest.approx(0, abs=1e-4)
    assert scores["keypoint"] == {"grit/keypoint": pytest.approx(1.0)}
    assert scores["image_generation"] is None  # it has no target


def test_vqa_and_coco(runner: Right, tmp_path: Path) -> None:
    results = evaluate_suite(str(tmp_path / "run"), "vqav2", Data(make_vqav2(tmp_path / "vqa")))
    assert results["tasks"]["vqa"]["scores"]["all"] == {"vqa": 1.0}
    assert (results["tasks"]["vqa"]["n"], results["tasks"]["vqa"]["with_truth"]) == (3, 2)
    extractors = {"fid": lambda x: x[:, :1, 0].astype(float).reshape(len(x), -1)[:, :3]}
    data = Data(make_coco(tmp_path / "coco"), tasks=("image_generation",), extractors=extractors)
    results = evaluate_suite(str(tmp_path / "run"), "coco", data)
    assert results["tasks"]["image_generation"]["scores"]["all"]["fid"] > 0
    assert {one.text for task, one, _ in runner.asked if task == "image_generation"} == {
        f"a dog number {i} 0" for i in range(3)
    }
    if pytest.importorskip("pycocoevalcap"):
        results = evaluate_suite(str(tmp_path / "run"), "coco", Data(tmp_path / "coco"))
        assert results["tasks"]["caption"]["scores"]["all"]["bleu1"] < 1


def test_every_expression_is_an_example(runner: Right, tmp_path: Path) -> None:
    refer(tmp_path / "refer")
    tasks = evaluate_suite(str(tmp_path / "run"), "refcoco", Data(tmp_path / "refer"))["tasks"]
    assert set(tasks) == {"refcoco", "refcoco_plus", "refcocog"}
    assert all(entry["n"] == entry["with_truth"] == 2 for entry in tasks.values())
    assert [one.text for _, one, _ in runner.asked[:2]] == ["the Dog on the left", "dog"]
    with pytest.raises(MioError, match="has no refcoco/"):
        evaluate_suite(str(tmp_path / "run"), "refcoco", Data(tmp_path))


def test_examples_are_the_same_every_time() -> None:
    items = [Item(str(i), "vqa", TaskInputs) for i in range(50)]
    some = drawn(items, 7)
    assert len(some) == 7
    assert some == drawn(items, 7)
    assert [int(item.id) for item in some] == sorted(int(item.id) for item in some)
    assert drawn(items, None) == drawn(items, 99) == items


def test_the_list_of_suites(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "--suite", "list"]) == 0
    printed = capsys.readouterr().out
    for word in (
        "grit",
        "coco",
        "refcoco",
        "vqav2",
        "audiocaps",
        "folder",
        "samples/ablation/TASK.json",
        "CIDEr-D",
        "VGGish",
    ):
        assert word in printed


def test_a_suite_can_be_added() -> None:
    own = Suite("own", "about", "layout", ("vqa",), lambda data: [])
    try:
        assert suite_named(register(own).name) is own
        with pytest.raises(MioError, match="there is a suite 'own' already"):
            register(Suite("own", "another", "layout", (), lambda data: []))
    finally:
        SUITES.pop("own")
    assert "own" not in suites()


def test_functions_of_the_users_are_found() -> None:
    assert load_extractors(["fid=numpy:mean"])["fid"] is np.mean
    for written, message in (
        ("fid", "is not NAME=MODULE:FUNCTION"),
        ("fids=numpy:mean", "with a name of fid, inception"),
        ("fid=numpy:nothing", "--extractor fid=numpy:nothing"),
        ("fid=nowhere_at_all:f", "No module named"),
    ):
        with pytest.raises(MioError, match=message):
            load_extractors([written])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--suite grits --data {d}", "did you mean 'grit'?"),
        ("--suite grit", "give --data FOLDER"),
        ("--suite grit --data {d}/empty", "must be laid out as GRIT is published"),
        ("--suite grit --data {d} --subset test", "has ablation, not 'test'"),
        ("--suite grit --data {d} --tasks vqqa", "suite 'grit' has no task 'vqqa'"),
        ("--suite grit --data {d} --examples 0", "--examples is 0; it must be at least 1"),
        ("--suite coco --data {d}", "must be laid out as COCO 2017 is published"),
        ("--suite vqav2 --data {d}", "must be laid out as the set is published"),
        ("--suite folder --data {d}", "examples.jsonl"),
        ("--suite folder --data {d}/broken", "line 1 is no JSON object with a task"),
        ("--suite folder --data {d}/other", "task 'sing' has no metric"),
        ("--suite folder --data {d}/extra", "line 1 has 'picture'; inputs are text, image"),
        ("--suite audiocaps --data {d}", "put the published CSV files there"),
        ("--suite grit --data {d} --directions x", "a suite's parts are --tasks"),
        ("--data {d}", "--data is for suites"),
    ],
)
def test_one_clear_line(
    words: str, message: str, runner: Right, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_grit(tmp_path / "GRIT")
    lines = {"broken": "{", "other": '{"task": "sing"}', "extra": '{"task": "vqa", "picture": "a.png"}'}
    (data / "empty").mkdir()
    for name, line in lines.items():
        (data / name).mkdir()
        (data / name / "examples.jsonl").write_text(line)
    assert main(["eval", "--run", str(tmp_path / "run"), *words.format(d=data).split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": "b.png"}, "there is no picture"),
        ({"output_options": "nothing"}, "must be laid out as GRIT is published"),
        ({"image_id": None, "example_id": None}, "not as GRIT publishes it"),
    ],
)
def test_damaged_samples(change: dict[str, Any], message: str, runner: Right, tmp_path: Path) -> None:
    data = make_grit(tmp_path / "GRIT")
    path = data / "samples" / "ablation" / "categorization.json"
    rows = json.loads(path.read_text())
    for name, value in change.items():
        if value is None:
            del rows[0]["input"][name]
        else:
            rows[0]["input"][name] = value
    path.write_text(json.dumps(rows))
    with pytest.raises(MioError, match=message):
        evaluate_suite(str(tmp_path / "run"), "grit", Data(data, tasks=("categorization",)))


def test_a_recipe_without_the_task(runner: Right, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bare:
        task_infos = staticmethod(lambda: {"vqa": task_infos()["vqa"]})

    items = [Item("1", "refexp", TaskInputs), Item("2", "vqa", TaskInputs)]
    task = SimpleNamespace(items=items)
    with pytest.raises(MioError, match="recipe 'bare' has no task for refexp; leave it out with --tasks"):
        suite_run.asks_of(Bare, "grit", [task], "bare")
    task.items = items[1:]
    assert suite_run.asks_of(Bare, "grit", [task], "bare")["vqa"].task == "vqa"
