"""A mixture of many sets, of which a user has some: what to say, or whom to leave out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mio_jax.config import DataConfig
from mio_jax.data.records import MANIFEST, prepare_command
from mio_jax.data.registry import Task, records_dir_of
from mio_jax.data.sources import place_of
from mio_jax.errors import MioError

Entries = Sequence[tuple[Task, float]]


def is_prepared(task: Task) -> bool:
    """Whether there are token records of the task's set, whole or not."""
    return (Path(records_dir_of(task.name)) / task.record_set / MANIFEST).is_file()


def usable(mixture: str, entries: Entries, data: DataConfig) -> tuple[list[tuple[Task, float]], str]:
    """The tasks of a mixture whose sets have records, with shares that sum to 1, and a line about those left out.

    The line is empty where nothing is left out.

    Raises:
      MioError: sets without records, unless `data.absent_sets` is "leave_out"; or none that has any.
    """
    there = [(task, share) for task, share in entries if is_prepared(task)]
    absent = [(task, share) for task, share in entries if not is_prepared(task)]
    if not absent or (
        entries[0][0].name == mixture and not entries[0][0].unreadable
    ):  # a task says itself what it lacks
        return list(entries), ""
    if data.absent_sets == "refuse" or not there:
        raise MioError(_refusal(mixture, there, absent, data))
    total = sum(share for _, share in there)
    sets = list(dict.fromkeys(task.record_set for task, _ in absent))
    line = (
        f"mixture {mixture!r}: data.absent_sets is 'leave_out', so training goes without {len(sets)} of "
        f"{len({task.record_set for task, _ in entries})} sets ({', '.join(sets)}); the others made up {total:.2%} of "
        f"it and are scaled to 100%: {', '.join(f'{task.name} {share / total:.2%}' for task, share in there)}"
    )
    return [(task, share / total) for task, share in there], line


def _refusal(mixture: str, there: Entries, absent: Entries, data: DataConfig) -> str:
    readable = [task for task, _ in absent if not task.unreadable]
    first = readable[0] if readable else absent[0][0]
    sets = len({task.record_set for task, _ in absent})
    unreadable = len({task.record_set for task, _ in absent if task.unreadable})
    line = f"no token records of {first.record_set!r} in {records_dir_of(first.name)}, which mixture {mixture!r} needs"
    if sets > 1:
        line += f", nor of {sets - 1} more of its sets"
        line += f" (without a reader here: {unreadable})" if unreadable and readable else ""
    if first.unreadable:
        line += f": {first.unreadable}"
    else:
        folder = place_of(first.record_set, data).folder
        if folder and not Path(folder).is_dir():
            line += f": put {first.title or first.record_set} in {folder}, which is missing, and"
        else:
            line += f": {folder} is there, so" if folder else ":"
        line += f" run {prepare_command(records_dir_of(first.name), first.record_set)}"
    if there:
        line += f"; or train with the {len({t.record_set for t, _ in there})} sets there are: "
        line += "--config.data.absent_sets=leave_out"
    return line
