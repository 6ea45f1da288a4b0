"""The harness on toy sets: a model that knows, one that is blind, one that is real but untrained."""

from __future__ import annotations

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from mio_jax.config import DataConfig, EvalConfig, ModelConfig, RunConfig
from mio_jax.data import registry
from mio_jax.data.prepare import prepare
from mio_jax.data.sources.base import SOURCES
from mio_jax.errors import MioError
from mio_jax.evaluate import harness
from mio_jax.evaluate.context import Context, _raw_examples
from mio_jax.evaluate.samples import slug
from mio_jax.generate import Engine
from mio_jax.generate.sampling import SamplingConfig
from mio_jax.nn.base import init_params, split_model
from mio_jax.protocols import Direction, load_recipe
from tests.evaluate import toy_sets

RECIPE = load_recipe("mio")
NAMES = [direction.name for direction in RECIPE.directions(RunConfig())]
EXAMPLES = 60
HELD_OUT = 70  # of every toy set


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    folder = tmp_path_factory.mktemp("records")
    before = dict(SOURCES)
    SOURCES.clear()
    SOURCES.update(
        {c.name: f"tests.evaluate.toy_sets:{c.__name__}" for c in (toy_sets.Emoji, toy_sets.Shapes, toy_sets.Orchestra)}
    )
    _raw_examples.cache_clear()
    tokenizers = toy_sets.tokenizers()
    config = RunConfig(
        model=ModelConfig(dim=16, depth=1, heads=2, kv_heads=1, head_dim=8, mlp_dim=16),
        data=DataConfig(records_dir=str(folder), length=400, system_prompt="s"),
        eval=EvalConfig(examples=EXAMPLES, candidates=8, batch_size=30, report_examples=3),
    )
    prepare(config, tokenizers)
    RECIPE.register_tasks(str(folder))
    yield Context(config, RECIPE, tokenizers, RECIPE.token_space(tokenizers))
    SOURCES.clear()
    SOURCES.update(before)
    _raw_examples.cache_clear()


def direction_of(name: str) -> Direction:
    return next(d for d in RECIPE.directions(RunConfig()) if d.name == name)


def expected_examples(direction: Direction, asked: int = EXAMPLES) -> int:
    """Noisy directions take twice as many, or all there are."""
    return min(asked * (2 if direction.name in ("text->image", "image->text", "image+question->text") else 1), HELD_OUT)


class Known:
    """An engine that answers every prompt by `reply(record whose prompt it is)`, and rates texts by closeness to it."""

    def __init__(self, context: Context, direction: Direction, reply: Callable[[Any], Any]) -> None:
        self.asked: list[int] = []
        self.replies: dict[bytes, np.ndarray] = {}
        for record in context.held_out(direction, EXAMPLES):
            answer = context.encode_answer(direction.target(reply(record)))
            self.replies[context.encode(direction.prompt(record)).tobytes()] = answer
        self.fallback = next(iter(self.replies.values()))

    def generate(self, prompts: Sequence[np.ndarray], *args: Any, seeds: list[int], **kwargs: Any) -> list[np.ndarray]:
        self.asked += seeds
        # A shuffled question about another picture is a prompt that no record has.
        return [self.replies.get(prompt.tobytes(), self.fallback) for prompt in prompts]

    def score_batch(self, prompts: Sequence[np.ndarray], candidates: Any) -> list[np.ndarray]:
        def closeness(prompt: np.ndarray, text: np.ndarray) -> float:
            wanted = self.replies.get(prompt.tobytes(), self.fallback)
            same = len(text) - 1 == len(wanted) and np.array_equal(text[:-1], wanted)
            return 0.0 if same else -float(len(text))

        return [np.asarray([closeness(p, t) for t in some]) for p, some in zip(prompts, candidates, strict=True)]


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_knows_beats_its_control(name: str, context: Context, tmp_path: pathlib.Path) -> None:
    direction = direction_of(name)
    engine = Known(context, direction, lambda record: record)
    entry = harness.evaluate_direction(direction, context, engine, tmp_path)
    assert entry["n"] == expected_examples(direction)
    assert entry["sigmas"] is None or entry["sigmas"] > 3
    assert entry["value"] > entry["control"] + 0.2
    if "ceiling" in entry:  # what ranks texts has none
        assert entry["value"] == pytest.approx(entry["ceiling"])
        assert entry["ceiling"] > 0.75
    assert entry["higher_is_better"] is True
    assert entry["metric"]
    assert entry["note"]
    assert len(set(engine.asked)) == len(engine.asked), "a prompt was decoded twice"


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_ignores_its_prompt_does_not(name: str, context: Context, tmp_path: pathlib.Path) -> None:
    direction = direction_of(name)
    one = context.held_out(direction, EXAMPLES)[7]
    entry = harness.evaluate_direction(direction, context, Known(context, direction, lambda record: one), tmp_path)
    assert abs(entry["sigmas"] or 0.0) < 3
    assert entry["value"] < 0.6


@pytest.mark.parametrize("name", ["text->image", "image->text", "image->text+mask"])
def test_a_real_engine(name: str, context: Context, tmp_path: pathlib.Path, engine: Engine) -> None:
    """An untrained model: every answer has the form that the grammar grants, and scores are numbers."""
    settings = EvalConfig(examples=10, candidates=4, report_examples=3)
    small = dataclasses.replace(context, config=context.config.replace(eval=settings))
    entry = harness.evaluate_direction(direction_of(name), small, engine, tmp_path)
    assert 0 <= entry["value"] <= 1
    assert 0 <= entry["control"] <= 1
    assert entry["n"] == expected_examples(direction_of(name), 10)
    folder = tmp_path / "samples" / slug(name)
    samples = json.loads((folder / "samples.json").read_text())
    assert len(samples) == 3
    for sample in samples:
        items = [*sample["inputs"], *sample["outputs"], *sample["reference"]]
        assert {item["kind"] for item in items} <= {"text", "image", "audio"}
        assert all((folder / item["file"]).is_file() for item in items if item["kind"] != "text")
        assert not any("<|im_" in item["text"] for item in sample["inputs"] if item["kind"] == "text")
    outputs = {item["kind"] for sample in samples for item in sample["outputs"]}
    if name.startswith("text->"):
        assert outputs == {name.split(":")[0].removeprefix("text->")}
    assert not list((tmp_path / "samples").glob("*.partial"))


@pytest.fixture(scope="module")
def engine(context: Context) -> Engine:
    spec = RECIPE.resolve_model(context.config.model, context.space)
    build = functools.partial(RECIPE.build_model, spec)
    graphdef, _ = split_model(build)
    return Engine(graphdef, init_params(build, jax.random.key(0)), context.space, spec, context.config.data.length)


# ----------------------------------------------------------------------------------------- results and the whole


class Silent:
    """An engine that answers nothing."""

    def __init__(self, *args: Any) -> None:
        pass

    def generate(self, prompts: Sequence[np.ndarray], *args: Any, **kwargs: Any) -> list[np.ndarray]:
        return [np.zeros(0, np.int32) for _ in prompts]

    def score_batch(self, prompts: Sequence[np.ndarray], candidates: Any) -> list[np.ndarray]:
        return [np.zeros(len(some), np.float32) for some in candidates]


@pytest.fixture
def run(context: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> RunConfig:
    """A run directory, with a model that is quick."""
    settings = EvalConfig(examples=8, candidates=4, report_examples=1)
    config = dataclasses.replace(context.config, eval=settings, run_dir=str(tmp_path))
    loaded = SimpleNamespace(
        config=config,
        graphdef=None,
        params={"weight": np.ones(3, np.float32)},
        recipe=RECIPE,
        tokenizers=context.tokenizers,
        space=context.space,
    )
    monkeypatch.setattr("mio_jax.train.run.load_run", lambda folder: loaded)
    monkeypatch.setattr("mio_jax.generate.opening.engine_of", Silent)
    return config


def test_results_are_kept_and_completed(run: RunConfig, capsys: pytest.CaptureFixture[str]) -> None:
    path = pathlib.Path(run.run_dir) / "results.json"
    path.write_text(json.dumps({"wall_s": {"train": 5.0}, "model": "another", "directions": {"old": {}}}))
    first = harness.evaluate(run, directions=["audio->text"])
    assert json.loads(path.read_text()) == first
    assert list(first["directions"]) == ["audio->text"], "a direction of another model was kept"
    assert first["wall_s"] == {"train": 5.0}
    capsys.readouterr()

    second = harness.evaluate(run, directions=["audio->text", "image->text"])
    assert "audio->text: finished before" in capsys.readouterr().out
    assert second["directions"]["audio->text"] == first["directions"]["audio->text"]
    assert set(second["directions"]) == {"audio->text", "image->text"}

    forced = harness.evaluate(run, directions=["audio->text"], force=True)
    assert "finished before" not in capsys.readouterr().out
    again = {k: v for k, v in forced["directions"]["audio->text"].items() if k != "wall_s"}
    assert again == {k: v for k, v in first["directions"]["audio->text"].items() if k != "wall_s"}

    other = run.replace(eval=dataclasses.replace(run.eval, examples=6))
    assert harness.evaluate(other, directions=["audio->text"])["directions"]["audio->text"]["n"] == 6


def test_silence_scores_nothing(run: RunConfig) -> None:
    results = harness.evaluate(run)["directions"]
    assert list(results) == NAMES
    assert all(entry["value"] <= 0.25 and entry["sigmas"] == 0 for entry in results.values())


def test_unknown_direction(run: RunConfig) -> None:
    with pytest.raises(MioError, match="did you mean 'image->mask'"):
        harness.evaluate(run, directions=["image->masks"])


def test_damaged_results(run: RunConfig) -> None:
    (pathlib.Path(run.run_dir) / "results.json").write_text("{")
    with pytest.raises(MioError, match="damaged"):
        harness.evaluate(run, directions=["audio->text"])


def test_records_of_other_tokenizers(run: RunConfig, context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(context.tokenizers.fingerprints, "audio", "notes:0123456789abcdef")
    with pytest.raises(MioError, match="another audio tokenizer"):
        harness.evaluate(run, directions=["audio->text"])


def test_too_few_examples(run: RunConfig) -> None:
    many = run.replace(eval=dataclasses.replace(run.eval, examples=500))
    with pytest.raises(MioError, match="ask for fewer"):
        harness.evaluate(many, directions=["audio->text"])


def test_registry_has_the_tasks_of_all_directions() -> None:
    for direction in RECIPE.directions(RunConfig()):
        assert registry.lookup(direction.task)[0][0].name == direction.task


def test_sampling_settings_reach_the_engine(context: Context) -> None:
    seen: list[Any] = []

    class Spy(Known):
        def generate(self, prompts: Any, sampling: Any = None, **kwargs: Any) -> Any:
            seen.append((sampling, kwargs["grammar"].begin, kwargs["stop_ids"], kwargs["max_new_tokens"]))
            return super().generate(prompts, sampling, **kwargs)

    stops = (context.space.eos, context.space.special("<|im_end|>"))
    for name, begin in (("text->image", "image"), ("audio->text", "text")):
        direction = direction_of(name)
        records = context.held_out(direction, EXAMPLES)
        harness._answers(direction, records, records, context, Spy(context, direction, lambda record: record))
        sampling = SamplingConfig(temperature=1.0, top_p=0.9) if begin == "image" else SamplingConfig(greedy=True)
        assert seen[-1] == (sampling, begin, stops, direction.max_new_tokens)
