"""The metrics that directions name: each turns answers and held-out records into one score an example.

`METRICS` maps a name to a class. A metric is made once a direction, fits its probes on training records, and is then
called on the answers, on the control's answers, and on the data's own tokens (the ceiling that tokenizers set).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mio_jax.evaluate import pictures, probes, sounds, stats, text
from mio_jax.evaluate.context import Context, media
from mio_jax.evaluate.context import text as text_of
from mio_jax.evaluate.speech_scores import SpeechRank, Transcription
from mio_jax.protocols import Direction, Generated
from mio_tokenizers.image.io import picture_mask

if TYPE_CHECKING:
    from mio_jax.data.records import Record

Scores = dict[str, np.ndarray]  # "value", and more under names of their own; float [n], nan where not applicable


TONES = ("light", "medium-light", "medium", "medium-dark", "dark")


class Metric(Protocol):
    """`likelihood`: the value comes from ranking given texts by the model's likelihood (see `harness`), the call only
    scores what is generated beside it."""

    label: str  # what the value is, for people
    likelihood: bool

    def __init__(self, direction: Direction, records: Sequence[Record], context: Context) -> None: ...

    def __call__(self, answers: Sequence[Generated], records: Sequence[Record]) -> Scores: ...

    @property
    def note(self) -> str:
        """What a reader of the number should know."""
        ...

    def remark(self, scores: Scores, index: int) -> str:
        """About one example, for the report."""
        ...


class _Plain:
    """Remarks with every score that applies to an example."""

    def remark(self, scores: Scores, index: int) -> str:
        parts = {name: values[index] for name, values in scores.items() if np.isfinite(values[index])}
        if len(parts) == 1:
            return f"score {parts['value']:.2f}"
        return ", ".join(f"{name} {score:.2g}" for name, score in parts.items() if name != "value")


class _Ranked:
    """Remarks with the rank of the true one; `sets` are the candidates."""

    sets: np.ndarray

    def remark(self, scores: Scores, index: int) -> str:
        return f"the true one ranks {round(1 / scores['value'][index])} of {self.sets.shape[1]}"


class CaptionRank(_Ranked):
    """How high the true text stands among those of other held-out examples, by what the conditioning adds to it.

    The order is by log p(text | this) less the mean of log p(text | other) over a few other examples, an estimate of
    pointwise mutual information: raw likelihood mostly ranks by how common the words of a text are.
    """

    likelihood = True

    def __init__(self, direction: Direction, records: Sequence[Record], context: Context) -> None:
        size = min(context.config.eval.candidates, len(records))
        self.label = f"mean reciprocal rank of the true caption among {size}"
        self.sets = stats.candidate_sets(len(records), size, context.config.seed)
        self.note = (
            f"by log-likelihood less its mean over other inputs; blind: {np.mean(1 / np.arange(1, size + 1)):.3f}"
        )

    def __call__(self, answers: Sequence[Generated], records: Sequence[Record]) -> Scores:
        words = [text.word_f1(text_of(a), r["caption"]) for a, r in zip(answers, records, strict=True)]
        return {"words of a generated caption (F1)": np.asarray(words)}

    @staticmethod
    def ranks(scores: np.ndarray) -> Scores:
        """From gains in log-likelihood [n, candidates], the true one first."""
        reciprocal = stats.reciprocal_ranks(scores)
        return {"value": reciprocal, "first of all": (reciprocal == 1.0).astype(np.float64)}


class Answer(_Plain):
    """Short answers, compared after normalisation; beside it what the most frequent answer to such a question gets."""

    likelihood = False
    label = "accuracy of the generated answer"

    def __init__(self, direction: Direction, records: Sequence[Record], context: Context) -> None:
        self.question: Callable[[Record], tuple[str, str]] = direction.options["question"]
        known = [self.question(r) for r in context.train_records(direction)]
        self.values = sorted({answer for _, answer in known} - {"yes", "no"})
        kinds = [self._kind(q) for q, _ in known]
        asked = [self.question(r) for r in records]
        self.majority = text.majority_accuracy(
            [self._kind(q) for q, _ in asked],
            [a for _, a in asked],
            [(kind, answer) for kind, (_, answer) in zip(kinds, known, strict=True)],
        )
        self.note = f"always the most frequent answer of the question's type: {self.majority:.3f}"

    def _kind(self, question: str) -> str:
        return text.question_kind(question, self.values)

    def __call__(self, answers: Sequence[Generated], records: Sequence[Record]) -> Scores:
        wanted = [self.question(record)[1] for record in records]
        right = np.asarray([text.exact(text_of(a), w) for a, w in zip(answers, wanted, strict=True)])
        closed = np.asarray([w in ("yes", "no") for w in wanted])
        return {
            "value": right,
            "yes/no questions": np.where(closed, right, np.nan),
            "open questions": np.where(closed, np.nan, right),
        }


class SoundDescription(_Plain):
    """Whether a description "INSTRUMENT playing NOTE" names the right instrument and the right note."""

    likelihood = False
    label = "mean accuracy of the named instrument and the named note"
    note = "a blind guess is right for about 1 in 65 instruments and 1 in 50 notes"

    def __init__(self, direction: Direction, records: Sequence[Record], context: Context) -> None:
        everything = context.train_records(direction, 10**9)
        instruments = len({record["meta/instrument"] for record in everything})
        notes = len({record["meta/note"] for record in everything})
        self.note = f"there are {instruments} instruments and {notes} notes to choose from"

    def __call__(self, answers: Sequence[Generated], records: Sequence[Record]) -> Scores:
        said = [text_of(answer).partition(" playing ") for answer in answers]
        instrument = [text.exact(s[0], r["meta/instrument"]) for s, r in zip(said, records, strict=True)]
        note = [text.exact(s[2], r["meta/note"]) for s, r in zip(said, records, strict=True)]
        return _mean_of(instrument=np.asarray(instrument), note=np.asarray(note))


class SoundMatch(_Plain):
    """Whether a generated sound plays the note that was asked for, on the instrument that was asked for.

    The note is measured (within 50 cents). The instrument is that of the nearest training sound, all of them passed
    through the codec, by features that do not depend on the pitch.
    """

    likelihood = False
    label = "mean of: note within 50 cents, instrument by its nearest training sound"

    def __init__(self, direction: Direction, records: Sequence[Record], context: Context) -> None:
        self.context = context
        train = context.train_records(direction)
        decoded = context.sounds([record["audio"] for record in train])
        features = [
            sounds.timbre(sound.samples, sound.rate, float(record["meta/midi"]))
            for sound, record in zip(decoded, train, strict=True)
        ]
        self.probe = probes.NeighbourProbe.fit(np.stack(features), [record["meta/instrument"] for record in train])
        instruments = len(set(self.probe.labels))
        self.note = (
            f"instrument read off by nearest neighbour among {len(train)} training sounds, {instruments} instruments"
        )

    def __call__(self, answers: Sequence[Generated], records: Sequence[Record]) -> Scores:
        spans = [media(answer, "audio")[:1] for answer in answers]
        note, instrument = np.zeros(len(records)), np.zeros(len(records))
        made = [i for i, span in enumerate(spans) if span]
        for i, sound in zip(made, self.context.sounds([spans[i][0] for i in made]), strict=True):
            found = sounds.pitch(sound.samples, sound.rate)
            note[i] = sounds.within_cents(found, float(records[i]["meta/midi"]))
            named = self.probe(sounds.timbre(sound.samples, sound.rate, found)[None])[0]
            instrument[i] = float(named == records[i]["meta/instrument"])
        return {**_mean_of(note=note, instrument=instrument), "both": note * instrument}


class MaskIoU(_Plain):
    """Overlap of the generated mask with the exact one of the drawing. No picture in the answer: 0."""

    likelihood = False
    label = "intersection over union with the exact mask"

    def __init__(self, direction: Direction, records: Sequence[Record], context: Context) -> None:
        self.context, self.direction = context, direction
        train = context.pictures([record["mask"] for record in context.train_records(direction, 400)])
        self.average = np.stack([picture_mask(p) for p in train]).mean(0) >= 0.5
        blind = [pictures.iou(pictures.resize_mask(self.average, *t.shape), t) for t in self._true(records)]
        self.note = f"the average training mask for every picture: {np.mean(blind):.3f}"

    def _true(self, records: Sequence[Record]) -> list[np.ndarray]:
        return self.context.raw_of(self.direction, records, "mask")

    def overlap(self, answers: Sequence[Generated], records: Sequence[Record]) -> np.ndarray:
        spans = [media(answer, "image")[-1:] for answer in answers]
        made = [i for i, span in enumerate(spans) if span]
        decoded = self.context.pictures([spans[i][0] for i in made]) if made else np.zeros((0, 1, 1, 3), np.uint8)
        values = np.zeros(len(records))
        true = self._true(records)
        for i, picture in zip(made, decoded, strict=True):
            values[i] = pictures.iou(pictures.resize_mask(picture_mask(picture), *true[i].shape), true[i])
        return values

    def __call__(self, answers: Sequence[Generated], records: Sequence[Record]) -> Scores:
        return {"value": self.overlap(answers, records)}


class InterleavedAnswer(MaskIoU):
    """An answer of text with a mask inside: the mask's overlap, the words, and whether it has that form at all."""

    label = "intersection over union of the mask inside the answer"

    def __call__(self, answers: Sequence[Generated], records: Sequence[Record]) -> Scores:
        targets = [Generated(tuple(self.direction.target(record))) for record in records]
        words = [text.word_f1(text_of(a), text_of(t)) for a, t in zip(answers, targets, strict=True)]
        formed = [[s.kind for s in a.segments] == ["text", "image"] and not a.error for a in answers]
        return {
            "value": self.overlap(answers, records),
            "words of the text (F1)": np.asarray(words),
            "text, then one picture": np.asarray(formed, np.float64),
        }


class PictureRank(_Ranked):
    """How near the generated picture is to the true one, against other held-out pictures, in a space of pixel features.

    A model that ignores its prompt cannot win: whatever it draws, the true picture is nearest once in 32 times.
    Two probes, fitted on training pictures, read attributes of the prompt off the picture: which of the five skin
    tones, where the prompt names one, and which group of emoji.
    """

    likelihood = False

    def __init__(self, direction: Direction, records: Sequence[Record], context: Context) -> None:
        size = min(context.config.eval.candidates, len(records))
        self.label = f"mean reciprocal rank of the true picture among {size}, by distance to the generated one"
        self.context, self.direction = context, direction
        self.sets = stats.candidate_sets(len(records), size, context.config.seed)
        train = context.train_records(direction)
        seen = context.pictures([record["image"] for record in train])
        self.space = pictures.FeatureSpace.fit(seen)
        toned = [i for i, record in enumerate(train) if record["meta/tone"] in TONES]
        self.tone = probes.RidgeProbe.fit(
            pictures.palette(seen[toned]), [train[i]["meta/tone"] for i in toned], penalty=100.0
        )
        self.group = probes.RidgeProbe.fit(self.space(seen), [r["meta/group"] for r in train], penalty=30.0)
        true = np.stack(context.raw_of(direction, records, "image"))
        self.true = self.space(true)
        self.note = f"a blind ranking has {np.mean(1 / np.arange(1, size + 1)):.3f}; colour, edges, outline, palette"

    def __call__(self, answers: Sequence[Generated], records: Sequence[Record]) -> Scores:
        spans = [media(answer, "image")[:1] for answer in answers]
        made = [i for i, span in enumerate(spans) if span]
        rank = np.full(len(records), 1.0 / self.sets.shape[1])
        toned = np.asarray([record["meta/tone"] in TONES for record in records])
        tone, group = np.where(toned, 0.0, np.nan), np.zeros(len(records))
        if made:
            drawn = self.context.pictures([spans[i][0] for i in made])
            features = self.space(drawn)
            distance = np.linalg.norm(self.true[self.sets[made]] - features[:, None], axis=-1)
            rank[made] = stats.reciprocal_ranks(-distance)
            read_tone = self.tone(pictures.palette(drawn))
            read_group = self.group(features)
            for k, i in enumerate(made):
                tone[i] = float(read_tone[k] == records[i]["meta/tone"]) if toned[i] else np.nan
                group[i] = float(read_group[k] == records[i]["meta/group"])
        return {
            "value": rank,
            "nearest of all": (rank == 1.0).astype(np.float64),
            "skin tone asked for": tone,
            "group of the emoji": group,
        }


class ShapeAndColour(_Plain):
    """Whether the generated picture shows the shape and the colour that were asked for, read off by fixed probes."""

    likelihood = False
    label = "mean accuracy of the drawn colour and the drawn shape"

    def __init__(self, direction: Direction, records: Sequence[Record], context: Context) -> None:
        self.context = context
        train = context.train_records(direction)
        seen = context.pictures([record["image"] for record in train])
        self.colour = pictures.ColourProbe.fit(seen, [record["meta/colour"] for record in train])
        self.shape = probes.RidgeProbe.fit(pictures.outline(seen), [record["meta/shape"] for record in train], 100.0)
        self.note = (
            f"{len(self.colour.names)} colours and {len(self.shape.labels)} shapes; nothing drawn counts as wrong"
        )

    def __call__(self, answers: Sequence[Generated], records: Sequence[Record]) -> Scores:
        spans = [media(answer, "image")[:1] for answer in answers]
        made = [i for i, span in enumerate(spans) if span]
        colour, shape = np.zeros(len(records)), np.zeros(len(records))
        if made:
            drawn = self.context.pictures([spans[i][0] for i in made])
            colour[made] = probes.accuracy(self.colour(drawn), [records[i]["meta/colour"] for i in made])
            shape[made] = probes.accuracy(self.shape(pictures.outline(drawn)), [records[i]["meta/shape"] for i in made])
            empty = ~pictures.foreground_of(drawn).any((1, 2))
            colour[np.asarray(made)[empty]] = shape[np.asarray(made)[empty]] = 0.0
        return {**_mean_of(colour=colour, shape=shape), "both": colour * shape}


def _mean_of(**parts: np.ndarray) -> Scores:
    """The parts, and their mean as the value."""
    return {"value": np.mean(list(parts.values()), 0), **parts}


METRICS: dict[str, Any] = {
    "caption_rank": CaptionRank,
    "answer": Answer,
    "sound_description": SoundDescription,
    "sound_match": SoundMatch,
    "mask_iou": MaskIoU,
    "interleaved_answer": InterleavedAnswer,
    "picture_rank": PictureRank,
    "shape_and_colour": ShapeAndColour,
    "transcription": Transcription,
    "speech_rank": SpeechRank,
}
