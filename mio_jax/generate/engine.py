"""The decoding engine: token ids in, token ids out, for any model that satisfies `mio_jax.protocols.Model`.

Prompts of a call run as one batch: padded on the left to a common length, and both the length and the number of rows
rounded up to few sizes, so that few programs are compiled. A row depends on its prompt and seed alone, never on what
it was batched with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.data.token_space import TokenSpace
from mio_jax.errors import MioError
from mio_jax.generate import decode
from mio_jax.generate.beam import beam_search
from mio_jax.generate.grammar import Grammar, Position, Tables
from mio_jax.generate.sampling import SamplingConfig
from mio_jax.generate.scoring import score_rows
from mio_jax.nn.base import apply, params_of, split

SMALLEST_LENGTH = 16
SMALLEST_CANDIDATE = 4
STOP_SLOTS = 4  # stop ids are padded to a multiple, so that their number does not compile anew
SCORE_ROWS = 256  # rows of one scoring call


def bucket(n: int, smallest: int = 1) -> int:
    """The size that `n` is padded to: of its two leading binary digits and the next, at most a quarter too much."""
    grain = max(smallest, 1 << max(n.bit_length() - 3, 0))
    return -(-max(n, 1) // grain) * grain


class Rows(NamedTuple):
    """A batch made ready: arrays, and the number of places for new tokens."""

    prompts: decode.Prompts
    inputs: decode.Inputs
    at: Position | None
    room: int


class Engine:
    """Decodes with one set of parameters.

    Args:
      graphdef, params: of the model, see `mio_jax.nn.base.apply`. The engine keeps a copy arranged for decoding.
      space: the vocabulary.
      spec: the model's spec; its `vocab_size` must be the token space's.
      max_length: the context: prompt and new tokens of a row together.
    """

    def __init__(self, graphdef: Any, params: Any, space: TokenSpace, spec: Any, max_length: int) -> None:
        if spec.vocab_size != space.vocab_size:
            raise MioError(f"the model has {spec.vocab_size} ids, token space {space.name!r} has {space.vocab_size}")
        decoding = jax.jit(lambda params: apply(graphdef, params).for_decoding())(params)
        self.graphdef, self.params = split(decoding)[0], params_of(decoding)
        self.space = space
        self.spec = spec
        self.max_length = max_length
        self._tables: dict[tuple[Grammar, tuple[int, ...]], Tables] = {}

    def generate(
        self,
        prompts: Sequence[np.ndarray],
        sampling: SamplingConfig | None = None,
        *,
        max_new_tokens: int,
        stop_ids: Sequence[int] = (),
        seeds: Sequence[int] | None = None,
        grammar: Grammar | None = None,
    ) -> list[np.ndarray]:
        """Continues every prompt.

        Args:
          prompts: int32 [length] each, none of them empty.
          sampling: how tokens are chosen; None: drawn at temperature 1.
          max_new_tokens: at most so many for a row, and no more than the context holds.
          stop_ids: ids that end a row; the one that did is its last token.
          seeds: one a row, 0 to 2**32 - 1; None: 0, 1, 2, ... Rows with the same prompt and seed are the same.
          grammar: the modality grammar; None: nothing constrains the ids.

        Returns:
          the new tokens of each row, int32 [up to max_new_tokens].

        Raises:
          MioError: a prompt that is empty, too long or holds ids outside the vocabulary; a response that the grammar
            forces and that does not fit.
        """
        sampling = sampling or SamplingConfig()
        rows = self._prepare(prompts, sampling, max_new_tokens, tuple(stop_ids), seeds, grammar)
        if rows is None:
            return []
        if sampling.num_beams > 1:
            new, taken = beam_search(
                self.graphdef,
                self.params,
                rows.prompts,
                rows.inputs,
                rows.at,
                sampling=sampling,
                room=rows.room,
                stop_count=len(set(stop_ids)),
            )
        else:
            plan = sampling.plan
            state = decode.begin(
                self.graphdef, self.params, rows.prompts, rows.inputs, rows.at, plan=plan, room=rows.room
            )
            state = decode.loop(self.graphdef, self.params, rows.inputs, state, plan=plan)
            new, taken = state.new, state.taken
        tokens, lengths = jax.device_get((new, taken))
        return [tokens[i, : lengths[i]] for i in range(len(prompts))]

    def stream(
        self,
        prompts: Sequence[np.ndarray],
        sampling: SamplingConfig | None = None,
        *,
        max_new_tokens: int,
        stop_ids: Sequence[int] = (),
        seeds: Sequence[int] | None = None,
        grammar: Grammar | None = None,
    ) -> Iterator[np.ndarray]:
        """Like `generate`, one step at a time: yields int32 [rows], the next token of each row, or -1 after its end."""
        sampling = sampling or SamplingConfig()
        if sampling.num_beams > 1:
            raise MioError("beam search cannot be streamed: a beam is known to be the best only at its end")
        rows = self._prepare(prompts, sampling, max_new_tokens, tuple(stop_ids), seeds, grammar)
        return iter(()) if rows is None else self._steps(rows, sampling, len(prompts))

    def _steps(self, rows: Rows, sampling: SamplingConfig, n: int) -> Iterator[np.ndarray]:
        plan = sampling.plan
        state = decode.begin(self.graphdef, self.params, rows.prompts, rows.inputs, rows.at, room=rows.room, plan=plan)
        before = np.zeros(n, np.int32)
        while True:
            token, taken, done = jax.device_get((state.token, state.taken, state.done))
            yield np.where(taken[:n] > before, token[:n], -1)
            if done.all():
                return
            before = taken[:n]
            state = decode.step(self.graphdef, self.params, rows.inputs, state, plan=plan)

    def score(self, prompt: np.ndarray, candidates: Sequence[np.ndarray]) -> np.ndarray:
        """Summed log-likelihood of each candidate, int32 [length >= 1], after the prompt -> float32 [candidates]."""
        return self.score_batch([prompt], [candidates])[0]

    def score_batch(
        self, prompts: Sequence[np.ndarray], candidates: Sequence[Sequence[np.ndarray]]
    ) -> list[np.ndarray]:
        """`score` for several prompts, each with candidates of its own: every prompt runs once.

        Raises:
          MioError: an empty prompt or candidate, ids outside the vocabulary, or the two longer than the context.
        """
        return [scores for scores, _ in self.judge_batch(prompts, candidates)]

    def judge_batch(
        self, prompts: Sequence[np.ndarray], candidates: Sequence[Sequence[np.ndarray]]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """`score_batch`, and beside each score whether greedy decoding would say the candidate: float32, bool."""
        if len(prompts) != len(candidates):
            raise MioError(f"{len(prompts)} prompts, but {len(candidates)} lists of candidates")
        judged = [(np.zeros(len(some), np.float32), np.zeros(len(some), bool)) for some in candidates]
        # (prompt, first candidate): a prompt with very many candidates is taken in pieces.
        pieces = [(i, at) for i, some in enumerate(candidates) for at in range(0, len(some), SCORE_ROWS)]
        while pieces:
            widest = 0
            part: list[tuple[int, int]] = []
            for i, at in pieces:
                widest = max(widest, min(len(candidates[i]) - at, SCORE_ROWS))
                if part and bucket(len(part) + 1) * bucket(widest) > SCORE_ROWS:
                    break
                part.append((i, at))
            pieces = pieces[len(part) :]
            some = [candidates[i][at : at + SCORE_ROWS] for i, at in part]
            scores, greedy = self._score_part([prompts[i] for i, _ in part], some)
            for row, ((i, at), got) in enumerate(zip(part, some, strict=True)):
                for into, values in zip(judged[i], (scores, greedy), strict=True):
                    into[at : at + len(got)] = values[row, : len(got)]
        return judged

    def _score_part(
        self, prompts: list[np.ndarray], candidates: list[Sequence[np.ndarray]]
    ) -> tuple[np.ndarray, np.ndarray]:
        checked = [self._ids(p, f"prompt {i}", len(prompts)) for i, p in enumerate(prompts)]
        longest = max(len(c) for some in candidates for c in some)
        shape = (bucket(len(prompts)), bucket(max(map(len, candidates))), bucket(longest, SMALLEST_CANDIDATE))
        tokens, valid = np.full(shape, self.space.pad, np.int32), np.zeros(shape, bool)
        for i, some in enumerate(candidates):
            for j, candidate in enumerate(some):
                ids = self._ids(candidate, f"candidate {j}", len(some))
                if len(checked[i]) + len(ids) > self.max_length:
                    raise MioError(
                        f"a prompt of {len(checked[i])} tokens and a candidate of {len(ids)} are longer than the"
                        f" context of {self.max_length}"
                    )
                tokens[i, j, : len(ids)], valid[i, j, : len(ids)] = ids, True
        rows = self._pad(checked, shape[0], self.max_length)
        scores, greedy = score_rows(self.graphdef, self.params, rows, tokens, valid)
        return np.asarray(scores), np.asarray(greedy)

    def _ids(self, tokens: np.ndarray, what: str, of: int) -> np.ndarray:
        """`tokens` as int32 [length], or MioError."""
        what = what if of > 1 else what.split()[0]
        ids = np.asarray(tokens)
        if ids.ndim != 1 or not ids.size:
            raise MioError(f"{what} is empty" if not ids.size else f"{what} has shape {ids.shape}, not [length]")
        if ids.min() < 0 or ids.max() >= self.space.vocab_size:
            bad = ids[(ids < 0) | (ids >= self.space.vocab_size)][0]
            raise MioError(f"{what} holds id {bad}, outside the vocabulary of {self.space.vocab_size} ids")
        return ids.astype(np.int32)

    def _pad(
        self, prompts: list[np.ndarray], rows: int, longest: int, *, count_padding: bool = False
    ) -> decode.Prompts:
        """Prompts padded to `rows` rows of a bucketed length of at most `longest` (or the longest prompt's)."""
        own = max(map(len, prompts))
        length = max(min(bucket(own, SMALLEST_LENGTH), longest), own)
        tokens = np.full((rows, length), self.space.pad, np.int32)
        valid = np.zeros((rows, length), bool)
        for i, prompt in enumerate(prompts):
            tokens[i, length - len(prompt) :] = prompt
            valid[i, length - len(prompt) :] = True
        history = valid.copy()
        if count_padding:  # only what is needed to bring the prompts to one length: buckets are our own affair
            history[:, length - own :] = True
        return decode.Prompts(*map(jnp.asarray, (tokens, valid, history)))

    def pad_prompts(self, prompts: list[np.ndarray], rows: int) -> decode.Prompts:
        """Left-padded arrays of checked prompts, of a bucketed length within the context."""
        return self._pad(prompts, rows, self.max_length)

    def _prepare(
        self,
        prompts: Sequence[np.ndarray],
        sampling: SamplingConfig,
        max_new_tokens: int,
        stop_ids: tuple[int, ...],
        seeds: Sequence[int] | None,
        grammar: Grammar | None,
    ) -> Rows | None:
        """The arrays of one call; None if it has no prompts."""
        if not len(prompts):
            return None
        rows = bucket(len(prompts))
        checked, inputs, at = self.admit(prompts, rows, sampling, max_new_tokens, stop_ids, seeds, grammar)
        room = bucket(int(np.asarray(inputs.limit).max()), SMALLEST_LENGTH)
        padded = self._pad(checked, rows, self.max_length, count_padding=sampling.penalize_padding)
        return Rows(padded, inputs, at, room)

    def admit(
        self,
        prompts: Sequence[np.ndarray],
        rows: int,
        sampling: SamplingConfig,
        max_new_tokens: int,
        stop_ids: tuple[int, ...],
        seeds: Sequence[int] | None,
        grammar: Grammar | None,
    ) -> tuple[list[np.ndarray], decode.Inputs, Position | None]:
        """Prompts as int32 ids, what a compiled loop of `rows` rows reads, and where each row is in the grammar.

        Raises MioError as `generate` does.
        """
        if max_new_tokens < 1:
            raise MioError(f"max_new_tokens is {max_new_tokens}; it must be at least 1")
        n = len(prompts)
        checked = [self._ids(p, f"prompt {i}", n) for i, p in enumerate(prompts)]
        limit = np.zeros(rows, np.int32)
        for i, prompt in enumerate(checked):
            if len(prompt) >= self.max_length:
                raise MioError(
                    f"prompt{f' {i}' if n > 1 else ''} has {len(prompt)} tokens, and the context of {self.max_length}"
                    " leaves no place for an answer: shorten it, or give fewer media"
                )
            limit[i] = min(max_new_tokens, self.max_length - len(prompt))
        numbers = list(range(n)) if seeds is None else [int(s) for s in seeds]
        if len(numbers) != n or any(not 0 <= s < 1 << 32 for s in numbers):
            raise MioError(f"seeds must be {n} whole numbers from 0 to 2**32 - 1, one for each prompt, not {numbers}")
        if grammar is not None and grammar.space != self.space:
            raise MioError(f"the grammar is of token space {grammar.space.name!r}, the engine's is {self.space.name!r}")

        at = tables = None
        if grammar is not None:
            tables = self._grammar_tables(grammar, stop_ids)
            places = np.zeros((3, rows), np.int32)
            for i, prompt in enumerate(checked):
                places[:, i] = start = grammar.start(prompt, stop_ids)
                if grammar.fewest(start) > limit[i]:
                    raise MioError(
                        f"the response must hold at least {grammar.fewest(start)} tokens, but there is room for"
                        f" {limit[i]}: raise max_new_tokens (now {max_new_tokens}) or shorten the prompt"
                        f" ({len(prompt)} tokens, the context holds {self.max_length})"
                    )
            at = Position(*jnp.asarray(places))
        slots = -(-max(len(stop_ids), 1) // STOP_SLOTS) * STOP_SLOTS
        inputs = decode.Inputs(
            knobs=sampling.knobs,
            seeds=jnp.asarray(numbers + [0] * (rows - n), jnp.uint32),
            limit=jnp.asarray(limit),
            stops=jnp.asarray([*stop_ids, *[-1] * (slots - len(stop_ids))], jnp.int32),
            tables=tables,
        )
        return checked, inputs, at

    def _grammar_tables(self, grammar: Grammar, stop_ids: tuple[int, ...]) -> Tables:
        key = (grammar, stop_ids)
        if key not in self._tables:
            self._tables[key] = jax.tree.map(jnp.asarray, grammar.tables(stop_ids))
        return self._tables[key]
