"""What holds decoding to a form that is known beforehand: forced ids, groups of ids, no early end.

Sampling says how a token is drawn, a grammar which media may follow which; steering is of one answer. Boxes, poses and
pictures of which a part is given are written with it. It acts on the scores themselves, before temperature and cuts,
and on guided scores where there is guidance. Ids are those of the decoder's own table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.errors import MioError

FREE, GROUP = -1, -2  # in the place of a forced id: any id; any id of the first group (GROUP - k: of group k)
FORBIDDEN = -10000.0  # the published processors' score of what may not be written
NEVER = 2.0  # no share of probability is above it


class Steer(NamedTuple):
    """`Steering` as arrays of a compiled loop; B rows, N places for new tokens, V ids."""

    groups: jax.Array  # bool [G, V], at least one
    threshold: jax.Array  # float32 scalar
    forced: jax.Array  # int32 [B, N]: an id, FREE or GROUP - k
    held: jax.Array  # int32 scalar: before this step no stop id may be taken


@dataclass(frozen=True, eq=False)
class Steering:
    """The form of an answer.

    Attributes:
      groups: ranges (first, end) of ids, such as location tokens.
      threshold: where the first group's ids together have more probability than this, one of them it must be: a box
        goes on rather than that its many near misses lose against one word.
      forced: for each step an id, `FREE`, or `GROUP - k`, one of group k; one row for all answers, or [answers, steps].
        The steps behind it are free.
      held: before this step the answer may not end.

    Raises:
      MioError: a threshold or a step without its group, an empty range, or a `forced` that is no table of numbers.
    """

    groups: tuple[tuple[int, int], ...] = ()
    threshold: float = NEVER
    forced: Sequence[int] | np.ndarray = ()
    held: int = 0

    def __post_init__(self) -> None:
        table = np.asarray(self.forced)
        if table.size and (table.ndim > 2 or table.dtype.kind not in "iu"):
            raise MioError(f"steering.forced must be whole numbers [steps] or [answers, steps], not {table!r}")
        needed = max(int(self.threshold < NEVER), GROUP + 1 - int(np.min(table, initial=FREE)))
        if len(self.groups) < needed or any(not 0 <= first < end for first, end in self.groups):
            raise MioError(f"steering.groups are {self.groups}; this needs {needed} of them, ranges (first, end)")

    @property
    def steps(self) -> int:
        """How many steps `forced` says something about."""
        return int(np.shape(self.forced)[-1]) if np.size(self.forced) else 0

    def arrays(self, rows: int, room: int, vocab: int) -> Steer:
        """For `rows` answers (those beyond the table repeat its last row) of at most `room` tokens.

        Raises MioError on a table that is longer than the answer, or ids that the decoder has not.
        """
        highest = max([int(np.max(self.forced, initial=0)), *(end - 1 for _, end in self.groups)])
        if highest >= vocab:
            raise MioError(f"steering names id {highest}; there are {vocab} ids")
        table = np.full((rows, room), FREE, np.int32)
        if self.steps:
            given = np.atleast_2d(np.asarray(self.forced, np.int32))
            if self.steps > room:
                raise MioError(f"steering.forced has {self.steps} steps; the answer has room for {room}")
            if len(given) > rows:
                raise MioError(f"steering.forced has {len(given)} rows for {rows} answers")
            table[:, : self.steps] = given[np.minimum(np.arange(rows), len(given) - 1)]
        ids = np.arange(vocab)
        groups = [(ids >= first) & (ids < end) for first, end in self.groups or ((0, 0),)]
        return Steer(
            jnp.asarray(np.stack(groups)), jnp.float32(self.threshold), jnp.asarray(table), jnp.int32(self.held)
        )


def steer(scores: jax.Array, rules: Steer, step: jax.Array | int, stops: jax.Array) -> jax.Array:
    """Float32 scores [B, V] of a step -> those with what may not be written forbidden.

    Args:
      step: how many new tokens there were before.
      stops: int32 [stop ids], filled up with -1.
    """
    ids = jnp.arange(scores.shape[-1])
    wanted = jax.lax.dynamic_index_in_dim(rules.forced, jnp.asarray(step, jnp.int32), axis=1)  # [B, 1]
    share = jnp.sum(jax.nn.softmax(scores, axis=-1), axis=-1, where=rules.groups[0], keepdims=True)
    asked = jnp.clip(GROUP - wanted[:, 0], 0, len(rules.groups) - 1)
    only = ((share > rules.threshold) & rules.groups[0]) | ((wanted <= GROUP) & rules.groups[asked])
    out = jnp.where(((share > rules.threshold) | (wanted <= GROUP)) & ~only, FORBIDDEN, scores)
    ends = (ids[:, None] == stops[None]).any(-1)
    out = jnp.where(ends & (step < rules.held), FORBIDDEN, out)
    return jnp.where(wanted >= 0, jnp.where(ids == wanted, 0.0, FORBIDDEN), out)
