"""A trained run as a plain language model: likelihoods of texts, and texts, as language-model benchmarks ask for them.

A decoder reads its start token and the context, and the continuation is tokenised with the context and scored after
it. An encoder-decoder reads the context behind the recipe's prefix for text, and the continuation is its answer
(Unified-IO 2, section 20: zero-shot, nothing but the prefix added). Contexts that are too long lose their beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mio_jax.errors import MioError
from mio_jax.generate.sampling import SamplingConfig
from mio_jax.protocols import Segment


class LanguageModel:
    """Answers for the run.

    Args:
      run: a trained run (`mio_jax.train.run.Run`).
      engine: `mio_jax.generate.engine_of(run)`.
      rows: questions at once.
    """

    def __init__(self, run: Any, engine: Any, rows: int = 16) -> None:
        self.recipe, self.tokenizers, self.space, self.engine, self.rows = (
            *(run.recipe, run.tokenizers, run.space, engine),
            rows,
        )
        self.encodes = hasattr(run.recipe, "encoded_decoding")
        self.length = run.config.data.text_length if self.encodes else run.config.data.length
        if not self.length:
            raise MioError("this run was trained without texts: data.text_length is 0")

    # -------------------------------------------------------------------------------------------------- likelihoods

    def likelihoods(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        """Of each (context, continuation): the log-likelihood, and whether greedy decoding would say it.

        Raises MioError on an empty continuation, or one that is longer than the model's row.
        """
        asked = [self._pair(context, continuation) for context, continuation in pairs]
        # Continuations of the same context, which stand next to each other, share one pass over it.
        groups: list[list[int]] = []
        for i, (prompt, _) in enumerate(asked):
            if groups and _same(asked[groups[-1][0]][0], prompt):
                groups[-1].append(i)
            else:
                groups.append([i])
        found: dict[int, tuple[float, bool]] = {}
        for at in range(0, len(groups), self.rows):
            part = groups[at : at + self.rows]
            judged = self.engine.judge_batch(
                [self._prompt(asked[group[0]][0]) for group in part], [[asked[i][1] for i in group] for group in part]
            )
            for group, (scores, greedy) in zip(part, judged, strict=True):
                found |= {i: (float(s), bool(g)) for i, s, g in zip(group, scores, greedy, strict=True)}
        return [found[i] for i in range(len(pairs))]

    def rolling(self, texts: Sequence[str]) -> list[float]:
        """Log-likelihood of each whole text, in windows of a row that do not overlap. For decoders.

        Raises MioError for an encoder-decoder, which gives no likelihood to a text as such.
        """
        if self.encodes:
            raise MioError("an encoder-decoder gives no likelihood to a text without a question: leave such tasks out")
        room = self.length - 1
        windows = [
            (number, ids[at : at + room])
            for number, ids in enumerate(self._ids(text) for text in texts)
            for at in range(0, len(ids), room)
        ]
        start = np.asarray([self.space.bos], np.int32)
        totals = [0.0] * len(texts)
        for at in range(0, len(windows), self.rows):
            part = windows[at : at + self.rows]
            for (number, _), scores in zip(
                part, self.engine.score_batch([start] * len(part), [[ids] for _, ids in part]), strict=True
            ):
                totals[number] += float(scores[0])
        return totals

    # -------------------------------------------------------------------------------------------------------- texts

    def texts(
        self, contexts: Sequence[str], until: Sequence[str], most: int, sampling: SamplingConfig | None = None
    ) -> list[str]:
        """What the model says after each context, up to any of the strings `until`, at most so many tokens."""
        most = min(most, self.length - 2)
        out: list[str] = []
        for at in range(0, len(contexts), self.rows):
            prompts = [self._prompt(self._context(text, most)) for text in contexts[at : at + self.rows]]
            said = self.engine.generate(
                prompts, sampling or SamplingConfig(greedy=True), max_new_tokens=most, stop_ids=(self.space.eos,)
            )
            for ids in said:
                kept = ids[ids != self.space.eos]
                text = "".join(
                    str(s.value)
                    for s in self.recipe.parse(kept, self.tokenizers, self.space).segments
                    if s.kind == "text"
                )
                ends = [text.find(mark) for mark in until if mark and mark in text]
                out.append(text[: min(ends)] if ends else text)
        return out

    # ---------------------------------------------------------------------------------------------------------- ids

    def _ids(self, text: str) -> np.ndarray:
        """int32 ids of a text alone."""
        ids = self.recipe.encode_answer([Segment("text", text)], self.tokenizers, self.space)
        return np.asarray(ids[:-1] if self.encodes else ids, np.int32)  # an encoder-decoder's end mark is no part of it

    def _pair(self, context: str, continuation: str) -> tuple[np.ndarray | str, np.ndarray]:
        if not continuation.strip():
            raise MioError(f"an empty continuation of {context[-40:]!r} cannot be scored")
        if self.encodes:
            ids = self._ids(continuation.strip())
            return self._context(context, 0), ids
        # Spaces between the two belong to the continuation's first piece.
        bare = context.rstrip()
        before = self._ids(bare) if bare else np.zeros(0, np.int32)
        ids = self._ids(context + continuation)[len(before) :]
        if len(ids) >= self.length:
            raise MioError(f"a continuation of {len(ids)} tokens is longer than the model's row of {self.length}")
        return self._begun(before, len(ids)), ids

    def _context(self, context: str, answer: int) -> np.ndarray | str:
        """A context that fits: for a decoder ids with room for an answer, for an encoder-decoder a text."""
        if not self.encodes:
            return self._begun(self._ids(context) if context else np.zeros(0, np.int32), answer)
        encode, decode = self.tokenizers.text.encode, self.tokenizers.text.decode
        over = len(encode(self.recipe.plain_prompt(context))) - (self.length - 1)
        while over > 0:  # pieces at a cut may join otherwise: cut again until it fits
            context = decode(encode(context)[over:])
            over = len(encode(self.recipe.plain_prompt(context))) - (self.length - 1)
        return context

    def _begun(self, ids: np.ndarray, answer: int) -> np.ndarray:
        kept = ids[max(0, len(ids) - (self.length - 1 - answer)) :]
        return np.concatenate([[self.space.bos], kept]).astype(np.int32)

    def _prompt(self, context: np.ndarray | str) -> Any:
        if isinstance(context, str):
            asked = [Segment("text", self.recipe.plain_prompt(context))]
            return self.recipe.encode_prompt(asked, self.tokenizers, self.space)
        return context


def _same(a: np.ndarray | str, b: np.ndarray | str) -> bool:
    return a == b if isinstance(a, str) or isinstance(b, str) else np.array_equal(a, b)
