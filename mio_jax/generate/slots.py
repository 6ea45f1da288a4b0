"""The compiled parts of continuous batching: a request joins a row while the others run, and leaves it when it is done.

All rows write their next token into the same slot of a cache whose slots are used round and round. A prompt is put
into the slots just before it, so a row's tokens lie one behind the other, and as no row has more tokens than there are
slots, none is written over while it counts. Shapes do not depend on which rows are in use. Letters as in `decode`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mio_jax.generate.decode import Prompts
from mio_jax.generate.grammar import Position, Tables, advance, allowed
from mio_jax.generate.sampling import Knobs, Mixed, Plan, next_token, seen_table
from mio_jax.nn.base import apply
from mio_jax.nn.cache import KVCache


class Asked(NamedTuple):
    """What the requests of the rows ask for; changed on the host."""

    knobs: Knobs  # float32 [B, 1] each
    mixed: Mixed
    free: jax.Array  # bool [B]: the grammar does not hold the row
    seeds: jax.Array  # uint32 [B]
    limit: jax.Array  # int32 [B]: new tokens that the row may take
    stops: jax.Array  # int32 [stop ids], filled up with -1


class Slots(NamedTuple):
    """The rows' state. Donated to every call and returned by it."""

    cache: KVCache  # `index` goes round
    token: jax.Array  # int32 [B]: the newest
    position: jax.Array  # int32 [B]: its place in the row
    step: jax.Array  # int32 [B]: new tokens so far
    done: jax.Array  # bool [B]
    at: Position  # of the grammar
    seen: jax.Array  # bool [B, V]: kept for rows with a repetition penalty


@partial(jax.jit, static_argnames=("graphdef", "rows", "length", "vocab"))
def empty(graphdef: Any, params: Any, *, rows: int, length: int, vocab: int) -> Slots:
    """Rows that are all free."""
    zero = jnp.zeros(rows, jnp.int32)
    cache = apply(graphdef, params).init_cache(rows, length)
    nowhere = Position(zero, zero, zero)
    return Slots(cache, zero, zero, zero, jnp.ones(rows, bool), nowhere, jnp.zeros((rows, vocab), bool))


def _take(asked: Asked, tables: Tables | None, plan: Plan, logits: jax.Array, slots: Slots) -> Slots:
    """Chooses the next token of every row that is not done, from float32 logits [B, V]."""
    mask = None
    if tables is not None:
        mask = allowed(tables, slots.at, asked.limit - slots.step) | asked.free[:, None]
    token = next_token(
        logits, plan, asked.knobs, asked.seeds, slots.step, slots.seen, mask, mixed=None if plan.greedy else asked.mixed
    )
    live = ~slots.done
    token = jnp.where(live, token, slots.token)
    step = slots.step + live
    at, seen = slots.at, slots.seen
    if tables is not None:
        at = jax.tree.map(partial(jnp.where, live & ~asked.free), advance(tables, at, token), at)
    if plan.penalty:
        seen = seen.at[jnp.arange(token.shape[0]), token].max(live)
    ended = (token[:, None] == asked.stops[None]).any(-1) | (step >= asked.limit)
    return slots._replace(
        token=token, position=slots.position + live, step=step, done=slots.done | ended, at=at, seen=seen
    )


@partial(jax.jit, static_argnames=("graphdef", "plan"), donate_argnames=("slots",))
def join(
    graphdef: Any,
    params: Any,
    prompt: Prompts,
    at: Position,
    row: jax.Array,
    asked: Asked,
    tables: Tables | None,
    slots: Slots,
    *,
    plan: Plan,
) -> Slots:
    """Puts a prompt [1, P] into a free row and takes its first token. `asked` already has the row's request."""
    model = apply(graphdef, params)
    length, places = slots.cache.length, prompt.tokens.shape[1]
    hidden, own = model.extend(prompt.tokens, prompt.positions, prompt.valid, model.init_cache(1, places))
    logits = model.logits(hidden[:, -1])
    shift = slots.cache.index - places

    def put(all_rows: jax.Array, line: jax.Array, axis: int) -> jax.Array:
        wide = [(0, length - places) if i == axis else (0, 0) for i in range(line.ndim)]
        line = jnp.roll(jnp.pad(line, wide), shift, axis)
        return jax.lax.dynamic_update_index_in_dim(all_rows, line[0], row, 0)

    k, v = (
        tuple(put(old, new, 2) for old, new in zip(olds, news, strict=True))
        for olds, news in ((slots.cache.k, own.k), (slots.cache.v, own.v))
    )
    cache = KVCache(k, v, put(slots.cache.valid, own.valid, 1), slots.cache.index)
    zero = jnp.zeros(1, jnp.int32)
    seen = seen_table(prompt.tokens, prompt.history, logits.shape[-1])
    alone = Slots(own, zero, prompt.positions[:, -1], zero, jnp.zeros(1, bool), at, seen)
    one = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, row, 1), asked._replace(stops=asked.limit))
    one = one._replace(stops=asked.stops)
    alone = _take(one, tables, plan, logits, alone)
    rest = jax.tree.map(lambda old, new: jax.lax.dynamic_update_index_in_dim(old, new[0], row, 0), slots[1:], alone[1:])
    return Slots(cache, *rest)


@partial(jax.jit, static_argnames=("graphdef", "plan", "count"), donate_argnames=("slots",))
def burst(
    graphdef: Any,
    params: Any,
    asked: Asked,
    tables: Tables | None,
    slots: Slots,
    until_one_ends: jax.Array,
    *,
    plan: Plan,
    count: int,
) -> tuple[Slots, jax.Array]:
    """At most `count` steps of all rows, fewer if no row is left; `until_one_ends`, a bool: or when one row is done.

    -> (the state, new tokens int32 [B, count], -1 where there is none).
    """
    model = apply(graphdef, params)
    length = slots.cache.length
    began = slots.done

    def go_on(carry: tuple[Slots, jax.Array, jax.Array]) -> jax.Array:
        now, _, i = carry
        ended = (now.done & ~began).any()
        return (i < count) & ~now.done.all() & ~(until_one_ends & ended)

    def step(carry: tuple[Slots, jax.Array, jax.Array]) -> tuple[Slots, jax.Array, jax.Array]:
        now, new, i = carry
        live = ~now.done
        hidden, cache = model.extend(now.token[:, None], now.position[:, None], live[:, None], now.cache)
        cache = cache._replace(index=cache.index % length)
        now = _take(asked, tables, plan, model.logits(hidden[:, 0]), now._replace(cache=cache))
        new = jax.lax.dynamic_update_slice(new, jnp.where(live, now.token, -1)[:, None], (0, i))
        return now, new, i + 1

    blank = jnp.full((slots.token.shape[0], count), -1, jnp.int32)
    slots, new, _ = jax.lax.while_loop(go_on, step, (slots, blank, jnp.zeros((), jnp.int32)))
    return slots, new
