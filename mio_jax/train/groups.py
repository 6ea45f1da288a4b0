"""Parameter groups: which parameters a config freezes or gives a rate of their own."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Sequence
from typing import Any

from mio_jax.config import GroupConfig
from mio_jax.errors import MioError
from mio_jax.train.trees import Path, flatten, name_of

REST = GroupConfig("*")  # what no group names


def assign_groups(groups: Sequence[GroupConfig], axes: dict[str, Any]) -> dict[Path, GroupConfig]:
    """The group of every parameter: the first whose glob matches its path. `*` matches slashes too.

    Args:
      axes: nested dict like the parameters; its leaves are looked at only where a group has `from_row`.

    Raises:
      MioError: a group without a parameter, naming paths like its pattern; rows of what is no table; or everything is
        frozen.
    """
    names = {path: name_of(path) for path in flatten(axes)}
    chosen = {
        path: next((g for g in groups if fnmatch.fnmatchcase(name, g.pattern)), REST) for path, name in names.items()
    }
    for group in groups:
        if any(g is group for g in chosen.values()):
            continue
        matched = sorted(name for name in names.values() if fnmatch.fnmatchcase(name, group.pattern))
        if matched:
            raise MioError(
                f"optim.groups: all that {group.pattern!r} matches ({_some(matched)}) belongs to groups before it; "
                "put it before them or take it away"
            )
        raise MioError(f"optim.groups: {group.pattern!r} matches no parameter; {_near(group.pattern, names.values())}")
    for path, group in chosen.items():
        if group.from_row and flatten(axes)[path][:1] != ("vocab",):
            raise MioError(
                f"optim.groups: {group.pattern!r} has from_row {group.from_row}, but {names[path]} is no table of the "
                "vocabulary; only those have rows of ids"
            )
    if all(group.frozen for group in chosen.values()):
        raise MioError("optim.groups: every parameter is frozen, so there is nothing to train")
    return chosen


def _near(pattern: str, names: Any) -> str:
    """What may have been meant: whole paths like the pattern, or folders of the tree."""
    known = sorted({"/".join(name.split("/")[: n + 1]) for name in names for n in range(name.count("/") + 1)})
    bare = pattern.strip("*/")
    near = difflib.get_close_matches(bare, known, n=3, cutoff=0.5)
    by_last: dict[str, str] = {}
    for name in known:
        by_last.setdefault(name.rsplit("/", 1)[-1], name)
    near += [by_last[n] for n in difflib.get_close_matches(bare.rsplit("/", 1)[-1], by_last, n=3, cutoff=0.6)]
    return f"near it are {', '.join(dict.fromkeys(near))}" if near else f"the parameters are {_some(sorted(names))}"


def _some(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
