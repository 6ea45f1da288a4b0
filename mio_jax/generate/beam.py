"""Beam search as the published models are run with it, in one jitted loop over a batch.

Each step takes the best 2K continuations of a row's K beams by sum of log-probabilities. Those among the first K that
end (stop id, or the last place) become finished, with score sum / length ** length_penalty; the best K that go on are
the next beams. A row is over when it has K finished ones and its best running beam scores no better than the worst of
them. The repetition penalty acts on log-probabilities.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mio_jax.generate.decode import Inputs, Prompts, prefill
from mio_jax.generate.grammar import Position, advance, allowed
from mio_jax.generate.sampling import Plan, SamplingConfig, process, seen_table
from mio_jax.generate.steering import steer
from mio_jax.nn.base import apply
from mio_jax.nn.cache import KVCache

NONE = -1e9  # the score of a beam that does not exist: below any that does, above an id that may not be taken


class Beams(NamedTuple):
    """B rows of K running and up to K finished beams; N places for new tokens. Per-beam arrays are [B * K]."""

    cache: KVCache
    step: jax.Array  # int32 scalar
    token: jax.Array  # int32 [B * K]
    position: jax.Array  # int32 [B * K]
    at: Position | None
    seen: jax.Array | None  # bool [B * K, V]
    score: jax.Array  # float32 [B, K]: sums of log-probabilities
    new: jax.Array  # int32 [B, K, N]
    finished_score: jax.Array  # float32 [B, K], best first
    finished_new: jax.Array  # int32 [B, K, N]
    finished_count: jax.Array  # int32 [B, K]; 0: there is none
    over: jax.Array  # bool [B]


def beam_search(
    graphdef: Any,
    params: Any,
    prompts: Prompts,
    inputs: Inputs,
    at: Position | None,
    *,
    sampling: SamplingConfig,
    room: int,
    stop_count: int,
) -> tuple[jax.Array, jax.Array]:
    """The best continuation of every row -> (new tokens int32 [B, room], how many of them int32 [B])."""
    return _search(
        graphdef,
        params,
        prompts,
        inputs,
        at,
        jnp.float32(sampling.length_penalty),
        plan=sampling.plan,
        beams=sampling.num_beams,
        kept=max(2, 1 + stop_count) * sampling.num_beams,
        room=room,
    )


@partial(jax.jit, static_argnames=("graphdef", "plan", "beams", "kept", "room"))
def _search(
    graphdef: Any,
    params: Any,
    prompts: Prompts,
    inputs: Inputs,
    at: Position | None,
    length_penalty: jax.Array,
    *,
    plan: Plan,
    beams: int,
    kept: int,
    room: int,
) -> tuple[jax.Array, jax.Array]:
    model = apply(graphdef, params)
    batch, length = prompts.tokens.shape
    owner = jnp.repeat(jnp.arange(batch), beams)
    hidden, cache = prefill(model, prompts, length + room)
    logits = model.logits(hidden)
    state = Beams(
        cache=cache.take(owner),
        step=jnp.zeros((), jnp.int32),
        token=jnp.zeros(batch * beams, jnp.int32),
        position=prompts.positions[owner, -1],
        at=None if at is None else jax.tree.map(lambda x: x[owner], at),
        seen=seen_table(prompts.tokens, prompts.history, logits.shape[-1])[owner] if plan.penalty else None,
        score=jnp.tile(jnp.asarray([0.0] + [NONE] * (beams - 1), jnp.float32), (batch, 1)),
        new=jnp.zeros((batch, beams, room), jnp.int32),
        finished_score=jnp.full((batch, beams), NONE, jnp.float32),
        finished_new=jnp.zeros((batch, beams, room), jnp.int32),
        finished_count=jnp.zeros((batch, beams), jnp.int32),
        over=inputs.limit <= 0,
    )
    grow = partial(_grow, inputs, plan, kept, length_penalty)

    def step(state: Beams) -> Beams:
        hidden, cache = model.extend(
            state.token[:, None], state.position[:, None], jnp.ones((batch * beams, 1), bool), state.cache
        )
        return grow(state._replace(cache=cache), model.logits(hidden[:, 0]))

    state = jax.lax.while_loop(lambda s: ~s.over.all(), step, grow(state, logits[owner]))
    return state.finished_new[:, 0], state.finished_count[:, 0]


def _grow(inputs: Inputs, plan: Plan, kept: int, length_penalty: jax.Array, state: Beams, logits: jax.Array) -> Beams:
    """One token more for every beam, from float32 `logits` [B * K, V]."""
    batch, beams = state.score.shape
    vocab = logits.shape[-1]
    mask = None
    if inputs.tables is not None:
        assert state.at is not None
        mask = allowed(inputs.tables, state.at, jnp.repeat(inputs.limit, beams) - state.step)
    rule = None
    if inputs.steer is not None:
        rules = inputs.steer._replace(forced=jnp.repeat(inputs.steer.forced, beams, axis=0))
        rule = partial(steer, rules=rules, step=state.step, stops=inputs.stops)
    scores = process(jax.nn.log_softmax(logits), plan, inputs.knobs, state.seen, mask, rule)
    sums = (scores.reshape(batch, beams, vocab) + state.score[..., None]).reshape(batch, beams * vocab)
    best, flat = jax.lax.top_k(sums, kept)
    beam, token = flat // vocab, (flat % vocab).astype(jnp.int32)
    new = jnp.take_along_axis(state.new, beam[..., None], 1)
    new = jax.lax.dynamic_update_slice(new, token[..., None], (0, 0, state.step))
    count = state.step + 1
    ends = (token[..., None] == inputs.stops).any(-1) | (count >= inputs.limit)[:, None]

    length = count.astype(jnp.float32) ** length_penalty
    finishes = ends & (jnp.arange(kept) < beams)[None] & ~state.over[:, None]
    pool_score = jnp.concatenate([state.finished_score, jnp.where(finishes, best / length, NONE)], 1)
    pool_new = jnp.concatenate([state.finished_new, new], 1)
    pool_count = jnp.concatenate([state.finished_count, jnp.where(finishes, count, 0)], 1)
    finished_score, chosen = jax.lax.top_k(pool_score, beams)
    finished_new = jnp.take_along_axis(pool_new, chosen[..., None], 1)
    finished_count = jnp.take_along_axis(pool_count, chosen, 1)

    score, chosen = jax.lax.top_k(jnp.where(ends, NONE, best), beams)
    beam, token = jnp.take_along_axis(beam, chosen, 1), jnp.take_along_axis(token, chosen, 1).reshape(-1)
    rows = (jnp.arange(batch)[:, None] * beams + beam).reshape(-1)
    at, seen = state.at, state.seen
    if inputs.tables is not None:
        at = advance(inputs.tables, jax.tree.map(lambda x: x[rows], at), token)
    if seen is not None:
        seen = seen[rows].at[jnp.arange(rows.shape[0]), token].set(True)
    full = (finished_count > 0).all(-1)
    beaten = score[:, 0] / length <= finished_score.min(-1)
    return Beams(
        cache=state.cache.take(rows),
        step=count,
        token=token,
        position=state.position[rows] + 1,
        at=at,
        seen=seen,
        score=score,
        new=jnp.take_along_axis(new, chosen[..., None], 1),
        finished_score=finished_score,
        finished_new=finished_new,
        finished_count=finished_count,
        over=state.over | (full & beaten) | (count >= inputs.limit),
    )
