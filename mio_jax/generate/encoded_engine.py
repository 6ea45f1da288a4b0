"""The engine of models that encode their inputs first: one answer of one modality for each prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from mio_jax.data.token_space import TokenSpace
from mio_jax.errors import MioError
from mio_jax.generate.encoded import generate_encoded, judge_encoded
from mio_jax.generate.engine import SCORE_ROWS, bucket
from mio_jax.generate.guidance import Guided
from mio_jax.generate.sampling import SamplingConfig
from mio_jax.generate.steering import Steering
from mio_jax.nn.base import apply
from mio_jax.protocols import EncodedDecoding

Batch = dict[str, np.ndarray]


class EncodedEngine:
    """Satisfies `mio_jax.protocols.DecodingEngine`.

    Args:
      graphdef, params: of the whole model.
      decoding: what the recipe knows of decoding it.
      space: the vocabulary that prompts' answers are in.
    """

    def __init__(self, graphdef: Any, params: Any, decoding: EncodedDecoding, space: TokenSpace) -> None:
        self.params, self.decoding, self.space = params, decoding, space
        self._graphdef = graphdef
        self._bind = jax.jit(
            lambda params, batch, modality: decoding.bind(apply(graphdef, params), modality, batch),
            static_argnames="modality",
        )

    def generate(
        self,
        prompts: Sequence[Any],
        sampling: SamplingConfig | None = None,
        *,
        max_new_tokens: int,
        stop_ids: Sequence[int] = (),
        seeds: Sequence[int] | None = None,
        grammar: Any = None,
        steering: Steering | None = None,
        guidance: float = 0.0,
        against: Sequence[Any] | None = None,
    ) -> list[np.ndarray]:
        """Answers every prompt; `grammar.begin` says in which modality, text by default.

        Args:
          max_new_tokens: at most so many of a text. A picture or a sound is always whole.
          stop_ids: ids that end a text beside the end mark.
          steering: the form of the answers; its ids are those of the modality's own table (`decoding.tokens`).
          guidance: how far scores are pushed away from those after `against`; 0: not at all.
          against: one prompt for each, with the same media: a neutral one, or what is not wanted (a negative prompt).

        Raises:
          MioError: a picture or a sound that `max_new_tokens` has no room for; a prompt that the model has no part for;
            guidance without prompts to be guided away from, or the other way round.
        """
        if not prompts:
            return []
        check_guidance(guidance, len(prompts), against)
        modality = getattr(grammar, "begin", "") or "text"
        whole = self.decoding.length(modality)
        if whole > max_new_tokens:
            raise MioError(f"an answer of {modality} has {whole} tokens, more than max_new_tokens, {max_new_tokens}")
        rows = bucket(len(prompts))
        numbers = [*(range(len(prompts)) if seeds is None else seeds)]
        model = self._bound(prompts, rows, modality, against or ())
        said = generate_encoded(
            Guided(model, guidance) if against else model,
            rows,
            sampling,
            max_new_tokens=whole or max_new_tokens,
            stop_ids=() if whole else sorted({self.space.eos, *stop_ids}),
            seeds=[*numbers, *[0] * (rows - len(numbers))],
            steering=steering,
        )
        return [self.decoding.ids(modality, tokens) for tokens in said[: len(prompts)]]

    def score_batch(self, prompts: Sequence[Any], candidates: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
        """Summed log-likelihoods float32 [candidates] of what could follow each prompt.

        Raises MioError where the candidates of a call are of several modalities.
        """
        return [scores for scores, _ in self.judge_batch(prompts, candidates)]

    def judge_batch(
        self, prompts: Sequence[Any], candidates: Sequence[Sequence[np.ndarray]]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """`score_batch`, and beside each score whether greedy decoding would say the candidate: float32, bool."""
        said = [[self.decoding.tokens(ids) for ids in some] for some in candidates]
        kinds = {kind for some in said for kind, _ in some}
        if len(kinds) > 1:
            raise MioError(f"candidates of one call must be of one modality, not of {' and '.join(sorted(kinds))}")
        width = max((len(some) for some in said), default=0)
        if not width:
            return [(np.zeros(0, np.float32), np.zeros(0, bool)) for _ in prompts]
        [modality] = kinds
        length = bucket(max(len(ids) for some in said for _, ids in some), 4)
        judged: list[tuple[np.ndarray, np.ndarray]] = []
        at_once = max(1, SCORE_ROWS // width)
        for at in range(0, len(prompts), at_once):
            part = said[at : at + at_once]
            rows = bucket(len(part))
            tokens, valid = np.zeros((rows, width, length), np.int32), np.zeros((rows, width, length), bool)
            for row, some in enumerate(part):
                for number, (_, ids) in enumerate(some):
                    tokens[row, number, : len(ids)] = ids
                    valid[row, number, : len(ids)] = True
            model = self._bound(prompts[at : at + at_once], rows, modality)
            scores, greedy = judge_encoded(model, tokens, valid)
            judged += [(scores[row, : len(some)], greedy[row, : len(some)]) for row, some in enumerate(part)]
        return judged

    def _bound(self, prompts: Sequence[Any], rows: int, modality: str, against: Sequence[Any] = ()) -> Any:
        """The decoder over so many rows: those of the prompts and copies of the last one, then as many of `against`."""
        filled = [[*some, *[some[-1]] * (rows - len(some))] for some in (prompts, against) if len(some)]
        batch = self.decoding.batch([prompt for some in filled for prompt in some])
        return self._bind(self.params, batch, modality)


def check_guidance(guidance: float, prompts: int, against: Sequence[Any] | None) -> None:
    """Raises MioError unless both are given, or neither."""
    if not math.isfinite(guidance) or guidance < 0:
        raise MioError(f"guidance is {guidance}; it must be 0 (off) or a positive number")
    if bool(guidance) != bool(against):
        given, lacks = ("guidance", "against") if guidance else ("against", "guidance")
        raise MioError(f"{given} needs {lacks} beside it: scores are pushed away from those after a prompt to avoid")
    if against and len(against) != prompts:
        raise MioError(f"{prompts} prompts are guided away from {len(against)} others; give one for each")
