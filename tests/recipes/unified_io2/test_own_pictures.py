"""The five commands of docs/recipes/unified_io2.md, at tiny size, from published weights to a picture."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from mio_jax.cli.main import main
from mio_jax.config_loading import load_config_file
from mio_jax.data.sources.captioned import Captioned
from mio_jax.errors import MioError
from mio_jax.nn.base import init_params
from mio_jax.train.metrics import read_rows
from mio_jax.train.run import assemble

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "recipes" / "unified_io2.md"
COLOURS = ("red", "green", "blue", "white", "black")
TINY = [f"--config.model.{size}" for size in ("dim=16", "heads=2", "head_dim=8", "mlp_dim=16", "depth=1")]


def commands() -> list[list[str]]:
    """Words of every command of the part "Five commands"."""
    part = PAGE.read_text().split("## Five commands")[1].split("## With")[0]
    return [shlex.split(line)[1:] for line in re.findall(r"^    (mio .*)$", part, re.MULTILINE)]


def write_pictures(folder: Path) -> None:
    folder.mkdir(parents=True)
    rows = ["file,caption,split"]
    for name, colour in zip("abcde", COLOURS, strict=True):
        Image.new("RGB", (40, 30), colour).save(folder / f"{name}.jpg")
        split = "test" if name == "e" else "train"
        rows += [f"{name}.jpg,{caption},{split}" for caption in (f"a {colour} thing", f"all {colour}")]
    (folder / "captions.csv").write_text("\n".join(rows))


def test_the_five_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    write_pictures(tmp_path / "own" / "pictures")
    tiny, published, *rest = commands()
    assert tiny == ["train", "--config", "configs/unified_io2/quickstart.py"]  # its own test is in test_run.py
    assert published[:3] == ["weights", "import", "weights/uio2-large"]
    quick = load_config_file(ROOT / "configs" / "unified_io2" / "quickstart.py", [flag[9:] for flag in TINY])
    parts = assemble(quick)
    params = jax.jit(lambda key: init_params(parts.build, key))(jax.random.key(1))
    parts.recipe.export_weights(params, parts.spec, tmp_path / "weights" / "uio2-large")
    imported = [*published[:3], "--config", tiny[2], "--config.run_dir=runs/unified_io2", *TINY]
    assert main(imported) == 0
    prepare, train, caption, picture = rest
    assert main(prepare) == 0
    assert main([*train, *TINY, "--config.stages.finetune.steps=3"]) == 0
    rows = read_rows(tmp_path / "runs" / "own_pictures" / "stages" / "00_finetune" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert all(np.isfinite(row["loss/text"]) and np.isfinite(row["loss/image"]) for row in rows)
    assert main([*caption, "--max-new-tokens", "4"]) == 0
    assert json.loads((tmp_path / "out" / "caption" / "000.json").read_text())["text"] is not None
    assert main(picture) == 0
    assert Image.open(tmp_path / "out" / "picture" / "000.png").size[0] >= 64
    capsys.readouterr()


def test_the_table_of_captions(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    write_pictures(folder)
    source = Captioned(folder)
    assert (source.count("train"), source.count("test")) == (4, 1)
    first = next(source.examples("train"))
    assert first["captions"] == ["a red thing", "all red"]
    assert first["image"].shape == (30, 40, 3)
    table = folder / "captions.csv"
    table.write_text("file,caption\n" + "".join(f"{n}.jpg,a\n" for n in range(400)))
    other = tmp_path / "other"
    folder.rename(other)
    held = Captioned(other).count("test")
    assert 0 < held < 30
    assert held + Captioned(other).count("train") == 400
    for head, told in (
        ("name,caption\na.jpg,b", "has no column 'file'"),
        ("file,caption,split\na,b,dev", "split is 'dev'"),
    ):
        again = tmp_path / told.replace(" ", "_")
        again.mkdir()
        (again / "captions.csv").write_text(head + "\n")
        with pytest.raises(MioError, match=told):
            Captioned(again).count("train")
