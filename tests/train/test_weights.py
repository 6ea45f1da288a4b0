"""Published weights become a run and a run becomes published weights, with nothing silent on the way."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from mio_jax.cli.main import main
from mio_jax.config import ModelConfig, RunConfig, StageConfig, TokenizersConfig
from mio_jax.config_loading import save_json
from mio_jax.errors import MioError
from mio_jax.nn.base import init_params
from mio_jax.train import load_run
from mio_jax.train.run import assemble
from mio_jax.train.weights import export_run, import_run

STAGES = (StageConfig("any", 1, "any", 2),)
CONFIGS = {
    "mio": RunConfig(stages=STAGES, model=ModelConfig(dim=16, depth=2, heads=2, kv_heads=1, head_dim=8, mlp_dim=16)),
    "unified_io2": RunConfig(
        recipe="unified_io2",
        stages=STAGES,
        tokenizers=TokenizersConfig(text="unified_io2:bundled:text_tiny"),
        model=ModelConfig(
            preset="unified_io2_quickstart",
            dim=16,
            heads=2,
            head_dim=8,
            mlp_dim=16,
            depth=1,
        ),
    ),
}


@pytest.mark.parametrize("recipe", CONFIGS)
def test_there_and_back(recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = CONFIGS[recipe].replace(run_dir=str(tmp_path / "run"))
    parts = assemble(config)
    params = jax.jit(lambda key: init_params(parts.build, key))(jax.random.key(3))
    [first] = parts.recipe.export_weights(params, parts.spec, tmp_path / "published")
    import_run(tmp_path / "published", config)
    run = load_run(config.run_dir)
    jax.tree.map(np.testing.assert_array_equal, run.params, params)
    assert main(["weights", "export", "--run", config.run_dir, "--out", str(tmp_path / "again")]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'again' / first.name}\n"
    assert (tmp_path / "again" / first.name).read_bytes() == first.read_bytes()
    with pytest.raises(MioError, match=r"has weights already; use another run_dir"):
        import_run(tmp_path / "published", config)


def test_the_command_says_what_to_do_next_and_what_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = CONFIGS["mio"]
    parts = assemble(config)
    params = jax.jit(lambda key: init_params(parts.build, key))(jax.random.key(3))
    parts.recipe.export_weights(params, parts.spec, tmp_path / "published")
    save_json(config, tmp_path / "config.json")
    file = tmp_path / "config.py"
    loads = "from mio_jax.config import RunConfig\nfrom mio_jax.config_loading import load_json\n"
    file.write_text(f"{loads}def get_config():\n    return load_json(RunConfig, {str(tmp_path / 'config.json')!r})\n")
    words = ["weights", "import", str(tmp_path / "published"), "--config", str(file)]
    assert main([*words, f"--config.run_dir={tmp_path / 'run'}"]) == 0
    assert f"--config.start_from={tmp_path / 'run'}" in capsys.readouterr().out
    assert main([*words, f"--config.run_dir={tmp_path / 'other'}", "--config.model.depth=3"]) == 2
    error = capsys.readouterr().err
    assert "model.layers.2.mlp.up_proj.weight" in error
    assert "missing" in error
    assert main(["weights", "import", str(tmp_path / "nowhere"), "--config", str(file)]) == 2
    assert "there are no weights at" in capsys.readouterr().err


def test_names_that_a_recipe_does_not_have(tmp_path: Path) -> None:
    config = CONFIGS["mio"].replace(run_dir=str(tmp_path / "run"))
    parts = assemble(config)
    params = jax.jit(lambda key: init_params(parts.build, key))(jax.random.key(3))
    parts.recipe.export_weights(params, parts.spec, tmp_path / "published")
    import_run(tmp_path / "published", config)
    with pytest.raises(MioError, match=r"one kind of names, those of LlamaForCausalLM \(pytorch\), not 't5x'"):
        export_run(config.run_dir, tmp_path / "out", names="t5x")
