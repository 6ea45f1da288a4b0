"""The part of a run of adapters that its checkpoints leave out (`model.lora.stored="adapters"`): the frozen base.

It is what `start_from` holds. A checkpoint has the parameters that any stage trains, and notes the fingerprint of all
others; whoever reads it loads the base again and refuses one that has changed since.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from mio_jax.config import RunConfig
from mio_jax.errors import MioError
from mio_jax.parallel import replicated, strip_to
from mio_jax.train.optimizer import make_optimizer
from mio_jax.train.state import Plan
from mio_jax.train.trees import Path, flatten, name_of, pick, put

NOTE = "base"  # the key in a checkpoint's note
MIX = (0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35)  # odd constants of common hashes


@dataclass(frozen=True)
class FrozenBase:
    """What is not in the checkpoints of a run, and where it came from.

    Attributes:
      params: all parameters of the run's model as they lie on the mesh; those that are trained are new ones.
      stored: paths of the parameters that checkpoints hold.
    """

    params: dict[str, Any]
    stored: tuple[Path, ...]
    start_from: str
    fingerprint: str

    @property
    def note(self) -> dict[str, str]:
        return {"start_from": self.start_from, "fingerprint": self.fingerprint}

    def part(self, tree: dict[str, Any]) -> dict[str, Any]:
        """What a checkpoint holds of a tree like the parameters."""
        return pick(tree, self.stored)

    def whole(self, part: dict[str, Any]) -> dict[str, Any]:
        """All parameters around those of a checkpoint. The base's arrays are the result's, and not copied."""
        return put(self.params, part)

    def check(self, note: dict[str, Any], where: str) -> None:
        """Raises MioError unless the checkpoint with this note was made over this base."""
        found = note.get(NOTE, {}).get("fingerprint", "")
        if found != self.fingerprint:
            raise MioError(
                f"{where} holds adapters for weights with fingerprint {found or 'none'}, and start_from="
                f"{self.start_from} holds others ({self.fingerprint}): bring back the weights that the run started from"
            )


def stored_paths(config: RunConfig, plan: Plan) -> tuple[Path, ...] | None:
    """The parameters that checkpoints of this run hold; None: all of them."""
    if plan.lora is None or config.model.lora.stored == "all":
        return None
    trained: set[Path] = set()
    for stage in config.stages:
        own = make_optimizer(stage.optim, plan.axes).trained
        trained |= set(flatten(plan.params) if own is None else own)
    return tuple(path for path in flatten(plan.params) if path in trained)


def frozen_base(config: RunConfig, plan: Plan, stored: tuple[Path, ...] | None, params: Any) -> FrozenBase | None:
    """The base in `params`, what a run begins with; None where checkpoints hold everything."""
    if stored is None:
        return None
    own = set(stored)
    left = [path for path in flatten(plan.params) if path not in own]
    return FrozenBase(params, stored, config.start_from, fingerprint(pick(params, left), plan))


def fingerprint(params: dict[str, Any], plan: Plan) -> str:
    """16 hexadecimal digits that change with any name, shape, dtype or bit of some of a plan's parameters.

    Sums of mixed bits modulo 2^32 on the devices where the parameters lie: the mesh makes no difference, and no array
    goes to the host. It finds damage and mistakes; it is no signature.
    """
    shapes = pick(plan.shapes, flatten(params))

    def sums(params: dict[str, Any]) -> dict[str, jax.Array]:
        return {name_of(path): _sums(leaf) for path, leaf in flatten(strip_to(params, shapes)).items()}

    found = jax.device_get(jax.jit(sums, out_shardings=replicated(plan.mesh))(params))
    digest = hashlib.sha256()
    for name, leaf in sorted((name_of(path), leaf) for path, leaf in flatten(shapes).items()):
        digest.update(f"{name} {leaf.shape} {leaf.dtype} {found[name].tolist()}\n".encode())
    return digest.hexdigest()[:16]


def _sums(x: jax.Array) -> jax.Array:
    """uint32 [2] of an array: each number's bits and place, mixed, and added in two ways."""
    bits = jax.lax.bitcast_convert_type(x, jnp.dtype(f"uint{8 * x.dtype.itemsize}")).astype(jnp.uint32)
    place = jnp.zeros(x.shape, jnp.uint32)
    for dim in range(x.ndim):
        stride = jnp.uint32(math.prod(x.shape[dim + 1 :]) % 2**32)
        place += jax.lax.broadcasted_iota(jnp.uint32, x.shape, dim) * stride
    mixed = (bits ^ (place * jnp.uint32(MIX[0]))) * jnp.uint32(MIX[1])
    mixed = (mixed ^ (mixed >> 15)) * jnp.uint32(MIX[2])
    mixed ^= mixed >> 13
    return jnp.stack([jnp.sum(mixed, dtype=jnp.uint32), jnp.sum(mixed * (2 * place + 1), dtype=jnp.uint32)])
