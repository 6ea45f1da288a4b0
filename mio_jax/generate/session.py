"""One row that is asked again and again: what two prompts have in common at their beginnings is run once.

A turn of a conversation repeats all that was said before. The session keeps the keys and values of what it ran last,
slot n those of id n, and runs of a new prompt only what comes after the common beginning.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.errors import MioError
from mio_jax.generate import decode
from mio_jax.generate.engine import Engine
from mio_jax.generate.grammar import Grammar, Position
from mio_jax.generate.sampling import SamplingConfig
from mio_jax.nn.base import apply
from mio_jax.nn.cache import KVCache

PIECE = 256  # prompt tokens that are run at once
SMALLEST_PIECE = 16
SMALLEST_CACHE = 256  # slots, or places for new tokens
LONGEST_BURST = 32  # tokens
BURST_SECONDS = 0.05  # a burst grows as long as it takes less


def doubled(n: int, smallest: int) -> int:
    """The first of `smallest`, its double, ... that is at least n: turns differ in size, programs should not."""
    return smallest << max(-(-n // smallest) - 1, 0).bit_length()


class Session:
    """An engine's cache of one row.

    Attributes:
      prefilled: prompt tokens that were run in the newest call; the others' keys and values were still there.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.prefilled = 0
        self._cache: KVCache | None = None
        self._held = np.zeros(0, np.int32)  # ids whose keys and values the cache holds

    def stream(
        self,
        prompt: np.ndarray,
        sampling: SamplingConfig | None = None,
        *,
        max_new_tokens: int,
        stop_ids: Sequence[int] = (),
        seed: int = 0,
        grammar: Grammar | None = None,
    ) -> Iterator[np.ndarray]:
        """The ids that `Engine.generate` gives for one prompt, in pieces int32 [n], as they come.

        A piece holds as many ids as fit in a twentieth of a second, 1 to 32. An iterator that is closed early leaves
        the session ready for the next prompt. Raises MioError as `Engine.generate` does, and on beam search.
        """
        sampling = sampling or SamplingConfig()
        if sampling.num_beams > 1:
            raise MioError("beam search cannot be streamed: a beam is known to be the best only at its end")
        (ids,), inputs, at = self.engine.admit([prompt], 1, sampling, max_new_tokens, tuple(stop_ids), [seed], grammar)
        return self._run(ids, inputs, at, sampling)

    def _run(
        self, prompt: np.ndarray, inputs: decode.Inputs, at: Position | None, sampling: SamplingConfig
    ) -> Iterator[np.ndarray]:
        engine, plan = self.engine, sampling.plan
        limit = int(inputs.limit[0])
        hidden, cache = self._prefill(prompt, limit)
        seen = None
        if plan.penalty:
            seen = np.zeros((1, engine.space.vocab_size), bool)
            seen[0, prompt] = True
        room = doubled(limit, SMALLEST_CACHE)
        state = decode.opened(engine.graphdef, engine.params, hidden, cache, inputs, at, seen, plan=plan, room=room)
        count, given = 1, 0
        try:
            while True:
                new, taken, done = jax.device_get((state.new, state.taken, state.done))
                yield new[0, given : taken[0]]
                given = int(taken[0])
                if done.all():
                    return
                began = time.perf_counter()
                state = decode.burst(engine.graphdef, engine.params, inputs, state, jnp.int32(count), plan=plan)
                state.token.block_until_ready()
                if time.perf_counter() - began < BURST_SECONDS / 2:
                    count = min(2 * count, LONGEST_BURST)
        finally:
            # Interrupted in the middle of a call, whose arguments are gone: the next prompt begins anew.
            if not state.token.is_deleted():
                new, taken = jax.device_get((state.new, state.taken))
                self._cache = state.cache
                self._held = np.concatenate([prompt, new[0, : taken[0] - 1]])  # the newest id has not been run

    def _prefill(self, prompt: np.ndarray, limit: int) -> tuple[jax.Array, KVCache]:
        """Runs what of the prompt is not in the cache, and makes the cache large enough for so many new tokens."""
        engine = self.engine
        most = min(len(self._held), len(prompt) - 1)  # one token must run, to say what comes next
        different = np.flatnonzero(self._held[:most] != prompt[:most])
        kept = int(different[0]) if len(different) else most
        self.prefilled = len(prompt) - kept
        needed = len(prompt) + max(limit, PIECE)  # the last piece is padded
        cache, self._cache, self._held = self._cache, None, self._held[:0]
        if cache is None:
            cache = apply(engine.graphdef, engine.params).init_cache(1, SMALLEST_CACHE)
        length = max(cache.length, doubled(needed, SMALLEST_CACHE))
        if length > cache.length:
            cache = cache.grown(length)
        cache = cache._replace(index=jnp.int32(kept), valid=jnp.arange(length)[None] < kept)
        hidden = None
        for start in range(kept, len(prompt), PIECE):
            piece = prompt[start : start + PIECE]
            padded = np.full((1, doubled(len(piece), SMALLEST_PIECE)), engine.space.pad, np.int32)
            padded[0, : len(piece)] = piece
            hidden, cache = decode.feed(engine.graphdef, engine.params, cache, padded, jnp.int32(len(piece)))
        assert hidden is not None
        return hidden, cache
