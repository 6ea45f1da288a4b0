"""Metrics of speech to text and of text to speech, for `metrics.METRICS`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mio_jax.evaluate import stats
from mio_jax.evaluate.context import Context, media
from mio_jax.evaluate.context import text as text_of
from mio_jax.evaluate.text import edits
from mio_jax.protocols import Direction, Generated
from mio_tokenizers.audio.spectral import hann, mel_filters
from mio_tokenizers.base import Audio

if TYPE_CHECKING:
    from mio_jax.data.records import Record

Scores = dict[str, np.ndarray]
FRAME = 0.02  # seconds between the spectra that two sounds are compared by
BANDS = 26


def spoken(text: str) -> str:
    """Small letters and single spaces, without punctuation: what can be heard of a text."""
    return " ".join("".join(c if c.isalnum() or c == "'" else " " for c in text.lower()).split())


class _Ranks:
    """Remarks with the rank of the true one among the candidates of `sets`."""

    sets: np.ndarray

    @staticmethod
    def ranks(scores: np.ndarray) -> Scores:
        """From scores [n, candidates], the true one first."""
        reciprocal = stats.reciprocal_ranks(scores)
        return {"value": reciprocal, "first of all": (reciprocal == 1.0).astype(np.float64)}

    def remark(self, scores: Scores, index: int) -> str:
        more = [f"{name} {values[index]:.2f}" for name, values in scores.items() if name.endswith("errors")]
        rank = [f"the true one ranks {round(1 / scores['value'][index])} of {self.sets.shape[1]}"] * ("value" in scores)
        return ", ".join(rank + more)


class Transcription(_Ranks):
    """How high the true transcript stands among others of about the test set, and the errors of what is written.

    The order is by log p(transcript | this speech) less its mean over other speech, as for captions. Errors are edits a
    character and a word of the true transcript, of small letters without punctuation; they may be over 1.
    """

    likelihood = True

    def __init__(self, direction: Direction, records: Sequence[Record], context: Context) -> None:
        size = min(context.config.eval.candidates, len(records))
        self.label = f"mean reciprocal rank of the true transcript among {size}"
        self.sets = stats.candidate_sets(len(records), size, context.config.seed)
        known = {spoken(record["transcript"]) for record in context.train_records(direction)}
        words = {word for text in known for word in text.split()}
        asked = [word for record in records for word in spoken(record["transcript"]).split()]
        share = np.mean([word in words for word in asked])
        self.note = f"blind: {np.mean(1 / np.arange(1, size + 1)):.3f}; {share:.0%} of the words occur in training"

    def __call__(self, answers: Sequence[Generated], records: Sequence[Record]) -> Scores:
        letters, words = np.zeros(len(records)), np.zeros(len(records))
        for i, (answer, record) in enumerate(zip(answers, records, strict=True)):
            said, wanted = spoken(text_of(answer)), spoken(record["transcript"])
            letters[i] = edits(wanted, said) / max(1, len(wanted))
            words[i] = edits(wanted.split(), said.split()) / max(1, len(wanted.split()))
        return {"character errors": letters, "word errors": words}


class SpeechRank(_Ranks):
    """How near generated speech is to the true recording, against other held-out recordings.

    Nearness is that of mel spectra after the best warping of time, all of them through the codec. Whatever is said, the
    length alone tells some recordings from others; the control of shuffled texts shows the rest.
    """

    likelihood = False

    def __init__(self, direction: Direction, records: Sequence[Record], context: Context) -> None:
        size = min(context.config.eval.candidates, len(records))
        self.label = f"mean reciprocal rank of the true recording among {size}, by distance to what is spoken"
        self.context = context
        self.sets = stats.candidate_sets(len(records), size, context.config.seed)
        self.true = [mel_frames(sound) for sound in context.sounds([record["audio"] for record in records])]
        self.note = f"a blind ranking has {np.mean(1 / np.arange(1, size + 1)):.3f}"

    def __call__(self, answers: Sequence[Generated], records: Sequence[Record]) -> Scores:
        spans = [media(answer, "audio")[:1] for answer in answers]
        made = [i for i, span in enumerate(spans) if span]
        rank = np.full(len(records), 1.0 / self.sets.shape[1])
        ratio = np.full(len(records), np.nan)
        for i, sound in zip(made, self.context.sounds([spans[i][0] for i in made]) if made else (), strict=True):
            said = mel_frames(sound)
            distances = warped_distances(said, [self.true[j] for j in self.sets[i]])
            rank[i] = stats.reciprocal_ranks(-distances[None])[0]
            ratio[i] = len(said) / len(self.true[i])
        return {"value": rank, "first of all": (rank == 1.0).astype(np.float64), "length against the true one": ratio}


def mel_frames(sound: Audio) -> np.ndarray:
    """Log-mel spectra every 20 ms, each band's mean taken off. float32 [frames, 26]."""
    hop = round(FRAME * sound.rate)
    size = 2 * hop
    padded = np.pad(np.asarray(sound.samples, np.float32), (0, max(size - len(sound.samples), 0)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop] * hann(size)
    power = np.abs(np.fft.rfft(frames, axis=-1)) ** 2
    levels = np.log(power @ mel_filters(size, BANDS, sound.rate, 100.0) + 1e-4)
    return (levels - levels.mean(0)).astype(np.float32)


def warped_distances(said: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """[T, C] and [T', C] each -> float64 [n]: the mean distance of frames along the best monotone path (DTW)."""
    longest = max(len(other) for other in others)
    costs = np.full((len(others), len(said), longest), np.inf)
    for i, other in enumerate(others):
        costs[i, :, : len(other)] = np.linalg.norm(said[:, None] - other[None], axis=-1)
    total = np.full((len(others), len(said) + 1, longest + 1), np.inf)
    total[:, 0, 0] = 0
    for step in range(len(said) + longest - 1):  # one antidiagonal after another, all others at once
        rows = np.arange(max(0, step - longest + 1), min(step, len(said) - 1) + 1)
        columns = step - rows
        before = np.minimum(total[:, rows, columns + 1], total[:, rows + 1, columns])
        total[:, rows + 1, columns + 1] = costs[:, rows, columns] + np.minimum(before, total[:, rows, columns])
    ends = total[np.arange(len(others)), len(said), [len(other) for other in others]]
    return np.asarray(ends / (len(said) + np.array([len(other) for other in others])))
