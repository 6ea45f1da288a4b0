"""Decoding with a model that is bound to encoded inputs: every row begins with a start token and nothing else.

The model is one that `mio_jax.generate.decode` can run, already arranged for decoding: its own (encoder's) inputs are
part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.errors import MioError
from mio_jax.generate import decode
from mio_jax.generate.beam import beam_search
from mio_jax.generate.guidance import Guided
from mio_jax.generate.sampling import SamplingConfig
from mio_jax.generate.scoring import score_rows
from mio_jax.generate.steering import Steering
from mio_jax.nn.base import params_of, split


def _start(rows: int, start: int) -> decode.Prompts:
    there = jnp.ones((rows, 1), bool)
    return decode.Prompts(jnp.full((rows, 1), start, jnp.int32), there, there)


def generate_encoded(
    model: Any,
    rows: int,
    sampling: SamplingConfig | None = None,
    *,
    max_new_tokens: int,
    start: int = 0,
    stop_ids: Sequence[int] = (),
    seeds: Sequence[int] | None = None,
    steering: Steering | None = None,
) -> list[np.ndarray]:
    """What the model says in each of its rows.

    Args:
      rows: examples that the model is bound to (of a `Guided` model, half of its inner model's).
      sampling: how tokens are chosen; None: drawn at temperature 1.
      start: the id of the start token.
      stop_ids: ids that end a row; the one that did is its last token.
      seeds: one a row, 0 to 2**32 - 1; None: 0, 1, 2, ...
      steering: what of the answer's form is known beforehand.

    Returns:
      the tokens of each row after the start token, int32 [up to max_new_tokens].
    """
    if max_new_tokens < 1:
        raise MioError(f"max_new_tokens is {max_new_tokens}; it must be at least 1")
    numbers = list(range(rows)) if seeds is None else [int(s) for s in seeds]
    if len(numbers) != rows or any(not 0 <= s < 1 << 32 for s in numbers):
        raise MioError(f"seeds must be {rows} whole numbers from 0 to 2**32 - 1, one for each row, not {numbers}")
    sampling = sampling or SamplingConfig()
    graphdef, params = split(model)[0], params_of(model)
    inputs = decode.Inputs(
        knobs=sampling.knobs,
        seeds=jnp.asarray(numbers, jnp.uint32),
        limit=jnp.full(rows, max_new_tokens, jnp.int32),
        stops=jnp.asarray([*stop_ids] or [-1], jnp.int32),
        tables=None,
        steer=None if steering is None else steering.arrays(rows, max_new_tokens, model.spec.vocab_size),
    )
    prompts = _start(rows, start)
    if sampling.num_beams > 1:
        if isinstance(model, Guided):
            raise MioError("beam search and classifier-free guidance do not go together: set num_beams to 1")
        new, taken = beam_search(
            graphdef,
            params,
            prompts,
            inputs,
            None,
            sampling=sampling,
            room=max_new_tokens,
            stop_count=len(set(stop_ids)),
        )
    else:
        plan = sampling.plan
        state = decode.begin(graphdef, params, prompts, inputs, None, plan=plan, room=max_new_tokens)
        state = decode.loop(graphdef, params, inputs, state, plan=plan)
        new, taken = state.new, state.taken
    tokens, lengths = jax.device_get((new, taken))
    return [tokens[i, : lengths[i]] for i in range(rows)]


def score_encoded(model: Any, candidates: np.ndarray, valid: np.ndarray, *, start: int = 0) -> np.ndarray:
    """Summed log-likelihood of what a row could say; shapes as in `judge_encoded` -> float32 [rows, candidates]."""
    return judge_encoded(model, candidates, valid, start=start)[0]


def judge_encoded(
    model: Any, candidates: np.ndarray, valid: np.ndarray, *, start: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """`score_encoded`, and whether greedy decoding would say it.

    Args:
      candidates: int32 [rows, candidates, length], padded on the right; `valid`, bool like it, says where.

    Returns:
      float32 [rows, candidates], bool [rows, candidates].
    """
    graphdef, params = split(model)[0], params_of(model)
    tokens = jnp.asarray(candidates, jnp.int32)
    prompts = _start(len(candidates), start)
    scores, greedy = score_rows(graphdef, params, prompts, tokens, jnp.asarray(valid, bool))
    return np.asarray(scores), np.asarray(greedy)
