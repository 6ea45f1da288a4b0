"""Benchmarks as suites: which examples they have, what the metrics are, and the registry of them.

A suite knows folders and metrics, and no recipe. How a recipe answers a kind of example is a table of its own:
`suite_asks()` gives {suite: {kind: Asked}}, and a recipe without it is asked by the kinds' own names, as far as
it has tasks of these names.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mio_jax.errors import MioError
from mio_jax.task_protocol import TaskAnswer, TaskInputs

MetricFn = Callable[[Sequence[Any], Sequence[Any]], dict[str, float]]  # SeqIO's: (targets, predictions) -> scores


class Item(NamedTuple):
    """One example; media are read when they are needed.

    `kind` says how it is asked (see `SuiteTask`). `target` None: the truth is not published. `group`: scores are given
    for each group too.
    """

    id: str
    kind: str
    inputs: Callable[[], TaskInputs]
    target: Callable[[], Any] | None = None
    group: str = ""


class Published(NamedTuple):
    """What papers report for a part of a suite: values by model of one metric, `scale` times as large as ours."""

    metric: str
    scale: float
    values: Mapping[str, float]


class Missing(NamedTuple):
    """A part of a suite that cannot be run with what is there: its name, and what it needs, in one line."""

    name: str
    needs: str


@dataclass(frozen=True)
class SuiteTask:
    """A part of a suite.

    Attributes:
      predict: what of an answer the metrics take.
      metrics: SeqIO metric functions.
      protocol: what a reader of the numbers must know: normalisation, thresholds, versions.
      published: the figures of papers, to stand beside ours.
    """

    name: str
    items: Sequence[Item]
    predict: Callable[[TaskAnswer], Any]
    metrics: tuple[MetricFn, ...]
    protocol: str = ""
    published: Published | None = None


@dataclass(frozen=True)
class Data:
    """What a suite is opened with: the user's folder, its `subset` ("" is the suite's own choice), extractors by name.

    `extractors`: functions with weights of the user's, for metrics that need them.
    """

    folder: Path
    subset: str = ""
    tasks: tuple[str, ...] = ()
    extractors: Mapping[str, Callable[..., Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Suite:
    """A benchmark.

    Attributes:
      layout: how the folder is laid out, for people.
      open: reads the folder; raises MioError if it is laid out otherwise, unless it can name what is missing of parts
        that others do not need.
      tasks: names of the parts it may have.
      summary_scores: of {task: {group: {metric: value}}}, scores over all of it.
      submit: writes what the benchmark's own server takes, where it has one: (folder, task, predictions by id).
    """

    name: str
    about: str
    layout: str
    tasks: tuple[str, ...]
    open: Callable[[Data], Sequence[SuiteTask | Missing]]
    summary_scores: Callable[[Mapping[str, Mapping[str, Mapping[str, float]]]], dict[str, float]] | None = None
    submit: Callable[[Path, SuiteTask, Mapping[str, Any]], None] | None = None


SUITES: dict[str, Suite] = {}


def register(suite: Suite) -> Suite:
    """Puts a suite in the registry. Raises MioError if there is one of this name."""
    if SUITES.setdefault(suite.name, suite) is not suite:
        raise MioError(f"there is a suite {suite.name!r} already; give yours another name")
    return suite


def suites() -> dict[str, Suite]:
    """All suites of this package, and those that were registered beside them."""
    from mio_jax.evaluate import (  # noqa: F401  (they register)
        suite_captions,
        suite_folder,
        suite_grit,
        suite_mio,
        suite_refcoco,
        suite_vqa,
    )

    return SUITES


def suite_named(name: str) -> Suite:
    """Raises MioError naming the nearest suite."""
    known = suites()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else f"there are: {', '.join(known)}; "
        raise MioError(f"there is no suite {name!r}; {hint}`mio eval --suite list` says what each needs")
    return known[name]
