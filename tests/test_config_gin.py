"""gin files: the same configs as their Python twins, errors of one line, and gin's global state left as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gin
import pytest

from mio_jax.cli.main import main
from mio_jax.config import RunConfig
from mio_jax.config_gin import load_gin
from mio_jax.config_loading import load_config_file, load_json
from mio_jax.errors import MioError
from mio_tokenizers.text import training as text_training
from mio_tokenizers.training import audio, image
from mio_tokenizers.training.config import TokenizerTrainConfig

ROOT = Path(__file__).parents[1]
QUICKSTART = str(ROOT / "configs" / "gin" / "quickstart.gin")
TWINS = sorted((ROOT / "configs" / "gin").rglob("*.gin"))
KINDS = (text_training, audio, image)  # imported, so that gin files can name their classes


@pytest.mark.parametrize("path", TWINS, ids=[p.stem for p in TWINS])
def test_every_twin_builds_the_same_config(path: Path) -> None:
    relative = path.relative_to(ROOT / "configs" / "gin")
    cls: Any = TokenizerTrainConfig if relative.parts[0] == "tokenizers" else RunConfig
    made, origins = load_gin([str(path)], [], cls)
    assert made == load_config_file(ROOT / "configs" / relative.with_suffix(".py"), [], cls)
    assert set(origins.values()) == {str(path)}


def test_the_quickstart_has_a_twin() -> None:
    assert Path(QUICKSTART) in TWINS
    python = [p for p in (ROOT / "configs").rglob("*.py") if "tokenizers" not in p.parts]
    without = [
        p
        for p in python
        if not (ROOT / "configs" / "gin" / p.relative_to(ROOT / "configs")).with_suffix(".gin").exists()
    ]
    assert not without, f"no gin twin of {without}"


def test_macros_scopes_and_unreferenced_classes() -> None:
    bindings = [
        *("MODEL_DIR='runs/x'", "TRAIN_STEPS=5", "BATCH_SIZE=4", "MIXTURE_OR_TASK_NAME='mio_pairs'"),
        *("ModelConfig.depth=3", "audio/OptimConfig.learning_rate=1", "OptimConfig.b2=0.99", "MeshConfig.data=1"),
    ]
    config, origins = load_gin([QUICKSTART], bindings, RunConfig)
    last = config.stages[-1]
    assert (config.run_dir, last.steps, last.batch_size, last.mixture) == ("runs/x", 5, 4, "mio_pairs")
    assert (config.model.depth, config.model.preset, config.mesh.data) == (3, "mio_tiny", 1)
    assert [s.optim.b2 for s in config.stages] == [0.99] * 4
    assert config.stages[2].optim.learning_rate == 1.0
    assert origins["run_dir"] == origins["stages.3.steps"] == origins["stages.1.optim.b2"] == "command line"
    assert origins["stages.0.steps"] == QUICKSTART
    assert "seed" not in origins


REFUSED = {
    "BATCH_SZIE=4": ["nothing uses the macro BATCH_SZIE", "did you mean BATCH_SIZE?"],
    "StageConfg.steps=4": ["unknown config class StageConfg", "did you mean StageConfig?"],
    "StageConfig.stepz=4": ["unknown key StageConfig.stepz", "did you mean StageConfig.steps?"],
    "sft/StageConfig.learning_rate=4": [
        "unknown key sft/StageConfig.learning_rate",
        "did you mean OptimConfig.learning",
    ],
    "model.depth=4": ["write it as --config.model.depth=4"],
    "Nothing.x=4": ["unknown config class Nothing; they are ", "CheckpointConfig"],
    "MODEL_DIR=runs/x": ["a string is written --gin.MODEL_DIR='\"runs/x\"'"],
    "MODEL_DIR": ["--gin.NAME=VALUE"],
    "TRAIN_STEPS='abc'": ["sft/StageConfig.steps is 'abc' (str); it must be int"],
    "MeshConfig.data=2.5": ["MeshConfig.data is 2.5 (float); it must be int"],
    "ModelConfig.depth=True": ["ModelConfig.depth is True (bool); it must be int or None"],
    "OptimConfig.learning_rate=1e-3": ["has no effect", "sft/OptimConfig.learning_rate"],
    "stf/StageConfig.steps=4": ["stf/StageConfig.steps has no effect", "sft/StageConfig.steps"],
    "RunConfig.model=@OptimConfig()": ["RunConfig.model is @OptimConfig(); it must be @ModelConfig()"],
    "RunConfig.model=@ModelConfig": ["write @NAME() with its brackets"],
    "RunConfig.model=4": ["RunConfig.model is 4 (int); it must be ModelConfig"],
    "BATCH_SIZE=%gin.REQUIRED": ["BATCH_SIZE is required", "--gin.BATCH_SIZE=VALUE"],
    "BATCH_SIZE=%NOPE": ["the macro NOPE is used and nothing sets it"],
    "BATCH_SIZE=0": ["stage 'sft'", "needs batch_size"],
    "TRAIN_STEPS=[1,": ["no valid gin"],
    'sft/StageConfig.composition=[{"sorce": "a"}]': ["sft/StageConfig.composition.0.sorce", "did you mean"],
}


@pytest.mark.parametrize(("binding", "said"), REFUSED.items(), ids=REFUSED)
def test_a_wrong_binding_is_one_line_that_names_the_mend(binding: str, said: list[str]) -> None:
    with pytest.raises(MioError) as caught:
        load_gin([QUICKSTART], [binding], RunConfig)
    assert "\n" not in str(caught.value)
    for part in said:
        assert part in str(caught.value)


def test_wrong_files_are_named(tmp_path: Path) -> None:
    file = tmp_path / "x.gin"
    for text, said in (
        ("RunConfig.seed = 1\nRunConfig.sed = 2\n", "x.gin: unknown key RunConfig.sed; did you mean RunConfig.seed?"),
        ("RunConfig.seed = 'a'\n", "x.gin: RunConfig.seed is 'a' (str); it must be int"),
        ("RunConfig.seed = 1\nRunConfig.name = = 2\n", "x.gin"),
        ("import nothing_of_this_name\n", "nothing_of_this_name"),
        ("include 'none.gin'\n", "none.gin"),
    ):
        file.write_text(text)
        with pytest.raises(MioError) as caught:
            load_gin([str(file)], [], RunConfig)
        assert said in str(caught.value)
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(MioError, match="no gin file"):
        load_gin([str(tmp_path / "y.gin")], [], RunConfig)


def test_files_include_their_neighbours_and_later_ones_win(tmp_path: Path) -> None:
    (tmp_path / "base.gin").write_text("RunConfig.seed = 1\nRunConfig.name = 'a'\n")
    (tmp_path / "top.gin").write_text("include 'base.gin'\nRunConfig.name = 'b'\n")
    (tmp_path / "more.gin").write_text("RunConfig.seed = 7\n")
    top, more = str(tmp_path / "top.gin"), str(tmp_path / "more.gin")
    config, origins = load_gin([top, more], [], RunConfig)
    assert (config.seed, config.name) == (7, "b")
    assert origins == {"seed": more, "name": top}


def test_the_example_of_the_docs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    (tmp_path / "mine.gin").write_text(text.split("```\nMODEL_DIR")[1].split("```")[0].join(["MODEL_DIR", ""]))
    config, _ = load_gin([str(tmp_path / "mine.gin")], ["BATCH_SIZE=16"], RunConfig)
    assert [(s.steps, s.batch_size, s.optim.learning_rate) for s in config.stages] == [(20, 16, 3e-3), (100, 16, 1e-3)]
    assert (config.run_dir, config.model.depth) == ("runs/mine", 4)


def test_gins_own_state_is_left_alone() -> None:
    @gin.configurable(module="tests")
    def somebody(size: int = 1) -> int:
        return size

    gin.parse_config("somebody.size = 3\nBATCH_SIZE = 9")
    try:
        assert load_gin([QUICKSTART], [], RunConfig)[0].stages[-1].batch_size == 8
        with pytest.raises(MioError):
            load_gin([QUICKSTART], ["RunConfig.sed=1"], RunConfig)
        assert somebody() == 3
        assert "BATCH_SIZE = 9" in gin.config_str()
        assert "RunConfig" not in gin.config_str()
    finally:
        gin.clear_config()


def test_the_commands_flags(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["config", "show", "--gin_file", QUICKSTART, "--gin.BATCH_SIZE=16", "--config.seed", "3"]
    assert main([*words, "--changed"]) == 0
    lines = {line.split(" = ")[0]: line.split("# ")[-1] for line in capsys.readouterr().out.splitlines()}
    assert lines["seed"] == lines["stages.3.batch_size"] == "command line"
    assert lines["stages.0.steps"] == QUICKSTART
    assert "stages.0.style" not in lines
    assert main([*words, "--json"]) == 0
    (tmp_path / "config.json").write_text(capsys.readouterr().out)
    stored = load_json(RunConfig, tmp_path / "config.json")
    assert (stored.seed, stored.stages[-1].batch_size) == (3, 16)
    assert main(["config", "show", "--run", str(tmp_path), "--changed"]) == 0
    assert "seed = 3" in capsys.readouterr().out

    python = str(ROOT / "configs" / "quickstart.py")
    assert main(["config", "show", "--config", python, "--config.stages.sft.steps=9"]) == 0
    lines = {line.split(" = ")[0]: line.split("# ")[-1] for line in capsys.readouterr().out.splitlines()}
    assert lines["stages.3.steps"] == "command line"
    assert lines["stages.3.style"] == python
    assert lines["seed"] == "default"

    for words, said in (
        (["config", "show"], "no config: pass --config FILE"),
        (["config", "show", "--config", python, "--gin_file", QUICKSTART], "are two configs; give one"),
        (["config", "show", "--config", python, "--gin.BATCH_SIZE=3"], "give one with --gin_file"),
        (["config", "show", "--run", "x", "--gin_file", QUICKSTART], "leave --config and --gin_file out"),
        (["train", "--run", "x", "--gin_file", QUICKSTART], "leave --config and --gin_file out"),
        (["report", "--run", "x", "--gin.BATCH_SIZE=3"], "takes no config"),
        (["config", "show", "--gin_file", QUICKSTART, "--gin.BATCH_SIZE"], "write --gin.BATCH_SIZE=VALUE"),
    ):
        assert main(words) == 2
        assert said in capsys.readouterr().err
