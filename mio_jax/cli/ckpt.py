"""Look at the checkpoints of a run: list them, show what one holds, compare two.

mio ckpt ls runs/quickstart
mio ckpt show runs/quickstart                  the newest of the run; RUN:STAGE is a stage's newest, RUN:STAGE:STEP any
mio ckpt diff runs/quickstart:sft:40 runs/quickstart:sft:80

`diff` ends with status 0 if the two are equal, and 1 if they differ.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mio_jax.errors import MioError

if TYPE_CHECKING:
    from mio_jax.train.checkpoint import Checkpoints

SUMMARY = "list, show and compare the checkpoints of runs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="what", required=True, metavar="ls|show|diff")
    ls = commands.add_parser("ls", help="every checkpoint of a run")
    ls.add_argument("run", metavar="RUN", help="a run directory")
    show = commands.add_parser("show", help="what wrote a checkpoint and what it holds")
    show.add_argument("run", metavar="RUN[:STAGE[:STEP]]", help="default: the newest")
    show.add_argument("--config", action="store_true", help="print the stored config as JSON, and nothing else")
    diff = commands.add_parser("diff", help="versions, config keys and arrays in which two checkpoints differ")
    diff.add_argument("run", metavar="A", help="RUN[:STAGE[:STEP]]")
    diff.add_argument("other", metavar="B", help="RUN[:STAGE[:STEP]]")
    diff.add_argument("--params", action="store_true", help="compare the parameters, not the optimizer's state")


def run(args: argparse.Namespace) -> int:
    if args.what == "ls":
        return _ls(args.run)
    if args.what == "show":
        return _show(args.run, only_config=args.config)
    return _diff(args.run, args.other, only_params=args.params)


class Place(NamedTuple):
    """A checkpoint found by its name: its text, its stage's folder of checkpoints, and its step."""

    text: str
    folder: Path
    step: int


def find(text: str) -> Place:
    """`RUN[:STAGE[:STEP]]` -> where it is. Raises MioError if there is no such run, stage or step."""
    from mio_jax.train.checkpoint import Checkpoints
    from mio_jax.train.run import find_checkpoint
    from mio_jax.train.run_dir import checkpoint_dir, load_config

    run_dir, stage, step = text, None, None
    if not Path(text).is_dir():  # a folder may have a colon in its name
        run_dir, _, rest = text.partition(":")
        stage, _, step = rest.partition(":")
    config = load_config(run_dir)
    index, newest = find_checkpoint(config, stage or None)
    folder = checkpoint_dir(config, index)
    if step:
        with Checkpoints(folder) as checkpoints:
            steps = [found.step for found in checkpoints.saved]
        if not step.isdigit() or int(step) not in steps:
            raise MioError(f"{text}: there is no checkpoint of step {step!r}; there are {', '.join(map(str, steps))}")
        newest = int(step)
    return Place(f"{run_dir}:{config.stages[index].name}:{newest}", folder, newest)


def _ls(run_dir: str) -> int:
    from mio_jax.train.checkpoint import Checkpoints
    from mio_jax.train.run_dir import checkpoint_dir, load_config

    config = load_config(run_dir)
    rows = [("stage", "step", "of", "saved", "size", "ranked by")]
    for index, stage in enumerate(config.stages):
        folder = checkpoint_dir(config, index)
        if not folder.is_dir():
            continue
        with Checkpoints(folder) as checkpoints:
            for found in checkpoints.saved:
                metrics = " ".join(f"{name}={value:.5g}" for name, value in found.metrics.items())
                size = sum(file.stat().st_size for file in found.path.rglob("*") if file.is_file())
                cells = (str(found.step), str(stage.steps), _when(found.time), _bytes(size), metrics or "-")
                rows.append((stage.name, *cells))
    if len(rows) == 1:
        raise MioError(f"{run_dir} has no checkpoint yet; train it first: mio train --run {run_dir}")
    _table(rows)
    return 0


def _show(text: str, *, only_config: bool) -> int:
    from mio_jax.train.checkpoint import ARRAYS, Checkpoints

    place = find(text)
    with Checkpoints(place.folder) as checkpoints:
        note = checkpoints.read_note(place.step)
        if only_config:
            print(json.dumps(note["config"], indent=2))
            return 0
        data = checkpoints.read_data(place.step)
        arrays = checkpoints.describe(place.step)
        found = next(found for found in checkpoints.saved if found.step == place.step)
    print(f"{place.text}\n  {found.path}\n  saved {_when(found.time)}\n")
    facts = [("step", str(place.step)), ("batches read", str(data.get("batches", "?")))]
    facts += [(key, str(note[key])) for key in ("stage", "seed", "processes") if key in note]
    facts += [(f"base: {key}", value) for key, value in note.get("base", {}).items()]  # of a run of adapters
    facts += [(f"metric {name}", f"{value:.6g}") for name, value in found.metrics.items()]
    facts += list(note.get("versions", {"mio_jax": note.get("version", "?")}).items())
    _table([("what", "value"), *facts])
    for part in ARRAYS:
        mine = {name.partition("/")[2]: facts for name, facts in arrays.items() if name.startswith(f"{part}/")}
        count, size = sum(_count(shape) for shape, _ in mine.values()), sum(_size(*facts) for facts in mine.values())
        print(f"\n{part}: {len(mine)} arrays, {count:,} numbers, {_bytes(size)}")
        _table([("array", "shape", "dtype"), *((name, _shape(shape), dtype) for name, (shape, dtype) in mine.items())])
    return 0


def _diff(first: str, second: str, *, only_params: bool) -> int:
    from mio_jax.train.checkpoint import Checkpoints

    places = (find(first), find(second))
    differs = False
    with Checkpoints(places[0].folder) as a, Checkpoints(places[1].folder) as b:
        print(f"A  {places[0].text}\nB  {places[1].text}")
        notes = a.read_note(places[0].step), b.read_note(places[1].step)
        for title, key in (("versions", "versions"), ("config", "config")):
            rows = _plain_differences(notes[0].get(key, {}), notes[1].get(key, {}))
            differs |= bool(rows)
            print(f"\n{title}: {'equal' if not rows else f'{len(rows)} differ'}")
            if rows:
                _table([("key", "A", "B"), *rows])
        changed = _array_differences((a, places[0].step), (b, places[1].step), "params/" if only_params else "")
        differs |= bool(changed)
        print(f"\narrays: {'equal, bit for bit' if not changed else f'{len(changed)} differ'}")
        if changed:
            _table([("array", "A", "B", "largest difference", "relative"), *changed])
    return int(differs)


def _plain_differences(a: Any, b: Any, path: str = "") -> list[tuple[str, str, str]]:
    """(dotted key, A, B) of every plain value that differs; `-` where one has no such key."""
    if isinstance(a, list) and isinstance(b, list):
        a, b = (dict(enumerate(x)) for x in (a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        keys = [*a, *(key for key in b if key not in a)]
        return [
            row
            for key in keys
            for row in _plain_differences(
                a.get(key, _ABSENT), b.get(key, _ABSENT), f"{path}.{key}" if path else str(key)
            )
        ]
    return [] if a == b and type(a) is type(b) else [(path, _shown(a), _shown(b))]


_ABSENT = object()


def _shown(value: Any) -> str:
    text = "-" if value is _ABSENT else json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _array_differences(
    a: tuple[Checkpoints, int], b: tuple[Checkpoints, int], prefix: str
) -> list[tuple[str, str, str, str, str]]:
    """Arrays that only one has, that have other shapes or dtypes, or that differ in a bit; the most different first."""
    import numpy as np

    has, other = (
        {name: facts for name, facts in checkpoints.describe(step).items() if name.startswith(prefix)}
        for checkpoints, step in (a, b)
    )
    rows: list[tuple[float, tuple[str, str, str, str, str]]] = []
    for name in sorted(has.keys() | other.keys()):
        if has.get(name) != other.get(name):
            kinds = [f"{_shape(f[name][0])} {f[name][1]}" if name in f else "-" for f in (has, other)]
            rows.append((float("inf"), (name, kinds[0], kinds[1], "", "")))
    common = [name for name in has if has[name] == other.get(name)]
    left, right = a[0].read_arrays(a[1], common), b[0].read_arrays(b[1], common)
    for name in common:
        if left[name].tobytes() == right[name].tobytes():
            continue
        x, y = (v[name].astype(np.float64) for v in (left, right))
        largest, scale = float(np.abs(x - y).max(initial=0)), float(np.linalg.norm(x))
        relative = float(np.linalg.norm(x - y)) / scale if scale else float("inf")
        kind = f"{_shape(has[name][0])} {has[name][1]}"
        rows.append((relative, (name, kind, kind, f"{largest:.3g}", f"{relative:.3g}")))
    return [row for _, row in sorted(rows, key=lambda item: -item[0])]


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _when(time: datetime.datetime) -> str:
    return time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def _count(shape: tuple[int, ...]) -> int:
    return math.prod(shape)


def _size(shape: tuple[int, ...], dtype: str) -> int:
    import jax.numpy as jnp

    return _count(shape) * jnp.dtype(dtype).itemsize


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
