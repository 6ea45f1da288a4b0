"""Every value of a config with where it came from: the class's default, a file, or the command line."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

from mio_jax.config import RunConfig
from mio_jax.config_gin import COMMAND_LINE, load_gin
from mio_jax.config_loading import config_from_args, load_config_file, override

DEFAULT = "default"


class Entry(NamedTuple):
    """One value: `stages.0.steps`, 600, and "default", "command line" or the name of a file."""

    path: str
    value: Any
    origin: str


def entries(config: Any, file: str) -> list[Entry]:
    """The values of a config read from `file`; what equals its class's default is called a default."""
    return [Entry(path, value, DEFAULT if same else file) for path, value, same in _leaves(config, "")]


def entries_from_args(args: argparse.Namespace, cls: Any = RunConfig) -> tuple[Any, list[Entry]]:
    """The config of a command's flags and its values in order. Raises MioError as `config_from_args` does.

    A value of a Python file counts as a default where it equals that of its class: a file cannot tell the two apart.
    gin knows what was bound.
    """
    if args.gin_file:
        before, bound = load_gin(args.gin_file, args.gin_bindings, cls)
        named: dict[str, str] | None = bound
    else:
        before = load_config_file(args.config, [], cls) if args.config else config_from_args(args, cls)
        named = None
    config, given = override(before, args.config_overrides)
    found = []
    for path, value, same in _leaves(config, ""):
        origin = DEFAULT if same else str(args.config)
        if named is not None:
            origin = next((named[p] for p in _prefixes(path) if p in named), DEFAULT)
        if any(p in given for p in _prefixes(path)):
            origin = COMMAND_LINE
        found.append(Entry(path, value, origin))
    return config, found


def _prefixes(path: str) -> list[str]:
    """The path itself and what encloses it, innermost first."""
    keys = path.split(".")
    return [".".join(keys[:size]) for size in range(len(keys), 0, -1)]


def _leaves(config: Any, path: str) -> Iterator[tuple[str, Any, bool]]:
    """(path, plain value, whether it is its class's default) of every value that is no config itself."""
    for field in dataclasses.fields(config):
        value, here = getattr(config, field.name), f"{path}.{field.name}" if path else field.name
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, here)
        elif isinstance(value, tuple) and value and all(dataclasses.is_dataclass(item) for item in value):
            for index, item in enumerate(value):
                yield from _leaves(item, f"{here}.{index}")
        else:
            plain = list(value) if isinstance(value, tuple) else value
            yield here, plain, _default(field) == value


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default  # MISSING equals no value
