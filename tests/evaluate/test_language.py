"""A run as a plain language model, and the tasks of lm-evaluation-harness over it."""

from __future__ import annotations

import functools
import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from mio_jax.cli.main import main
from mio_jax.config import DataConfig, ModelConfig, RunConfig, TokenizersConfig
from mio_jax.errors import MioError
from mio_jax.evaluate.language import LanguageModel
from mio_jax.evaluate.lm_harness import harness_model, said_how
from mio_jax.generate.opening import engine_of
from mio_jax.generate.sampling import SamplingConfig
from mio_jax.nn.base import init_params, split_model
from mio_jax.protocols import load_recipe
from mio_tokenizers import load_set
from tests.recipes.unified_io2.untrained import make_run

SIZES: dict[str, Any] = {"dim": 16, "depth": 1, "heads": 2, "head_dim": 8, "mlp_dim": 16}
CONFIGS = {
    "mio": RunConfig(model=ModelConfig(kv_heads=1, **SIZES), data=DataConfig(length=48)),
    "unified_io2": RunConfig(
        recipe="unified_io2",
        model=ModelConfig(preset="unified_io2_tiny", **SIZES),
        tokenizers=TokenizersConfig(text="unified_io2:bundled:text_tiny"),
        data=DataConfig(budgets=(200, 260), length=460, text_length=48),
    ),
}
PAIRS = [("a red", " heart"), ("a red", " circle on a wall"), ("", "the end"), ("what is it? ", "a dog")]


@functools.cache
def language(name: str) -> LanguageModel:
    config, recipe = CONFIGS[name], load_recipe(name)
    tokenizers = load_set(config.tokenizers)
    space = recipe.token_space(tokenizers)
    spec = recipe.resolve_model(config.model, space)
    build = functools.partial(recipe.build_model, spec)
    params = jax.jit(lambda: init_params(build, jax.random.key(0)))()
    run: Any = SimpleNamespace(config=config, recipe=recipe, tokenizers=tokenizers, space=space, params=params)
    run.graphdef = split_model(build)[0]
    return LanguageModel(run, engine_of(run), rows=2)


@pytest.mark.parametrize("name", ["mio", "unified_io2"])
def test_likelihoods_are_those_of_the_pairs_alone(name: str) -> None:
    model = language(name)
    found = model.likelihoods(PAIRS)
    for pair, (score, greedy) in zip(PAIRS, found, strict=True):
        [(alone, same)] = model.likelihoods([pair])
        assert score == pytest.approx(alone, rel=1e-4)
        assert greedy is same
        assert score < 0
    with pytest.raises(MioError, match="empty continuation"):
        model.likelihoods([("a", " ")])
    assert model.likelihoods([("word " * 300, "end")])[0][0] < 0  # the beginning of the context is dropped


def test_a_decoder_scores_what_follows_in_the_same_tokens() -> None:
    model = language("mio")
    prompt, ids = model._pair("a red", " heart")
    whole = np.concatenate([[model.space.bos], model.tokenizers.text.encode("a red heart")])
    assert np.array_equal(np.concatenate([prompt, ids]), whole)
    assert np.array_equal(np.concatenate(model._pair("a red ", "heart")), whole)  # the space belongs to what follows
    text = "one two three " * 20
    parts = np.array_split(model._ids(text), range(47, len(model._ids(text)), 47))
    start = np.asarray([model.space.bos], np.int32)
    wanted = sum(float(model.engine.score(start, [part])[0]) for part in parts)
    assert model.rolling([text])[0] == pytest.approx(wanted, rel=1e-4)


def test_what_greedy_decoding_says_is_judged_so() -> None:
    model = language("mio")
    prompt = np.asarray([model.space.bos, 40, 41], np.int32)
    [said] = model.engine.generate([prompt], SamplingConfig(greedy=True), max_new_tokens=5)
    other = np.asarray([*said[:4], (said[4] + 1) % 100], np.int32)
    [(scores, greedy)] = model.engine.judge_batch([prompt], [[said, other]])
    assert greedy.tolist() == [True, False]
    assert scores.shape == (2,)


def test_an_encoder_decoder_gives_a_text_no_likelihood() -> None:
    with pytest.raises(MioError, match="no likelihood"):
        language("unified_io2").rolling(["a text"])


@pytest.mark.parametrize("name", ["mio", "unified_io2"])
def test_texts_end_where_they_should(name: str) -> None:
    model = language(name)
    [whole] = model.texts(["a red"], [], 12)
    assert whole
    [cut] = model.texts(["a red"], [whole[2:4]], 12)
    assert cut == whole[: whole.find(whole[2:4])]


def test_settings_of_a_task() -> None:
    assert said_how({"until": "\n"}) == (["\n"], 256, SamplingConfig(greedy=True))
    drawn = said_how({"until": ["a"], "do_sample": True, "temperature": 0.5, "max_gen_toks": 3})
    assert drawn == (["a"], 3, SamplingConfig(temperature=0.5, top_p=1.0, top_k=0))
    with pytest.raises(MioError, match="'beams'"):
        said_how({"beams": 4})


def test_what_is_missing_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: Any) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "lm_eval" else found(name, *a))
    assert main(["eval", "--run", str(tmp_path), "--suite", "lm_harness", "--tasks", "arc_easy"]) == 2
    assert "pip install -e '.[lm]'" in capsys.readouterr().err
    with pytest.raises(MioError, match="needs the package"):
        harness_model(language("mio"))


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval (extra lm) is missing")
def test_tasks_of_the_library(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: Any) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    rows = [{"question": f"is {n} even?", "choices": ["yes", "no"], "answer": n % 2} for n in range(6)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shared = f"dataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {tmp_path}/rows.jsonl\ntest_split: test\n"
    (tmp_path / "even.yaml").write_text(
        f"task: even_numbers\n{shared}output_type: multiple_choice\ndoc_to_text: '{{{{question}}}}'\n"
        "doc_to_choice: '{{choices}}'\ndoc_to_target: answer\nmetric_list:\n  - metric: acc\n"
    )
    (tmp_path / "said.yaml").write_text(
        f"task: even_said\n{shared}output_type: generate_until\ndoc_to_text: '{{{{question}}}}'\n"
        "doc_to_target: '{{choices[answer]}}'\ngeneration_kwargs:\n  until: ['.']\n  max_gen_toks: 4\n"
        "metric_list:\n  - metric: exact_match\n"
    )
    run = make_run(tmp_path / "run")
    command = ["eval", "--run", run, "--suite", "lm_harness", "--data", str(tmp_path), "--examples", "4"]
    assert main([*command, "--tasks", "even_numbers,even_said"]) == 0
    assert "even_numbers: acc" in capsys.readouterr().out
    results = json.loads((tmp_path / "run" / "suites" / "lm_harness" / "results.json").read_text())
    assert results["examples"]["even_numbers"]["effective"] == 4
    assert 0 <= results["tasks"]["even_numbers"]["acc,none"] <= 1
    assert set(results["tasks"]) == {"even_numbers", "even_said"}
    assert main([*command, "--tasks", "no_such_task"]) == 2
    assert "no task 'no_such_task'" in capsys.readouterr().err
    assert main(command) == 2
    assert "name some" in capsys.readouterr().err
