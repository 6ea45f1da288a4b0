"""The published mixtures in the registry, with a user's own sets in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mio_jax.config import AddedSet
from mio_jax.data.registry import Task, add_mixture, add_task
from mio_jax.data.sources import FOLDER_SOURCES, SOURCES
from mio_jax.errors import MioError
from mio_jax.recipes.unified_io2.kinds import KINDS
from mio_jax.recipes.unified_io2.kinds.parts import Kind
from mio_jax.recipes.unified_io2.mixtures import instruction, pretraining
from mio_jax.recipes.unified_io2.mixtures.rows import Row
from mio_jax.recipes.unified_io2.tasks import MIXTURES as SMALL
from mio_jax.recipes.unified_io2.tasks import Content, Record

Rng = np.random.Generator

MIXTURES: dict[str, tuple[Row, ...]] = {pretraining.NAME: pretraining.ROWS, instruction.NAME: instruction.ROWS}
# About 6 % of the published examples are task augmentations: beside another kind of the same set this is their weight.
AUGMENTATION = 0.15


def task_name(record_set: str, kind: str) -> str:
    return f"uio2_{record_set}_{kind}" if kind else f"uio2_{record_set}"


def shares(kinds: Sequence[str]) -> dict[str, float]:
    """How kinds of one row share its examples: evenly, augmentations less. Raises MioError on an unknown kind."""
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise MioError(f"there is no kind of task {unknown[0]!r}; there are: {', '.join(sorted(KINDS))}")
    weights = {kind: AUGMENTATION if KINDS[kind].augmentation else 1.0 for kind in kinds}
    return {kind: weight / sum(weights.values()) for kind, weight in weights.items()}


def is_readable(row: Row, added: Sequence[AddedSet] = ()) -> bool:
    known = row.set in FOLDER_SOURCES or row.set in SOURCES or any(one.name == row.set for one in added)
    return bool(row.kinds) and known


def rows_of(name: str, added: Sequence[AddedSet]) -> tuple[Row, ...]:
    """The rows of a mixture, and those that a user adds to it or makes it of.

    A user's reader of a published set that has none here takes the place of its row.
    """
    own = [Row(one.name, one.name, "your own", one.kinds, one.rate) for one in added if one.mixture == name]
    names = {row.set for row in own}
    return (*(row for row in MIXTURES.get(name, ()) if row.kinds or row.set not in names), *own)


def parts(rows: Sequence[Row]) -> dict[str, float]:
    """Task -> per cent of a mixture; a set that stands in several rows adds up."""
    rates: dict[str, float] = {}
    for row in rows:
        for kind, share in (shares(row.kinds) if row.kinds else {"": 1.0}).items():
            name = task_name(row.set, kind)
            rates[name] = rates.get(name, 0.0) + row.rate * share
    return rates


def _task(row: Row, kind: str, readable: bool) -> Task:
    known: Mapping[str, Kind] = KINDS
    if kind:
        k = known[kind]
        ends = tuple(k.inputs.split()), tuple(k.outputs.split())
        made = (task_name(row.set, kind), row.set, k.formatter, k.says, *ends, k.where, row.title)
    else:

        def formatter(record: Record, rng: Rng, style: str) -> Content:
            raise MioError(_why(row))

        made = (task_name(row.set, ""), row.set, formatter, "not readable yet", (), (), None, row.title)
    return Task(*made, "" if readable else _why(row))


def _why(row: Row) -> str:
    lacking = "no kind of task for" if row.set in FOLDER_SOURCES else "no reader of"  # another recipe may read it
    return (
        f"there is {lacking} {row.title} here yet; add one (docs/tutorial_add_a_dataset.md), or train without it: "
        "--config.data.absent_sets=leave_out"
    )


def register(records_dir: str, added: Sequence[AddedSet] = ()) -> None:
    """Puts every task and mixture in the registry, over the records in `records_dir`; idempotent.

    Raises MioError on an added set of an unknown kind, or whose name the mixture has already.
    """
    for name in dict.fromkeys((*MIXTURES, *(one.mixture for one in added))):
        rows = rows_of(name, added)
        published = {row.set for row in MIXTURES.get(name, ()) if row.kinds}
        twice = [one.name for one in added if one.mixture == name and one.name in published]
        if twice:
            raise MioError(f"mixture {name!r} has a set {twice[0]!r} of its own; give yours another name in data.added")
        for row in rows:
            for kind in shares(row.kinds) if row.kinds else ("",):
                add_task(_task(row, kind, is_readable(row, added)), records_dir)
        add_mixture(name, list((dict(SMALL.get(name, ())) | parts(rows)).items()))
