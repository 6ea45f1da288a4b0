"""What is wrong with a set of weights, in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mio_jax.errors import MioError


def shorten(names: Iterable[str], most: int = 8) -> str:
    """The first few names in one line, and how many more there are."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def check_shapes(found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Raises one MioError that lists every missing, unexpected and misshapen tensor."""
    missing = [k for k in wanted if k not in found]
    unexpected = [k for k in found if k not in wanted]
    misshapen = [f"{k} is {found[k]}, not {s}" for k, s in wanted.items() if k in found and found[k] != s]
    kinds = (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
    problems = [f"{len(names)} {kind} ({shorten(names)})" for kind, names in kinds if names]
    if problems:
        raise MioError(f"{where} does not fit the model: {'; '.join(problems)}")
