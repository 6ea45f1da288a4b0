"""Low-rank adapters of a run (`model.lora`): where they are in the tree of parameters, and how they get into the model.

The parameters of a run with adapters are those of the model without, under their own names, and beside them `lora`:

    {"layers": {"attention": {"query": W, ...}}, "lora": {"layers": {"attention": {"query": {"a": A, "b": B}}}}}

So whatever reads, splits, saves or freezes parameters needs no rule for them. What takes the parameters of a model
without adapters (evaluation, generation, export) gets `merged_params`.
"""

from __future__ import annotations

import fnmatch
import functools
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from mio_jax.config import GroupConfig, LoraConfig
from mio_jax.errors import MioError
from mio_jax.nn.base import LAYERS, Axes, Module, Param
from mio_jax.nn.low_rank import Adapted, adapt, merged, new_adapter
from mio_jax.train.trees import Path, flatten, matrix_sides, name_of, unflatten

KEY = "lora"  # of the adapters in the tree of parameters
PARTS = ("a", "b")
# Groups behind a config's own: without a group that says otherwise, adapters are trained and nothing else is.
GROUPS = (GroupConfig(f"{KEY}/*"), GroupConfig("*", frozen=True))


@dataclass(frozen=True)
class Lora:
    """The adapters of a model: their config, and the paths of the kernels that have one."""

    config: LoraConfig
    paths: tuple[Path, ...]

    def adapted(self, build: Callable[[jax.Array], Module]) -> Callable[[jax.Array], Module]:
        """`build` with new adapters; the model's own weights are those that `build` draws from the same key."""
        wanted = set(self.paths)

        def make(key: jax.Array, path: Path, param: Param) -> Adapted | None:
            if path not in wanted:
                return None
            sides = matrix_sides(param.get_metadata()["axes"])
            assert sides is not None, path
            own = jax.random.fold_in(key, zlib.crc32(f"{KEY}/{name_of(path)}".encode()))
            return new_adapter(param, len(sides.inputs), self.config.rank, self.config.scale, own)

        return lambda key: adapt(build(key), functools.partial(make, key))

    def apart(self, tree: dict[str, Any]) -> dict[str, Any]:
        """A tree as the adapted model has it (`query/base`, `query/a`, `query/b`) -> as a run has it."""
        flat = flatten(tree)
        for path in self.paths:
            for part in PARTS:
                flat[(KEY, *path, part)] = flat.pop((*path, part))
            flat[path] = flat.pop((*path, "base"))
        return unflatten(flat)

    def together(self, tree: dict[str, Any]) -> dict[str, Any]:
        """The inverse of `apart`."""
        flat = flatten(tree)
        for path in self.paths:
            flat[(*path, "base")] = flat.pop(path)
            for part in PARTS:
                flat[(*path, part)] = flat.pop((KEY, *path, part))
        return unflatten(flat)

    def merged_params(self, params: dict[str, Any], axes: dict[str, Any]) -> dict[str, Any]:
        """The parameters of the model without adapters that says the same; `axes` are those of `params`."""
        flat, names = flatten(params), flatten(axes)
        for path in self.paths:
            a, b = (flat.pop((KEY, *path, part)) for part in PARTS)
            flat[path] = merged(flat[path], a, b, names[path].count(LAYERS), self.config.scale)
        return unflatten(flat)


def find_kernels(config: LoraConfig, axes: dict[str, Any]) -> Lora | None:
    """The kernels that a config adapts, of a model with these logical axes; None: it wants no adapters.

    Raises:
      MioError: a pattern that matches no kernel of a layer; it names those that there are.
    """
    if not config.rank:
        return None
    kernels = {path: name_of(path) for path, names in flatten(axes).items() if is_kernel(names)}
    for pattern in config.patterns:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in kernels.values()):
            some = ", ".join(sorted(kernels.values())[:8])
            raise MioError(f"model.lora.patterns: {pattern!r} matches no kernel of a layer; there are {some}, ...")
    chosen = (path for path, name in kernels.items() if any(fnmatch.fnmatchcase(name, p) for p in config.patterns))
    return Lora(config, tuple(chosen))


def is_kernel(names: Axes) -> bool:
    """Whether a parameter is a matrix of a stack of layers: these are used in products alone."""
    return LAYERS in names and matrix_sides(names) is not None
