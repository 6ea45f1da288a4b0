"""The mixture of denoisers for decoder-only models: an encoded example -> its corrupted inputs, then what was hidden.

    bos, [Image] [R], inputs with a sentinel in the place of the target, sentinel, target, eos

Only the target carries loss. The loader calls this for every example with the example's own generator, behind the
recipe's encoding and before packing, so any recipe that gives sequences of a `TokenSpace` can be trained with it. An
encoder-decoder calls `mio_jax.objectives.denoising` itself and gives the inputs to its encoder.

A decoder reads its inputs causally here: the attention that would let them see one another both ways belongs to a
prefix language model, and a model trained without it can go on with causal stages.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mio_jax.config_denoising import DenoiserConfig, DenoisingConfig
from mio_jax.data.token_space import Block, Span, TokenSpace
from mio_jax.errors import MioError
from mio_jax.objectives.denoising import pick_denoiser, pick_inputs, pick_target
from mio_jax.objectives.patch_masking import hide_codes
from mio_jax.objectives.span_corruption import corrupt, draw_mask
from mio_jax.protocols import DenoisingIds, Example


@dataclass(frozen=True)
class MediaRun:
    """An image or a sound in a sequence: places `start` to `stop`, its tags included."""

    span: Span
    start: int
    stop: int


def media_runs(tokens: np.ndarray, space: TokenSpace) -> list[MediaRun]:
    """The media of a sequence, in order. Raises MioError on a span that is not closed."""
    runs, at = [], 0
    openings = {span.open: span for span in space.spans}
    for start in np.flatnonzero(np.isin(tokens, list(openings))):
        if start < at:
            continue
        span = openings[int(tokens[start])]
        ends = np.flatnonzero(tokens[start:] == span.close)
        if not len(ends):
            raise MioError(f"an example has an {span.modality} span at token {start} that is not closed")
        at = int(start + ends[0] + 1)
        runs.append(MediaRun(span, int(start), at))
    return runs


class DenoisedExamples:
    """`denoised(example, rng)` -> the example as this objective trains it; None if nothing in it can be restored."""

    def __init__(self, space: TokenSpace, ids: DenoisingIds, config: DenoisingConfig) -> None:
        self._space, self._ids, self._config = space, ids, config

    def __call__(self, example: Example, rng: np.random.Generator) -> Example | None:
        """All choices come from `rng`. Raises MioError where the example has more spans than there are sentinels."""
        space, config = self._space, self._config
        tokens = np.asarray(example.tokens, np.int32)
        starts = len(tokens) > 0 and tokens[0] == space.bos
        ends = len(tokens) > 0 and tokens[-1] == space.eos
        tokens = tokens[int(starts) : len(tokens) - int(ends)]
        runs = media_runs(tokens, space)
        in_run = np.full(len(tokens), -1)
        for number, run in enumerate(runs):
            in_run[run.start : run.stop] = number
        # The text of an example is one part, wherever media stand in it; every medium is a part of its own.
        text = in_run < 0
        parts = [run.span.modality for run in runs] + (["text"] if text.sum() > 1 else [])
        if not any(config.target_weight(name) for name in parts):
            return None
        target = pick_target(parts, config, rng)
        kept = pick_inputs(len(parts), target, config, rng)
        denoiser = pick_denoiser(parts[target], config, rng)
        if target < len(runs):
            inputs, targets, weights = self._restore_medium(tokens, runs, target, kept, denoiser, rng)
        else:
            shown = np.isin(in_run, np.flatnonzero(kept[: len(runs)])) | text
            inputs, targets, weights = self._restore_text(tokens[shown], text[shown], denoiser, rng)
        prefix = self._ids.prefixes[parts[target], denoiser.paradigm] if config.prefixes else np.zeros(0, np.int32)
        head = [space.bos] if starts else []
        tail = [space.eos] if ends else []
        before = np.concatenate([head, prefix, inputs]).astype(np.int32)
        made = np.concatenate([before, targets, tail]).astype(np.int32)
        loss_weights = np.concatenate([np.zeros(len(before)), weights, np.ones(len(tail))]).astype(np.float32)
        return Example(made, space.modality_ids(made), loss_weights)

    def _restore_text(
        self, tokens: np.ndarray, text: np.ndarray, denoiser: DenoiserConfig, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Hides text [n] (`text` True) of a sequence whose media stay whole; each of them may cut one span in two."""
        media = int((np.diff(text.astype(int)) == -1).sum()) + int(not text[0])
        hidden = np.zeros(len(tokens), bool)
        hidden[text] = draw_mask(int(text.sum()), denoiser, rng, max(len(self._ids.sentinels) - media, 1))
        inputs, targets = corrupt(tokens, hidden, self._ids.sentinels)
        return inputs, targets, np.ones(len(targets))

    def _restore_medium(
        self,
        tokens: np.ndarray,
        runs: list[MediaRun],
        target: int,
        kept: np.ndarray,
        denoiser: DenoiserConfig,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The run `target` is what is to be restored; R shows it with hidden codes replaced, behind the sentinel."""
        mark = self._ids.sentinels[:1]
        run = runs[target]
        whole = tokens[run.start : run.stop]
        weights = np.ones(len(whole) + 1)
        pieces: list[np.ndarray] = []
        at = 0
        keep_text = kept[len(runs)] if len(kept) > len(runs) else True
        for number, other in enumerate(runs):
            if keep_text:
                pieces.append(tokens[at : other.start])
            at = other.stop
            if number != target:
                if kept[number]:
                    pieces.append(tokens[other.start : other.stop])
                continue
            pieces.append(np.asarray(mark))
            if denoiser.paradigm == "R":
                hidden = self._hide_codes(whole[1:-1], self._space.block(run.span.block), denoiser.rate, rng)
                shown = whole.copy()
                shown[1:-1][hidden] = self._ids.mask
                pieces.append(shown)
                weights[2:-1][~hidden] = self._config.seen_weight
        if keep_text:
            pieces.append(tokens[at:])
        return np.concatenate(pieces), np.concatenate([mark, whole]), weights

    @staticmethod
    def _hide_codes(codes: np.ndarray, block: Block, rate: float, rng: np.random.Generator) -> np.ndarray:
        """Which codes are hidden, bool [n]: of layered codes whole frames, as one layer tells much of the others."""
        layers = int((codes[-1] - block.start) // block.codes_per_layer) + 1
        return np.tile(hide_codes(len(codes) // layers, rate, rng), layers)
