"""Nested dicts of parameters as flat ones, parts of them, and which dimensions of a parameter make it a matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from mio_jax.nn.base import LAYERS, Axes

Path = tuple[Any, ...]  # keys of the nested dicts, outermost first


def flatten(tree: dict[Any, Any]) -> dict[Path, Any]:
    """Nested dicts -> one dict by path; whatever is no dict is a leaf."""
    flat: dict[Path, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update({(key, *path): leaf for path, leaf in flatten(value).items()})
        else:
            flat[(key,)] = value
    return flat


def unflatten(flat: dict[Path, Any]) -> dict[Any, Any]:
    """The inverse of `flatten`, but for dicts that were empty."""
    tree: dict[Any, Any] = {}
    for path, leaf in flat.items():
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = leaf
    return tree


def name_of(path: Path) -> str:
    """`layers/mlp/up`."""
    return "/".join(map(str, path))


def pick(tree: dict[Any, Any], paths: Iterable[Path]) -> dict[Any, Any]:
    """The part of `tree` at `paths`, as nested dicts."""
    flat = flatten(tree)
    return unflatten({path: flat[path] for path in paths})


def put(tree: dict[Any, Any], part: dict[Any, Any]) -> dict[Any, Any]:
    """`tree` with the leaves of `part` in place of its own."""
    return unflatten({**flatten(tree), **flatten(part)})


def map_paths(f: Callable[..., Any], first: dict[Any, Any], *rest: dict[Any, Any]) -> dict[Any, Any]:
    """`f(path, leaf, ...)` over nested dicts, each with at least the paths of `first`."""
    flat = [flatten(tree) for tree in rest]
    return unflatten({path: f(path, leaf, *(t[path] for t in flat)) for path, leaf in flatten(first).items()})


class Sides(NamedTuple):
    """The dimensions over which a parameter is a matrix: what comes in, and what goes out."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def within_layer(axes: Axes) -> tuple[int, ...]:
    """The dimensions that belong to one layer: all but those that stacking added."""
    return tuple(i for i, name in enumerate(axes) if name != LAYERS)


def matrix_sides(axes: Axes) -> Sides | None:
    """The two sides of a parameter with these logical axes, or None if it is no matrix.

    Two dimensions besides "layers" are a matrix. More of them are one if one alone is "embed", first or last: it is one
    side and the others together are the other, as in (embed | heads, kv) and (heads, kv | embed).
    """
    dims = within_layer(axes)
    if len(dims) == 2:
        return Sides(dims[:1], dims[1:])
    embeds = [i for i in dims if axes[i] == "embed"]
    if len(dims) < 2 or len(embeds) != 1:
        return None
    if embeds[0] == dims[0]:
        return Sides(dims[:1], dims[1:])
    return Sides(dims[:-1], dims[-1:]) if embeds[0] == dims[-1] else None
