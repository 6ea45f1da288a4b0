"""What a run directory holds, read for people: scores, loss curves, examples, times. Needs no model and no JAX."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mio_jax.config import RunConfig
from mio_jax.config_loading import load_json
from mio_jax.errors import MioError

PASS_SIGMAS = 3.0  # a direction has learned something when it beats its control by this many standard errors
PHASES = ("install", "prepare", "train", "evaluate", "report")


@dataclass(frozen=True)
class Score:
    """One direction of results.json. `control` is the same model with its conditioning shuffled."""

    direction: str
    metric: str
    value: float
    control: float
    stderr: float  # of the difference
    n: int
    note: str = ""
    ceiling: float | None = None  # what the references themselves score, where their tokens cannot be perfect
    details: tuple[Score, ...] = ()  # parts of the score, e.g. the instrument and the note

    @property
    def difference(self) -> float:
        return self.value - self.control

    @property
    def sigmas(self) -> float:
        """The difference in standard errors; infinite where every example agrees."""
        if self.stderr > 0:
            return self.difference / self.stderr
        return math.copysign(math.inf, self.difference) if self.difference else 0.0

    @property
    def passed(self) -> bool:
        return self.sigmas >= PASS_SIGMAS


@dataclass(frozen=True)
class Item:
    """A piece of an example: text, or a media file."""

    kind: str  # "text", "image" or "audio"
    text: str = ""
    file: Path | None = None


@dataclass(frozen=True)
class Sample:
    inputs: tuple[Item, ...]
    outputs: tuple[Item, ...]
    reference: tuple[Item, ...]
    note: str = ""


@dataclass(frozen=True)
class Stage:
    """The metrics of one stage. `rows` are those of metrics.jsonl, by step."""

    name: str
    rows: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class RunFiles:
    """A run directory as the report needs it; what is not there yet is empty."""

    folder: Path
    config: RunConfig
    scores: tuple[Score, ...] = ()
    samples: dict[str, tuple[Sample, ...]] = field(default_factory=dict)  # by direction
    stages: tuple[Stage, ...] = ()
    wall_s: dict[str, float] = field(default_factory=dict)


def read_run(folder: Path) -> RunFiles:
    """Reads a run directory. Raises MioError if it is none, or if one of its files is damaged."""
    if not folder.is_dir():
        raise MioError(f"there is no run directory {folder}")
    config = load_json(RunConfig, folder / "config.json")
    results = _json(folder / "results.json") if (folder / "results.json").is_file() else {}
    try:
        scores = tuple(_score(name, entry) for name, entry in results.get("directions", {}).items())
    except (KeyError, TypeError, ValueError) as error:
        raise MioError(
            f"{folder / 'results.json'} is damaged ({error!r}); run `mio eval --run {folder}` again"
        ) from None
    stages = tuple(
        Stage(path.name.split("_", 1)[-1], _rows(path / "metrics.jsonl"))
        for path in sorted((folder / "stages").glob("[0-9]*_*"))
        if (path / "metrics.jsonl").is_file()
    )
    return RunFiles(
        folder=folder,
        config=config,
        scores=scores,
        samples={name: s for name in (s.direction for s in scores) if (s := _samples(folder, name))},
        stages=stages,
        wall_s={str(k): float(v) for k, v in results.get("wall_s", {}).items()},
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise MioError(f"{path} is damaged ({error}); delete it and make it again") from None


def _score(name: str, entry: dict[str, Any]) -> Score:
    return Score(
        direction=name,
        metric=str(entry["metric"]),
        value=float(entry["value"]),
        control=float(entry["control"]),
        stderr=float(entry["stderr"]),
        n=int(entry["n"]),
        note=str(entry.get("note", "")),
        ceiling=None if entry.get("ceiling") is None else float(entry["ceiling"]),
        details=tuple(
            _score(name, {"metric": part, **numbers})
            for part, numbers in entry.get("details", {}).items()
            if numbers["value"] is not None  # it applied to fewer than two examples
        ),
    )


def _rows(path: Path) -> tuple[dict[str, Any], ...]:
    """Whole lines only: a run that was killed, or is being watched, may have written half of the last one."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")[:-1], 1):
        try:
            rows.append(json.loads(line))
        except ValueError:
            raise MioError(f"{path} line {number} is damaged: {line[:60]!r}") from None
    return tuple(rows)


def slug(direction: str) -> str:
    """Folder name of a direction's samples: `image+question->text` -> `image_question_to_text`."""
    words = direction.replace("->", "_to_")
    return "_".join("".join(c if c.isalnum() else " " for c in words).split())


def _samples(folder: Path, direction: str) -> tuple[Sample, ...]:
    path = folder / "samples" / slug(direction) / "samples.json"
    if not path.is_file():
        return ()
    try:
        return tuple(
            Sample(
                inputs=_items(path, entry["inputs"]),
                outputs=_items(path, entry["outputs"]),
                reference=_items(path, entry["reference"]),
                note=str(entry.get("note", "")),
            )
            for entry in _json(path)
        )
    except (KeyError, TypeError) as error:
        raise MioError(f"{path} is damaged ({error!r}); run `mio eval --run {folder}` again") from None


def _items(path: Path, entries: list[dict[str, str]]) -> tuple[Item, ...]:
    return tuple(_item(path, entry) for entry in entries)


def _item(path: Path, entry: dict[str, str]) -> Item:
    if entry["kind"] == "text":
        return Item("text", text=entry["text"])
    file = path.parent / entry["file"]
    if not file.is_file():
        raise MioError(f"{path} names {entry['file']}, which is not there; evaluate the run again")
    return Item(entry["kind"], file=file)


# ------------------------------------------------------------------------------------------------- on a terminal


def number(value: float) -> str:
    """Three significant digits, and no exponent where people expect none."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "-∞" if value < 0 else "?"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:.3g}"


def duration(seconds: float) -> str:
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    if hours:
        return f"{hours} h {rest // 60:02d} min"
    return f"{rest // 60} min {rest % 60:02d} s" if whole >= 60 else f"{whole} s"


def score_lines(scores: tuple[Score, ...]) -> list[str]:
    """The table of scores as plain text."""
    head = ("direction", "metric", "value", "control", "± stderr", "sigmas", "n", "")
    rows = [
        (
            *(s.direction, s.metric, number(s.value), number(s.control), number(s.stderr), f"{s.sigmas:.1f}", str(s.n)),
            "beats its control" if s.passed else f"NOT {PASS_SIGMAS:g} sigmas above its control",
        )
        for s in scores
    ]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    left = (0, 1, 7)

    def line(row: tuple[str, ...]) -> str:
        cells = (c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        return "  ".join(cells).rstrip()

    return [line(head), *(line(row) for row in rows)]
