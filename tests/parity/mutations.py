"""Does any number of a fixture go unchecked? Changes one at a time and sees whether the row's tests notice.

    python -m tests.parity.mutations --recipe mio --row llama [--golden DIR] [--seed 0]

One element of every array (npz, safetensors) and one number of every JSON list or field is changed by an amount far
above the tolerances. Prints what was not noticed; exit status 1 if there is any. Some numbers cannot matter, like the
embedding of a token that no input holds: read the list with that in mind. Takes minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.parity.rows import ROWS, files_of
from tests.parity.runner import ROOT, default_folder


def changed_arrays(
    arrays: dict[str, np.ndarray], rng: np.random.Generator
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Each array in turn with one element changed: floats by half of the largest, integers by one."""
    for name, array in arrays.items():
        if array.size and array.dtype.kind in "fiub":
            new = array.copy()
            at = np.unravel_index(int(rng.integers(array.size)), array.shape)
            if array.dtype.kind == "b":
                new[at] = not array[at]
            elif array.dtype.kind == "f":
                new[at] = array[at] + 0.5 * max(float(np.abs(array[np.isfinite(array)]).max(initial=0)), 1e-2)
            else:
                new[at] = array[at] + 1 if array[at] < np.iinfo(array.dtype).max else array[at] - 1
            yield f"{name}{list(map(int, at))}", {**arrays, name: new}


def changed_numbers(data: Any, rng: np.random.Generator, path: str = "") -> Iterator[tuple[str, Any]]:
    """The data in turn with one number of every field, and one of every list of numbers, raised by one."""
    if isinstance(data, dict):
        for key, value in data.items():
            for where, new in changed_numbers(value, rng, f"{path}.{key}"):
                yield where, {**data, key: new}
    elif isinstance(data, list) and data:
        numeric = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in data)
        for i in [int(rng.integers(len(data)))] if numeric else range(len(data)):
            for where, new in changed_numbers(data[i], rng, f"{path}[{i}]"):
                yield where, [*data[:i], new, *data[i + 1 :]]
    elif isinstance(data, (int, float)) and not isinstance(data, bool):
        yield path, data + 1


def mutations(file: Path, rng: np.random.Generator) -> Iterator[tuple[str, Path]]:
    """Rewrites `file` in place with one change after another, and yields what was changed."""
    if file.suffix == ".npz":
        with np.load(file) as stored:
            arrays = dict(stored)
        for what, new in changed_arrays(arrays, rng):
            np.savez(file, **new)
            yield what, file
    elif file.suffix == ".safetensors":
        for what, new in changed_arrays(load_file(file), rng):
            save_file(new, file)
            yield what, file
    elif file.suffix == ".json":
        for what, new in changed_numbers(json.loads(file.read_text(encoding="utf-8")), rng):
            file.write_text(json.dumps(new), encoding="utf-8")
            yield what, file


def noticed(golden: Path, recipe: str, row: str) -> bool:
    """Whether a test of the row fails on this folder."""
    tests = sorted(str(p) for p in Path(__file__).parent.glob("test_*.py") if f'"{recipe}", "{row}"' in p.read_text())
    if not tests:
        raise SystemExit(f"error: no test module has the mark golden_row({recipe!r}, {row!r})")
    flags = ["-q", "-x", "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), "-p", "no:cacheprovider"]
    with contextlib.redirect_stdout(io.StringIO()):
        status = pytest.main([*flags, "-m", "golden_row", f"--golden={golden}", *tests])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise SystemExit(f"error: pytest stopped with {pytest.ExitCode(status).name}")
    return status == pytest.ExitCode.TESTS_FAILED


def unnoticed(golden: Path, recipe: str, row_name: str, seed: int) -> tuple[list[str], int]:
    """(what no test noticed, how many changes were tried)."""
    row = next(r for r in ROWS[recipe] if r.name == row_name)
    missed, tried = [], 0
    with tempfile.TemporaryDirectory() as made:
        copy = Path(made) / recipe
        shutil.copytree(golden / recipe, copy)
        if noticed(copy.parent, recipe, row_name):
            raise SystemExit(f"error: {recipe}/{row_name} fails on the untouched fixtures")
        for file in files_of(copy, row)[0]:
            original = file.read_bytes()
            for what, _ in mutations(file, np.random.default_rng(seed)):
                tried += 1
                found = noticed(copy.parent, recipe, row_name)
                print(f"{'noticed' if found else 'MISSED '}  {file.name}: {what}", flush=True)
                if not found:
                    missed.append(f"{file.name}: {what}")
            file.write_bytes(original)
    return missed, tried


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", default="", metavar="DIR")
    parser.add_argument("--recipe", required=True, choices=list(ROWS))
    parser.add_argument("--row", required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    golden = Path(args.golden) if args.golden else default_folder()
    missed, tried = unnoticed(golden, args.recipe, args.row, args.seed)
    print(f"{tried} changes, {len(missed)} not noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
