"""Values in [0, 1] written as <extra_id_200> .. <extra_id_1199>, alone and as points and boxes, and read back.

Specification of Unified-IO 2, sections 12.1 and 12.2. Coordinates are y before x, as a share of the padded square that
the model sees. Writing refuses values that cannot be written (MioError). Reading takes what a model wrote: what is not
well formed is dropped and counted in `Parsed.dropped`, and never raises.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from mio_jax.errors import MioError
from mio_tokenizers.structured.location import LocationTokenizer

LEVELS = 1000
FIRST = 200  # <extra_id_200> is 0.0; the extra ids below it mark spans of text
LOCATION = re.compile(r"<extra_id_(2\d\d|[3-9]\d\d|1[01]\d\d)>")
T = TypeVar("T")

VALUES, POINTS, BOXES = (LocationTokenizer(LEVELS, kind, ends=True) for kind in ("value", "point", "box"))


class Parsed(NamedTuple, Generic[T]):
    """What could be read of a generated text, and how many pieces of it were not well formed."""

    items: T
    dropped: int


class Run(NamedTuple):
    """Location tokens that follow one another, as values float32 [n], and the words after them."""

    values: np.ndarray
    label: str


def _write(levels: np.ndarray) -> str:
    return " ".join(f"<extra_id_{FIRST + int(level)}>" for level in levels)


def write_values(values: Any) -> str:
    """Numbers [n] in [0, 1] -> location tokens joined by spaces. MioError on NaN or a value outside."""
    return _write(VALUES.encode(np.asarray(values, np.float64).reshape(-1, 1)))


def write_point(point: Any) -> str:
    """(y, x) in [0, 1] -> two tokens. MioError on a value outside."""
    return _write(POINTS.encode(np.asarray(point)[None]))


def write_box(box: Any) -> str:
    """(y1, x1, y2, x2) in [0, 1] -> four tokens. MioError on a value outside or corners in the wrong order."""
    return _write(BOXES.encode(np.asarray(box)[None]))


def value_of(number: int) -> float:
    """The value of <extra_id_NUMBER>, (NUMBER - 200) / 999. MioError if that is no location token."""
    if not FIRST <= number < FIRST + LEVELS:
        raise MioError(f"<extra_id_{number}> is no location token; they are {FIRST}..{FIRST + LEVELS - 1}")
    return (number - FIRST) / (LEVELS - 1)


def runs(text: str) -> tuple[str, list[Run]]:
    """The words before the first location token, and every run of such tokens with the words behind it."""
    matches = list(LOCATION.finditer(text))
    before = text[: matches[0].start()].strip() if matches else text.strip()
    found: list[Run] = []
    values: list[float] = []
    for match, until in zip(matches, [*(m.start() for m in matches[1:]), len(text)][: len(matches)], strict=True):
        values.append(value_of(int(match[1])))
        words = text[match.end() : until].strip()
        if words or match is matches[-1]:
            found.append(Run(np.asarray(values, np.float32), words))
            values = []
    return before, found


def proper_box(values: np.ndarray) -> bool:
    """Four values whose second corner is not before the first."""
    return len(values) == 4 and bool((values[2:] >= values[:2]).all())


def read_values(text: str, count: int) -> Parsed[np.ndarray]:
    """The location tokens of a text in groups of `count` -> float32 [n, count]; words end a group.

    A run that is no whole number of groups loses its incomplete last one, counted as dropped.
    """
    groups: list[np.ndarray] = []
    dropped = 0
    for run in runs(text)[1]:
        whole = len(run.values) // count
        groups.extend(run.values[: whole * count].reshape(whole, count))
        dropped += bool(len(run.values) % count)
    return Parsed(np.stack(groups) if groups else np.zeros((0, count), np.float32), dropped)


def read_points(text: str) -> Parsed[np.ndarray]:
    """float32 [n, 2] of (y, x)."""
    return read_values(text, 2)


def read_boxes(text: str) -> Parsed[np.ndarray]:
    """float32 [n, 4] of (y1, x1, y2, x2); a box whose corners are in the wrong order is dropped and counted."""
    boxes, dropped = read_values(text, 4)
    good = (boxes[:, 2:] >= boxes[:, :2]).all(axis=1)
    return Parsed(boxes[good], dropped + int((~good).sum()))


def ids_to_values(ids: Any, first_location: int) -> np.ndarray:
    """Ids of location tokens -> float32 values: 1 - (id - first_location) / 999. MioError on another id."""
    ids = np.asarray(ids, np.int64)
    levels = LEVELS - 1 - (ids - first_location)
    if ids.size and (levels.min() < 0 or levels.max() >= LEVELS):
        bad = ids[(levels < 0) | (levels >= LEVELS)].flat[0]
        raise MioError(f"id {bad} is no location token; they are {first_location}..{first_location + LEVELS - 1}")
    return VALUES.decode(levels.reshape(-1)).reshape(ids.shape)


def boxes_in_ids(ids: Sequence[int] | np.ndarray, first_location: int) -> Parsed[np.ndarray]:
    """Boxes among generated ids, float32 [n, 4]: `read_boxes` without the way through text (corners in any order)."""
    row = np.asarray(ids, np.int64)
    located = (row >= first_location) & (row < first_location + LEVELS)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], located, [False]]).astype(np.int8)))
    boxes: list[np.ndarray] = []
    dropped = 0
    for start, stop in edges.reshape(-1, 2):
        whole = (stop - start) // 4
        boxes.extend(ids_to_values(row[start : start + 4 * whole], first_location).reshape(whole, 4))
        dropped += bool((stop - start) % 4)
    return Parsed(np.stack(boxes) if boxes else np.zeros((0, 4), np.float32), dropped)
