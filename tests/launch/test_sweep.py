"""The sweep: its grid, a real one of two tiny runs, what it does the second time, and what it draws."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from launch import sweep
from mio_jax.config import RunConfig
from mio_jax.config_loading import save_json
from mio_jax.errors import MioError
from mio_jax.web.comparison import Entry, best, chart, columns, figure, page, text_table
from mio_jax.web.results import RunFiles, Stage
from tests.environment import UNOPTIMISED
from tests.train import tiny

QUICKSTART = ["--config", str(Path(__file__).parents[2] / "configs" / "quickstart.py")]


def test_the_grid_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*QUICKSTART, "--out", str(tmp_path), "--config.seed=5", "--dry-run"]
    grid = ["--grid", "model.depth", "2", "4", "--grid", "stages.sft.optim.learning_rate", "1e-3", "3e-3"]
    assert sweep.main([*words, *grid]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "# not begun: depth=2_learning_rate=1e-3"
    assert len(lines) == 8
    assert "--config.seed=5 --config.model.depth=2 --config.stages.sft.optim.learning_rate=1e-3" in lines[1]
    assert lines[1].endswith(f"--config.run_dir={tmp_path}/depth=2_learning_rate=1e-3")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--grid", "model.dept", "2"], "did you mean model.depth?"),
        (["--grid", "model.depth", "2", "x"], "model.depth is 'x'"),
        (["--grid", "model.depth"], "has no values"),
        (["--grid", "seed", "1", "--grid", "seed", "2"], "names a key twice"),
        (["--grid", "seed", "1", "1"], "have one name"),
        (["--grid", "seed", "1", "--jobs", "0"], "--jobs is 0"),
    ],
)
def test_a_wrong_grid_is_refused_before_anything_starts(tmp_path: Path, words: list[str], said: str) -> None:
    with pytest.raises(MioError) as caught:
        sweep.main([*QUICKSTART, "--out", str(tmp_path / "out"), *words])
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_real_sweep_and_its_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_FLAGS", UNOPTIMISED)  # one device
    monkeypatch.setenv("PYTHONPATH", ":".join(p for p in sys.path if p))
    tiny.write_records(tmp_path / "records")
    config = tiny.config(tmp_path / "unused", tmp_path / "records")
    save_json(config.replace(stages=config.stages[:1]), tmp_path / "base.json")
    loads = "from mio_jax.config import RunConfig\nfrom mio_jax.config_loading import load_json\n"
    body = f"def get_config():\n    return load_json(RunConfig, {str(tmp_path / 'base.json')!r})\n"
    (tmp_path / "base.py").write_text(loads + body)
    out = tmp_path / "out"
    words = ["--config", str(tmp_path / "base.py"), "--out", str(out), "--config.stages.0.steps=2"]
    grid = ["--grid", "data.records_dir", str(tmp_path / "records"), str(tmp_path / "none")]
    assert sweep.main([*words, *grid]) == 1  # the second has no data
    shown = capsys.readouterr().out
    assert "finished" in shown
    assert "failed (2)" in shown
    log = next(path for path in out.glob("*none.log"))
    assert "error: " in log.read_text()

    monkeypatch.setattr(sweep.subprocess, "Popen", lambda *a, **k: pytest.fail("a finished run was started again"))
    assert sweep.main([*words, "--grid", "data.records_dir", str(tmp_path / "records")]) == 0
    assert sweep.main([*words, *grid, "--compare"]) == 0
    table = capsys.readouterr().out
    assert "loss/image" in table
    assert (out / "comparison.html").read_text().startswith("<!doctype html>")


def entry(name: str, losses: list[float], state: str = "finished") -> Entry:
    rows = tuple({"step": i + 1, "global_step": i + 1, "loss": v, "loss/text": None} for i, v in enumerate(losses))
    return Entry(name, {"model.depth": name[-1]}, RunFiles(Path(), RunConfig(), stages=(Stage("a", rows),)), state)


def test_the_page_and_the_table() -> None:
    entries = [
        entry("d<2", [3.0, 2.0]),
        entry("d=4", [3.0, 1.0]),
        Entry("d=8", {"model.depth": "8"}, None, "not begun"),
    ]
    assert columns(entries) == ["loss"]
    assert best(entries, "loss") == 2.0
    rows = text_table(entries).splitlines()
    assert "*" in rows[2]
    assert "*" not in rows[1] + rows[3]
    drawn = ElementTree.fromstring(chart(entries))
    lines = [node for node in drawn.iter() if node.tag == "polyline"]
    assert len(lines) == 2
    assert [node.find("title").text for node in lines] == ["d<2", "d=4"]  # type: ignore[union-attr]
    assert page("a & b", entries).count('class="best"') == 1
    assert "a &amp; b" in page("a & b", entries)
    assert chart([]) == figure("none", []) == ""


def test_the_figure_is_a_drawing_of_the_last_stage_alone() -> None:
    stages = tuple(
        Stage(name, tuple({"global_step": first + i, "loss": 5.0 - i / 4} for i in range(1, 11)))
        for name, first in (("a", 0), ("b", 10))
    )
    one = Entry("x<1", {}, RunFiles(Path(), RunConfig(), stages=stages), "finished")
    drawn = ElementTree.fromstring(figure("a & b", [one]))
    svg = "{http://www.w3.org/2000/svg}"
    assert drawn.tag == f"{svg}svg"
    texts = [node.text for node in drawn.iter(f"{svg}text")]
    assert "a & b" in texts
    assert "x<1" in texts
    [line] = drawn.iter(f"{svg}polyline")
    points = [float(point.split(",")[0]) for point in line.attrib["points"].split()]
    assert len(points) == 10
    assert points[0] < 150 < 900 < points[-1], "the last stage fills the width"
