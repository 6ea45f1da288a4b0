"""The run folder: one owner, one config, one set of tokenizers."""

from __future__ import annotations

import dataclasses
import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from mio_jax.config import CheckpointConfig, MeshConfig, ModelConfig, OptimConfig, RunConfig, StageConfig
from mio_jax.config_loading import load_json, save_json
from mio_jax.errors import MioError
from mio_jax.train.run_dir import check_tokenizers, load_config, open_run, stage_dir
from mio_jax.train.stages import first_unfinished


def config(run_dir: Path, **changes: object) -> RunConfig:
    stages = tuple(StageConfig(name=n, steps=4, mixture="m", batch_size=2) for n in ("one", "two"))
    return RunConfig(run_dir=str(run_dir), stages=stages).replace(**changes)


def test_config_is_stored_once_and_found_again_wherever_the_folder_is(tmp_path: Path) -> None:
    first = tmp_path / "a"
    with open_run(config(first)):
        assert load_config(first) == config(first)
    moved = first.rename(tmp_path / "b")
    assert load_config(moved) == config(moved)
    with open_run(config(moved)):
        assert load_json(RunConfig, moved / "config.json") == config(first)  # as it was written
    assert stage_dir(config(moved), 1) == moved / "stages" / "01_two"


def test_another_config_names_the_first_key_that_differs(tmp_path: Path) -> None:
    with open_run(config(tmp_path)):
        pass
    stages = list(config(tmp_path).stages)
    stages[1] = dataclasses.replace(stages[1], optim=OptimConfig(learning_rate=0.5))
    for other, said in [
        (config(tmp_path, model=ModelConfig(depth=3)), "started with model.depth=None, and the config given says 3"),
        (config(tmp_path, seed=1, name="x"), "started with name='run'"),
        (config(tmp_path, stages=tuple(stages)), r"started with stages.1.optim.learning_rate=3e-05, .* says 0.5"),
        (config(tmp_path, stages=tuple(stages[:1])), "started with stages=2 items, .* says 1 items"),
    ]:
        with pytest.raises(MioError, match=said), open_run(other):
            pass


def test_mesh_saving_and_logging_may_change_from_one_start_to_the_next(tmp_path: Path) -> None:
    with open_run(config(tmp_path)):
        pass
    other = config(tmp_path, mesh=MeshConfig(fsdp=2), checkpoint=CheckpointConfig(keep_last=5))
    with open_run(other):
        assert load_config(tmp_path) == other


def test_what_is_left_of_a_job_keeps_the_next_one_out(tmp_path: Path) -> None:
    """The first process has died and its lock with it; another one of that job has not noticed yet."""
    with open_run(config(tmp_path)):
        pass
    with open(tmp_path / ".lock.others", "a") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        with pytest.raises(MioError, match="another process is training in"), open_run(config(tmp_path)):
            pass
    with open_run(config(tmp_path)):
        pass


def test_two_processes_cannot_train_in_one_folder(tmp_path: Path) -> None:
    hold = "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, 2); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path / ".lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(MioError, match="another process is training in"), open_run(config(tmp_path)):
            pass
        other.kill()
    with open_run(config(tmp_path)):
        pass  # nothing of the killed process is in the way


def test_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(MioError, match="there is no run directory"):
        load_config(tmp_path / "x")
    with pytest.raises(MioError, match=r"is not a run directory: it has no config.json"):
        load_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(MioError, match="is not a config"):
        load_config(tmp_path)
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(MioError, match="cannot write in the run directory"),
        open_run(config(tmp_path / "file" / "run")),
    ):
        pass


def test_tokenizers_are_those_it_was_started_with(tmp_path: Path) -> None:
    save_json(config(tmp_path), tmp_path / "config.json")
    check_tokenizers(tmp_path, {"image": "vq:1", "text": "sp:1"}, write=True)
    check_tokenizers(tmp_path, {"image": "vq:1", "text": "sp:1"}, write=False)
    with pytest.raises(MioError, match=r"trained with image tokenizer vq:1, and config.tokenizers.image is now vq:2"):
        check_tokenizers(tmp_path, {"image": "vq:2", "text": "sp:1"}, write=True)


def test_first_unfinished_stage(tmp_path: Path) -> None:
    both = config(tmp_path)
    assert first_unfinished(both, [None, None]) == 0
    assert first_unfinished(both, [2, None]) == 0
    assert first_unfinished(both, [4, None]) == 1
    assert first_unfinished(both, [4, 3]) == 1
    assert first_unfinished(both, [4, 4]) is None
    with pytest.raises(MioError, match=r"01_two has checkpoints, but stage 'one' before it is not finished; delete"):
        first_unfinished(both, [2, 4])


def test_a_start_that_fails_leaves_what_was_there_before(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "mine.txt").write_text("notes")
    for folder, left in ((tmp_path / "new", None), (kept, ["mine.txt"])):
        with pytest.raises(MioError, match="records"), open_run(config(folder)):
            raise MioError("no records")
        assert (sorted(p.name for p in folder.iterdir()) if folder.exists() else None) == left
    begun = tmp_path / "begun"
    stage_dir(config(begun), 0).mkdir(parents=True)
    with pytest.raises(MioError, match="records"), open_run(config(begun)):
        raise MioError("no records")
    assert load_config(begun) == config(begun)
