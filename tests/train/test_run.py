"""Reading a run back, and what `mio train` says to a run that does not fit."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.cli.main import main
from mio_jax.config import MeshConfig, RunConfig, TokenizersConfig
from mio_jax.errors import MioError
from mio_jax.nn.base import apply
from mio_jax.parallel import make_mesh
from mio_jax.train import load_run, restore_params, train
from mio_jax.train.run_dir import checkpoint_dir
from tests.train import tiny

pytestmark = pytest.mark.xdist_group("tiny_run")  # one worker, which makes the run once


@pytest.fixture
def copy(finished: RunConfig, tmp_path: Path) -> Path:
    """A copy of the finished run, to spoil."""
    return Path(shutil.copytree(finished.run_dir, tmp_path / "copy"))


def rewrite(path: Path, change: Any) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that `mio train words...` ends with."""
    capsys.readouterr()
    assert main(["train", *words]) == 2
    err = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(err) == 1
    return err[0]


def test_load_run_gives_a_model_that_runs(finished: RunConfig) -> None:
    run = load_run(finished.run_dir)
    assert run.config == finished
    assert run.space == run.recipe.token_space(run.tokenizers)
    model = apply(run.graphdef, run.params)
    tokens = jnp.arange(6, dtype=jnp.int32)[None]
    logits = jax.jit(lambda m, t: m.logits(m.hidden(t, t)))(model, tokens)
    assert logits.shape == (1, 6, run.space.vocab_size)
    assert np.isfinite(logits).all()
    first, last = restore_params(finished.run_dir, "alignment"), restore_params(finished.run_dir, "sft")
    jax.tree.map(np.testing.assert_array_equal, last, run.params)
    assert not np.array_equal(first["embed"], last["embed"])


def test_parameters_of_one_device_go_on_any_mesh(finished: RunConfig) -> None:
    mesh = make_mesh(MeshConfig(fsdp=4, tensor=2))
    spread, whole = restore_params(finished.run_dir, mesh=mesh), restore_params(finished.run_dir)
    jax.tree.map(np.testing.assert_array_equal, spread, whole)
    assert len(spread["layers"]["mlp"]["up"].sharding.device_set) == 8


def test_a_run_moved_elsewhere_is_read_there(copy: Path, finished: RunConfig) -> None:
    assert load_run(copy).config.run_dir == str(copy)


def test_a_checkpoint_of_another_model_names_the_parameter(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rewrite(copy / "config.json", lambda c: c["model"].update(mlp_dim=24))
    with pytest.raises(MioError, match=r"is of another model: params/layers/mlp/\w+ is \(2, "):
        load_run(copy)
    shutil.rmtree(copy / "stages" / "02_sft")
    said = fails(capsys, "--run", str(copy))
    assert "01_interleaved/checkpoints/12 is of another model: params/layers/mlp/" in said


def test_other_tokenizers_than_it_was_trained_with(copy: Path) -> None:
    rewrite(copy / "tokenizers.json", lambda t: t.update(image="image_vq:0000000000000000"))
    with pytest.raises(
        MioError, match=r"trained with image tokenizer image_vq:0000000000000000, and config.tokenizers.image"
    ):
        load_run(copy)


def test_stages_out_of_order(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(copy / "stages" / "01_interleaved")
    assert "02_sft has checkpoints, but stage 'interleaved' before it is not finished" in fails(
        capsys, "--run", str(copy)
    )


def test_what_there_is_to_load(copy: Path, finished: RunConfig) -> None:
    with pytest.raises(MioError, match=r"has no stage 'pretraining'; its stages: alignment, interleaved, sft"):
        load_run(copy, stage="pretraining")
    shutil.rmtree(copy / "stages" / "02_sft")
    with pytest.raises(MioError, match=r"stage 'sft' of .* has no checkpoint yet; train it first: mio train --run"):
        load_run(copy, stage="sft")
    assert np.array_equal(load_run(copy).params["embed"], restore_params(finished.run_dir, "interleaved")["embed"])
    shutil.rmtree(copy / "stages")
    with pytest.raises(MioError, match="has no checkpoint yet"):
        load_run(copy)


def test_a_finished_run_says_so(finished: RunConfig, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--run", finished.run_dir]) == 0
    assert f"run {finished.run_dir} is finished: 3 stages, 36 steps" in capsys.readouterr().out


def test_another_config_for_the_same_folder(finished: RunConfig, capsys: pytest.CaptureFixture[str]) -> None:
    given = str(Path(finished.run_dir) / "given.py")
    said = fails(capsys, "--config", given, "--config.stages.sft.optim.learning_rate=1e-5")
    assert "was started with stages.2.optim.learning_rate=0.003, and the config given says 1e-05" in said
    assert main(["train", "--config", given]) == 0


def test_run_and_config_exclude_each_other(finished: RunConfig, capsys: pytest.CaptureFixture[str]) -> None:
    assert "leave --config and --gin_file out" in fails(capsys, "--run", finished.run_dir, "--config.seed=1")
    assert "no config: pass --config FILE" in fails(capsys)
    assert "there is no run directory nowhere" in fails(capsys, "--run", "nowhere")


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("mesh.tensor=3", "mesh.tensor=3: 8 devices do not divide by 3"),
        ("mesh.data=8", "rows of a batch: 2 does not divide by 8 devices (mesh axis data)"),
        ("model.heads=3", "model.heads is 3; it must be a multiple of"),
        ("data.records_dir=nowhere", "no token records of"),
        ("recipe=moi", "unknown recipe 'moi'"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_trained(
    finished: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str, said: str
) -> None:
    folder = tmp_path / "run"
    words = [f"--config.{flag}", f"--config.run_dir={folder}"]
    if flag.startswith("mesh.tensor"):
        words.append("--config.mesh.data=-1")
    if flag.startswith("model.heads"):
        words.append("--config.model.kv_heads=2")
    assert said in fails(capsys, "--config", str(Path(finished.run_dir) / "given.py"), *words)
    assert not folder.exists(), "a config that is mended could not be given for this folder"


def test_the_note_in_a_checkpoint_says_what_wrote_it(finished: RunConfig) -> None:
    folder = checkpoint_dir(finished, 1)
    note = json.loads((folder / str(tiny.STEPS) / "note" / "data.json").read_text())
    assert note["stage"] == "interleaved"
    assert note["step"] == tiny.STEPS
    assert note["config"]["model"]["dim"] == 16
    assert sorted(p.name for p in folder.iterdir()) == ["10", "12"]
    assert dataclasses.asdict(finished)["name"] == note["config"]["name"]


def test_a_run_is_read_with_its_moving_average_where_it_keeps_one(finished: RunConfig) -> None:
    read, plain = load_run(finished.run_dir).params, load_run(finished.run_dir, ema=False).params
    assert np.array_equal(read["layers"]["attention"]["query"], plain["layers"]["attention"]["query"])  # frozen
    assert not np.array_equal(read["embed"], plain["embed"])
    last = restore_params(finished.run_dir, "interleaved")
    assert np.array_equal(last["layers"]["attention"]["query"], plain["layers"]["attention"]["query"])
    jax.tree.map(np.testing.assert_array_equal, last, restore_params(finished.run_dir, "interleaved", ema=False))
    with pytest.raises(MioError, match=r"stage 'interleaved' of .* keeps no moving average"):
        load_run(finished.run_dir, stage="interleaved", ema=True)


def test_what_is_not_at_hand_leaves_no_folder(tmp_path: Path, records_dir: Path) -> None:
    given = tiny.config(tmp_path / "run", records_dir)
    with pytest.raises(MioError, match=r"there is no tokenizer file nowhere\.model"):
        train(given.replace(tokenizers=TokenizersConfig(text="nowhere.model")))
    assert not (tmp_path / "run").exists()
