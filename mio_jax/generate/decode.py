"""The compiled parts of decoding: prefill, one step, and the loop of steps, over a state that is passed and returned.

Nothing here knows how many tokens a caller asked for: that is `Inputs.limit`, so that one compilation serves all
requests of a shape. Letters: B rows, P prompt places, N places for new tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mio_jax.generate.grammar import Position, Tables, advance, allowed
from mio_jax.generate.sampling import Knobs, Plan, next_token, seen_table
from mio_jax.generate.steering import Steer, steer
from mio_jax.nn.base import apply
from mio_jax.nn.cache import KVCache


class Prompts(NamedTuple):
    """Left-padded prompts."""

    tokens: jax.Array  # int32 [B, P]
    valid: jax.Array  # bool [B, P]
    history: jax.Array  # bool [B, P]: places that the repetition penalty counts

    @property
    def positions(self) -> jax.Array:
        return jnp.maximum(jnp.cumsum(self.valid, 1) - 1, 0).astype(jnp.int32)


class Inputs(NamedTuple):
    """What a decoding loop reads and does not change."""

    knobs: Knobs
    seeds: jax.Array  # uint32 [B]
    limit: jax.Array  # int32 [B]: new tokens that the row may take
    stops: jax.Array  # int32 [stop ids], filled up with -1
    tables: Tables | None  # of the grammar
    steer: Steer | None = None


class State(NamedTuple):
    """What it changes. Donated to every call and returned by it, so that the cache is written in place."""

    cache: KVCache
    step: jax.Array  # int32 scalar: new tokens so far
    token: jax.Array  # int32 [B]: the newest
    position: jax.Array  # int32 [B]: its place in the row
    done: jax.Array  # bool [B]
    new: jax.Array  # int32 [B, N]
    taken: jax.Array  # int32 [B]: new tokens of the row, a stop id included
    at: Position | None  # of the grammar
    seen: jax.Array | None  # bool [B, V], for the repetition penalty


def prefill(model: Any, prompts: Prompts, cache_length: int) -> tuple[jax.Array, KVCache]:
    """Runs the prompts through the model -> (states of the last place [B, dim], cache of `cache_length` slots)."""
    cache = model.init_cache(*prompts.tokens.shape)  # no slots of later tokens, which attention would go through
    hidden, cache = model.extend(prompts.tokens, prompts.positions, prompts.valid, cache)
    return hidden[:, -1], cache.grown(cache_length)


def _take(state: State, inputs: Inputs, plan: Plan, logits: jax.Array) -> State:
    """Chooses the next token of every row from float32 `logits` [B, V] and writes it down."""
    mask = None
    if inputs.tables is not None:
        assert state.at is not None
        mask = allowed(inputs.tables, state.at, inputs.limit - state.step)
    rule = None
    if inputs.steer is not None:
        rule = partial(steer, rules=inputs.steer, step=state.step, stops=inputs.stops)
    token = next_token(logits, plan, inputs.knobs, inputs.seeds, state.step, state.seen, mask, rule)
    live = ~state.done
    token = jnp.where(live, token, state.token)
    taken = state.taken + live
    at = state.at
    if inputs.tables is not None:
        assert at is not None
        at = jax.tree.map(partial(jnp.where, live), advance(inputs.tables, at, token), at)
    seen = state.seen
    if seen is not None:
        seen = seen.at[jnp.arange(token.shape[0]), token].set(True)
    return state._replace(
        step=state.step + 1,
        token=token,
        position=state.position + 1,
        done=state.done | (token[:, None] == inputs.stops[None]).any(-1) | (taken >= inputs.limit),
        new=jax.lax.dynamic_update_slice(state.new, token[:, None], (0, state.step)),
        taken=taken,
        at=at,
        seen=seen,
    )


@partial(jax.jit, static_argnames=("graphdef", "plan", "room"))
def begin(
    graphdef: Any, params: Any, prompts: Prompts, inputs: Inputs, at: Position | None, *, plan: Plan, room: int
) -> State:
    """Prefill and the first new token. `room` is N; rows whose limit is 0 are done from the start."""
    model = apply(graphdef, params)
    length = prompts.tokens.shape[1]
    hidden, cache = prefill(model, prompts, length + room)
    logits = model.logits(hidden)
    seen = seen_table(prompts.tokens, prompts.history, logits.shape[-1]) if plan.penalty else None
    return _opened(logits, cache, prompts.positions[:, -1], inputs, at, seen, plan, room)


def _opened(
    logits: jax.Array,
    cache: KVCache,
    position: jax.Array,
    inputs: Inputs,
    at: Position | None,
    seen: jax.Array | None,
    plan: Plan,
    room: int,
) -> State:
    """The state after a prompt, from the float32 `logits` [B, V] of its last place, and its first new token."""
    batch = logits.shape[0]
    state = State(
        cache=cache,
        step=jnp.zeros((), jnp.int32),
        token=jnp.zeros(batch, jnp.int32),
        position=position,
        done=inputs.limit <= 0,
        new=jnp.zeros((batch, room), jnp.int32),
        taken=jnp.zeros(batch, jnp.int32),
        at=at,
        seen=seen,
    )
    return _take(state, inputs, plan, logits)


@partial(jax.jit, static_argnames=("graphdef",), donate_argnames=("cache",))
def feed(graphdef: Any, params: Any, cache: KVCache, tokens: jax.Array, count: jax.Array) -> tuple[jax.Array, KVCache]:
    """Runs int32 [1, n] tokens that follow what the cache holds, of which all but the first `count` are padding.

    Slot and place are the same number here: the padding behind the tokens is not attended to, and the next tokens are
    written over it. The cache has at least n free slots. -> (states of the last token [1, dim], the cache).
    """
    model = apply(graphdef, params)
    order = jnp.arange(tokens.shape[1])
    hidden, written = model.extend(tokens, (cache.index + order)[None], (order < count)[None], cache)
    return jax.lax.dynamic_index_in_dim(hidden, count - 1, 1, False), written._replace(index=cache.index + count)


@partial(jax.jit, static_argnames=("graphdef", "plan", "room"), donate_argnames=("cache",))
def opened(
    graphdef: Any,
    params: Any,
    hidden: jax.Array,
    cache: KVCache,
    inputs: Inputs,
    at: Position | None,
    seen: jax.Array | None,
    *,
    plan: Plan,
    room: int,
) -> State:
    """The first new token after a prompt that `feed` ran."""
    position = jnp.broadcast_to(cache.index - 1, hidden.shape[:1])
    return _opened(apply(graphdef, params).logits(hidden), cache, position, inputs, at, seen, plan, room)


def _step(model: Any, inputs: Inputs, plan: Plan, state: State) -> State:
    batch = state.token.shape[0]
    hidden, cache = model.extend(state.token[:, None], state.position[:, None], jnp.ones((batch, 1), bool), state.cache)
    return _take(state._replace(cache=cache), inputs, plan, model.logits(hidden[:, 0]))


def _while(go_on: Callable[[State], jax.Array], step: Callable[[State], State], state: State) -> State:
    """`lax.while_loop`, in which the keys and values of a single row go around without their axis of rows.

    XLA drops that axis before products. On a CPU it would then write each cache twice, with and without it, and copy
    it three times in every step.
    """
    if any(x.shape[0] != 1 for x in state.cache.k):  # not the tokens': under guidance a row of them has two caches
        return jax.lax.while_loop(go_on, step, state)

    def reshaped(state: State, change: Callable[[jax.Array], jax.Array]) -> State:
        k, v = (tuple(change(x) for x in layers) for layers in (state.cache.k, state.cache.v))
        return state._replace(cache=state.cache._replace(k=k, v=v))

    def outer(state: State) -> State:
        return reshaped(state, lambda x: x[None])

    def inner(state: State) -> State:
        return reshaped(state, lambda x: x[0])

    return outer(jax.lax.while_loop(go_on, lambda s: inner(step(outer(s))), inner(state)))


@partial(jax.jit, static_argnames=("graphdef", "plan"), donate_argnames=("state",))
def step(graphdef: Any, params: Any, inputs: Inputs, state: State, *, plan: Plan) -> State:
    """One more token for every row."""
    return _step(apply(graphdef, params), inputs, plan, state)


@partial(jax.jit, static_argnames=("graphdef", "plan"), donate_argnames=("state",))
def loop(graphdef: Any, params: Any, inputs: Inputs, state: State, *, plan: Plan) -> State:
    """Steps until every row is done."""
    model = apply(graphdef, params)
    return _while(lambda s: ~s.done.all(), partial(_step, model, inputs, plan), state)


@partial(jax.jit, static_argnames=("graphdef", "plan"), donate_argnames=("state",))
def burst(graphdef: Any, params: Any, inputs: Inputs, state: State, count: jax.Array, *, plan: Plan) -> State:
    """At most `count` steps, fewer if every row is done."""
    model = apply(graphdef, params)
    end = state.step + count
    return _while(lambda s: ~s.done.all() & (s.step < end), partial(_step, model, inputs, plan), state)
