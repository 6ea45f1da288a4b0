"""A tiny Unified-IO 2 from real media to a trained run, its evaluation and its answers, by the commands users type."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mio_jax.cli.main import main
from mio_jax.config_loading import load_config_file
from mio_jax.data.loader import BatchIterator, make_loader
from mio_jax.data.prepare import prepare
from mio_jax.train.run import assemble, corruption
from mio_tokenizers import load_set

CONFIG = str(Path(__file__).parents[3] / "configs" / "unified_io2" / "quickstart.py")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Command line of a config with a few records and a model that compiles quickly."""
    folder = tmp_path_factory.mktemp("uio2")
    changes = {
        "run_dir": folder / "run",
        "data.records_dir": folder / "records",
        "model.dim": 16,
        "model.heads": 2,
        "model.head_dim": 8,
        "model.mlp_dim": 16,
        "model.depth": 1,
        "stages.pretrain.steps": 2,
        "stages.pretrain.batch_size": 8,  # a row for each of the eight devices
        "stages.instruction.steps": 2,
        "stages.instruction.batch_size": 8,
        "eval.examples": 4,
        "eval.candidates": 3,
        "eval.report_examples": 1,
    }
    config = load_config_file(CONFIG, [f"{name}={value}" for name, value in changes.items()])
    prepare(config, load_set(config.tokenizers), limit=24)
    return ["--config", CONFIG, *(f"--config.{name}={value}" for name, value in changes.items())]


def test_it_trains_is_scored_and_answers(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *words]) == 0
    run = Path(next(w.split("=")[1] for w in words if "run_dir" in w))
    for stage in ("00_pretrain", "01_instruction"):
        rows = [json.loads(line) for line in (run / "stages" / stage / "metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == [1, 2]
        assert all(math.isfinite(row["loss"]) and 0.5 < row["packing_fill"] <= 1 for row in rows)
        assert {"loss/text", "loss/image", "loss/audio"} <= rows[0].keys()

    chosen = "image->text"
    assert main(["eval", "--run", str(run), "--directions", chosen]) == 0
    directions = json.loads((run / "results.json").read_text())["directions"]
    assert sorted(directions) == sorted(chosen.split(","))
    assert all(0 <= one["value"] <= 1 for one in directions.values())
    assert main(["report", "--run", str(run)]) == 0

    picture = tmp_path / "in.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 50, 3)).astype(np.uint8)).save(picture)
    out = tmp_path / "out"
    asked = ["generate", "--run", str(run), "--out", str(out), "--max-new-tokens", "64"]
    assert main([*asked, "--ask", "caption", "--image", str(picture)]) == 0
    assert (out / "000.txt").is_file()
    assert main([*asked, "--ask", "image", "--prompt", "red heart", "--seed", "3"]) == 0
    assert Image.open(out / "000_0.png").size == (64, 64)
    capsys.readouterr()
    assert main([*asked, "--ask", "sound", "--prompt", "flute playing C4"]) == 2
    assert "an answer of audio has 100 tokens, more than max_new_tokens, 64" in capsys.readouterr().err


def test_a_denoising_stage_goes_on_exactly_where_it_was_left(words: list[str]) -> None:
    config = load_config_file(CONFIG, [w.removeprefix("--config.") for w in words[2:]])
    parts, stage = assemble(config), config.stages[0]
    parts.recipe.register_tasks(config.data.records_dir)
    encode = functools.partial(parts.recipe.encode, tokenizers=parts.tokenizers, space=parts.space)

    def loader(seed: int) -> BatchIterator:
        formats = {"row_format": parts.recipe.rows(config), "corrupt": corruption(config, stage, parts)}
        return make_loader(config, stage, encode, seed=seed, mine=[0, 3], **formats)

    first, second, other = loader(5), loader(5), loader(6)
    next(first)
    second.set_state(json.loads(json.dumps(first.get_state())))
    for _ in range(2):
        one, two = next(first), next(second)
        assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not np.array_equal(next(other)["inputs/text/tokens"], one["inputs/text/tokens"])
    assert one["targets/image/task_mask"].any()
    for iterator in (first, second, other):
        iterator.close()


def test_its_tasks_can_be_shown(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "show", "uio2_instruments_audio_to_text", *words, "--n", "1", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "tokens; those marked * carry loss" in shown
    assert len(list(tmp_path.glob("*.wav"))) == 1
    assert main(["data", "show", "uio2_openmoji_pairs", *words, "--n", "1", "--out", str(tmp_path)]) == 0
    assert "whole_text" in capsys.readouterr().out
    assert len(list(tmp_path.glob("*.png"))) == 1
