"""Low-rank adapters (LoRA, Hu et al. 2021): a kernel W that is used as W + scale A B, where A and B are thin.

`linear` and `swiglu` compute x W + scale (x A) B, so neither the sum nor a gradient of W ever exists. Qwix, which the
extra `quant` brings, has LoRA too: it replaces the kernels of Flax's own layers as they are called, and does not reach
products with gradients of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from mio_jax.errors import MioError
from mio_jax.nn.base import Axes, Module, Param

RANK = "lora"  # the logical axis between A and B


@dataclass(frozen=True)
class LowRank:
    """The value of an adapted kernel. `base` [*ins, *outs], `a` [*ins, rank], `b` [rank, *outs]."""

    base: jax.Array
    a: jax.Array
    b: jax.Array
    scale: float

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    def __getattr__(self, name: str) -> Any:
        raise MioError(
            f"a parameter that has a low-rank adapter is used for more than products ({name}): "
            "model.lora.patterns may name kernels of layers only"
        )


Weight = jax.Array | LowRank


class Adapted(Module):
    """Stands in the place of a kernel's parameter; both adapters are stacked as it is."""

    def __init__(self, base: Param, a: Param, b: Param, scale: float) -> None:
        self.base, self.a, self.b = base, a, b
        self.scale = scale

    def __getitem__(self, index: Any) -> LowRank:
        return LowRank(self.base[index], self.a[index], self.b[index], self.scale)


def new_adapter(base: Param, inputs: int, rank: int, scale: float, key: jax.Array) -> Adapted:
    """An adapter that changes nothing yet: A is drawn from N(0, 1 / inputs), and B is 0.

    Args:
      base: [*stacked, *ins, *outs], with axis names for all but the stacked ones, which are of layers.
      inputs: how many dimensions are ins.
    """
    names: Axes = base.get_metadata()["axes"]
    at = len(base.shape) - len(names)
    lead, ins, outs = base.shape[:at], base.shape[at : at + inputs], base.shape[at + inputs :]
    a = jax.random.normal(key, (*lead, *ins, rank), jnp.float32) * math.prod(ins) ** -0.5
    b = jnp.zeros((*lead, rank, *outs), jnp.float32)
    return Adapted(base, Param(a, axes=(*names[:inputs], RANK)), Param(b, axes=(RANK, *names[inputs:])), scale)


def merged(base: jax.Array, a: jax.Array, b: jax.Array, stacked: int, scale: float) -> jax.Array:
    """W + scale A B in W's dtype, summed in float32; the first `stacked` dimensions are of layers."""
    lead, rank = base.shape[:stacked], a.shape[-1]
    low, high = a.reshape(*lead, -1, rank), b.reshape(*lead, rank, -1)
    change = jnp.einsum("...ir,...ro->...io", low.astype(jnp.float32), high.astype(jnp.float32), precision="highest")
    return (base.astype(jnp.float32) + scale * change.reshape(base.shape)).astype(base.dtype)


def parameters(module: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any, Any, Param]]:
    """(path in the nested dict of parameters, the module that holds it, its name there, the parameter) of a model."""
    children = enumerate(module) if isinstance(module, list | tuple) else list(vars(module).items())
    for name, child in children:
        if isinstance(child, Param):
            yield (*path, name), module, name, child
        elif isinstance(child, Module):
            yield from parameters(child, (*path, name))


def adapt(model: Module, make: Callable[[tuple[Any, ...], Param], Adapted | None]) -> Module:
    """`model` with the parameters for which `make(path, parameter)` gives an adapter replaced by it."""
    for path, holder, name, found in list(parameters(model)):
        adapter = make(path, found)
        if adapter is not None:
            setattr(holder, name, adapter)
    return model
