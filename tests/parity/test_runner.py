"""The golden runner: what it runs, what it says, and that a changed number turns a row red."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.parity.mutations import changed_arrays, changed_numbers
from tests.parity.rows import ROWS, files_of, unlisted
from tests.parity.runner import Outcomes, choose, report

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "tests" / "golden"


def test_requests_that_make_no_sense_are_one_line(tmp_path: Path) -> None:
    assert "no fixture folder" in choose(tmp_path / "none", None)
    assert choose(SMALL, "moi") == "unknown recipe 'moi': RECIPE is one of mio, unified-io-2, 4m, mico"
    (tmp_path / "4m").mkdir()
    assert choose(tmp_path, "mio") == f"{tmp_path} has no folder 'mio'; it has: 4m"
    assert choose(tmp_path, None) == ["4m"]
    (tmp_path / "4m").rmdir()
    assert "none of the recipe folders" in choose(tmp_path, None)


def test_exit_status_of_a_wrong_recipe() -> None:
    command = [sys.executable, "-m", "tests.parity.runner", "--recipe", "moi"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown recipe 'moi'")
    assert done.stderr.count("\n") == 1


def test_rows_that_nothing_runs_are_missing_and_failures_are_named() -> None:
    outcomes = Outcomes()
    outcomes.passed["mio", "llama"] = 3
    outcomes.passed["mio", "rvq"] = 1
    outcomes.failed["mio", "rvq"].append("test_decode (call: failed)")
    table, failed = report(SMALL, ["mio"], outcomes)
    lines = {line.split()[1]: line for line in table.splitlines() if line.startswith("  ")}
    assert failed
    assert lines["mio/llama"].startswith("  passed") and lines["mio/llama"].endswith("3 tests")  # noqa: PT018
    assert lines["mio/rvq"].startswith("  FAILED") and "test_decode" in lines["mio/rvq"]  # noqa: PT018
    assert lines["mio/seed"].startswith("  missing")
    assert table.splitlines()[-1] == f"1 rows passed, 1 failed, {len(ROWS['mio']) - 2} missing"
    outcomes.failed.clear()
    assert not report(SMALL, ["mio"], outcomes)[1]


def test_a_fixture_that_no_row_names_is_shown(tmp_path: Path) -> None:
    (tmp_path / "mio").mkdir()
    for name in ("README.md", "prompts.json", "surprise.npz"):
        (tmp_path / "mio" / name).touch()
    assert unlisted(tmp_path / "mio", "mio") == ["surprise.npz"]
    assert "mio/surprise.npz" in report(tmp_path, ["mio"], Outcomes())[0]


def test_rows_with_a_folder_take_all_of_it(tmp_path: Path) -> None:
    row = next(r for r in ROWS["4m"] if r.name == "masking")
    assert files_of(tmp_path, row) == ([], ["masking/"])
    (tmp_path / "masking").mkdir()
    (tmp_path / "masking" / "a.json").touch()
    assert files_of(tmp_path, row) == ([tmp_path / "masking" / "a.json"], [])


def test_row_names_are_unique() -> None:
    for rows in ROWS.values():
        names = [row.name for row in rows]
        assert len(set(names)) == len(names)


def run_row(golden: Path) -> int:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--golden={golden}", "--recipe=mio"]
    done = subprocess.run(
        [*command, "tests/parity/test_mio_speech_flatten.py"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.returncode


def test_one_changed_number_fails_the_row(tmp_path: Path) -> None:
    """The cheapest row stands for all; `python -m tests.parity.mutations` tries every array of any row."""
    shutil.copytree(SMALL / "mio", tmp_path / "mio")
    assert run_row(tmp_path) == 0
    path = tmp_path / "mio" / "speech_flatten.json"
    data = json.loads(path.read_text())
    data["cases"][0]["codes"][0][0] += 1
    path.write_text(json.dumps(data))
    assert run_row(tmp_path) == 1


def test_changes_touch_every_array_and_field_once() -> None:
    rng = np.random.default_rng(0)
    arrays = {"a": np.zeros((2, 3), np.float32), "b": np.array([5, 7]), "c": np.array(True), "d": np.array("text")}
    made = list(changed_arrays(arrays, rng))
    assert [what.split("[")[0] for what, _ in made] == ["a", "b", "c"]
    for what, new in made:
        changed = [k for k in arrays if not np.array_equal(arrays[k], new[k])]
        assert changed == [what.split("[")[0]]
    data = {"n": 1, "s": "x", "flag": True, "list": [1, 2, 3], "deep": [{"x": 0.5}, {"y": [4]}]}
    assert [where.split("[")[0] for where, _ in changed_numbers(data, rng)] == [".n", ".list", ".deep", ".deep"]
    for _, new in changed_numbers(data, rng):
        assert new != data


@pytest.mark.parametrize("recipe", ROWS)
def test_every_recipe_has_rows(recipe: str) -> None:
    assert ROWS[recipe]
