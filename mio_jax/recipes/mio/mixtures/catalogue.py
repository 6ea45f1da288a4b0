"""The stages' mixtures in the registry, with a user's own sets in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mio_jax.config import AddedSet
from mio_jax.data.registry import Task, add_mixture, add_task
from mio_jax.errors import MioError
from mio_jax.recipes.mio import speech_tasks
from mio_jax.recipes.mio.mixtures import chats, kinds
from mio_jax.recipes.mio.mixtures.parts import Kind
from mio_jax.recipes.mio.mixtures.tables import MIXTURES, Row, rate
from mio_jax.recipes.mio.tasks import MIXTURES as SMALL
from mio_jax.recipes.mio.tasks import Content, Record

KINDS: dict[str, Kind] = {**kinds.KINDS, **chats.KINDS, **speech_tasks.KINDS}


def task_name(record_set: str, kind: str) -> str:
    return f"mio_{record_set}_{kind}" if kind else f"mio_{record_set}"


def rows_of(name: str, added: Sequence[AddedSet]) -> tuple[tuple[Row, float], ...]:
    """The rows of a mixture with their rates, and those that a user adds to it or makes it of.

    A user's reader of a set that has none here takes the place of its row. Raises MioError on an unknown kind.
    """
    own = []
    for one in added:
        if one.mixture == name:
            unknown = [kind for kind in one.kinds if kind not in KINDS]
            if unknown:
                there = ", ".join(sorted(KINDS))
                raise MioError(f"data.added {one.name!r}: there is no kind of task {unknown[0]!r}; there are: {there}")
            shares = tuple((kind, 1 / len(one.kinds)) for kind in one.kinds)
            own.append((Row(one.name, one.name, shares, 0.0, "your own"), one.rate))
    names = {row.set for row, _ in own}
    known = [row for row in MIXTURES.get(name, ()) if row.kinds or row.set not in names]
    total = sum(map(rate, known)) or 1.0
    return (*((row, 100 * rate(row) / total) for row in known), *own)


def parts(rows: Sequence[tuple[Row, float]]) -> dict[str, float]:
    """Task -> how often it is drawn; of the published sets in per cent."""
    rates: dict[str, float] = {}
    for row, share in rows:
        for kind, part in row.kinds or (("", 1.0),):
            name = task_name(row.set, kind)
            rates[name] = rates.get(name, 0.0) + share * part
    return rates


def _task(row: Row, kind: str) -> Task:
    name = task_name(row.set, kind)
    if kind:
        k = KINDS[kind]
        ends = tuple(k.inputs.split()), tuple(k.outputs.split())
        return Task(name, row.set, k.formatter, k.says, *ends, k.where, row.title)
    line = (
        f"{row.title} cannot be read here: {row.why}; add a reader of yours (docs/mio_data.md), or train without it: "
        "--config.data.absent_sets=leave_out"
    )

    def formatter(record: Record, rng: np.random.Generator, style: str) -> Content:
        raise MioError(line)

    return Task(name, row.set, formatter, "cannot be read", title=row.title, unreadable=line)


def register(records_dir: str, added: Sequence[AddedSet] = ()) -> None:
    """Puts every task and mixture in the registry, over the records in `records_dir`; idempotent.

    Raises MioError on an added set of an unknown kind, or whose name the mixture has already.
    """
    for name in dict.fromkeys((*MIXTURES, *(one.mixture for one in added))):
        published = {row.set for row in MIXTURES.get(name, ()) if row.kinds}
        twice = [one.name for one in added if one.mixture == name and one.name in published]
        if twice:
            raise MioError(f"mixture {name!r} has a set {twice[0]!r} of its own; give yours another name in data.added")
        rows = rows_of(name, added)
        for row, _ in rows:
            for kind, _ in row.kinds or (("", 1.0),):
                add_task(_task(row, kind), records_dir)
        add_mixture(name, list((dict(SMALL.get(name, ())) | parts(rows)).items()))
