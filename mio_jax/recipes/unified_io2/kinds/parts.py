"""What the kinds of task share: reading fields of a record, and writing boxes, pictures and sounds as segments."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mio_jax.data.media.placement import Placement, fit
from mio_jax.errors import MioError
from mio_jax.protocols import Segment
from mio_jax.recipes.unified_io2.preprocessing import FULL
from mio_jax.recipes.unified_io2.tasks import Content, Formatter, Record, says, text
from mio_tokenizers.audio.io import SILENCE
from mio_tokenizers.audio.mel import SEGMENT_SECONDS, segment_count, segments_of
from mio_tokenizers.base import Audio
from mio_tokenizers.structured.extra_ids import write_box

MOST_WORDS = 300  # of a text: longer ones do not fit beside their prompt


@dataclass(frozen=True)
class Kind:
    """A kind of task.

    Attributes:
      formatter: record, generator, style -> segments.
      says: what it teaches, for the catalogue.
      inputs, outputs: media, as words of one string.
      where: which records it can use; None: all.
      augmentation: whether it is one of the publication's task augmentations, which have a small share.
    """

    formatter: Formatter
    says: str
    inputs: str
    outputs: str
    where: Callable[[Record], bool] | None = None
    augmentation: bool = False


def field(record: Record, name: str) -> Any:
    """A list or dict of a record. Raises MioError naming the field that this kind of task needs."""
    if name not in record:
        raise MioError(
            f"record {record.get('id')!r} has no field {name!r}, which this kind of task needs; it has "
            f"{', '.join(sorted(record))}"
        )
    return json.loads(record[name])


def raw(record: Record, name: str) -> np.ndarray:
    """A medium as it is. Raises MioError where the record has its codes alone."""
    if f"raw/{name}" not in record:
        raise MioError(
            f"record {record.get('id')!r} has no {name} as it is, which the encoder looks at; put {name!r} into "
            "data.keep_media and prepare the records again: mio data prepare --force"
        )
    media: np.ndarray = record[f"raw/{name}"]
    return media


def drawn(items: Sequence[Any], rng: np.random.Generator) -> Any:
    return items[int(rng.integers(len(items)))]


def said(value: str) -> Content:
    """A text as the answer."""
    return says(text(value))


def shown(record: Record) -> Segment:
    return Segment("pixels", raw(record, "image"))


def frames(record: Record) -> Content:
    """The last frame as the picture, those before it as its history."""
    pictures = raw(record, "frames")
    return [Segment("pixels_history", list(pictures[:-1])), Segment("pixels", pictures[-1])]


def placed(record: Record) -> Placement:
    """Where the record's picture lies in the square that the published model sees."""
    height, width = raw(record, "image").shape[:2]
    return fit(height, width, FULL.image)


def shares(placement: Placement, boxes: Any) -> tuple[np.ndarray, np.ndarray]:
    """Boxes in pixels [n, 4] -> shares of the padded square [m, 4], and which of them are left, bool [n].

    Annotations reach beyond pictures: they are clipped, and those of which nothing is left are left out.
    """
    height, width = placement.source
    clipped = np.clip(np.asarray(boxes, np.float32).reshape(-1, 4), 0, [height, width, height, width])
    there: np.ndarray = np.all(clipped[:, 2:] > clipped[:, :2], axis=1)
    moved, kept = placement.boxes(clipped[there])
    there[there] = kept
    return moved / np.float32(FULL.image), there


def written(record: Record, box: Sequence[float]) -> str:
    """A box in pixels of the record's picture as four location tokens. MioError on a box of nothing."""
    made, kept = shares(placed(record), box)
    if not kept.all():
        raise MioError(f"record {record.get('id')!r}: the box {list(box)} covers nothing of its picture")
    return write_box(made[0])


def has_box(record: Record) -> bool:
    """Whether a record has a box in "box", or one at least in "boxes", of which something lies in its picture."""
    name = "box" if "box" in record else "boxes"
    return has(name)(record) and bool(shares(placed(record), field(record, name))[1].any())


def has(*names: str) -> Callable[[Record], bool]:
    """Which records have something in every one of these fields."""
    return lambda record: all(record.get(name) not in (None, "", "[]", "{}") for name in names)


def fits(*names: str) -> Callable[[Record], bool]:
    """Which records have texts in these fields, of at most MOST_WORDS words together."""
    return lambda record: has(*names)(record) and sum(len(record[name].split()) for name in names) <= MOST_WORDS


def sound(record: Record) -> Audio:
    return Audio(raw(record, "audio").astype(np.float32) / 32767, int(record["raw/audio_rate"]))


def heard(record: Record) -> Content:
    """A sound in segments of 4.08 s: the last as the sound, up to four before it as history; none that is silent."""
    audio = sound(record)
    cut = segments_of(audio.samples, audio.rate, SEGMENT_SECONDS)
    loud = [Audio(piece, audio.rate) for piece in cut if np.abs(piece).max() >= SILENCE]
    if not loud:  # what is heard lies behind the last whole segment
        loud = [Audio(audio.samples[-round(SEGMENT_SECONDS * audio.rate) :], audio.rate)]
    loud = loud[-1 - FULL.frames :]
    history = [Segment("sound_history", loud[:-1])] if loud[:-1] else []
    return [*history, Segment("sound", loud[-1])]


def to_hear(record: Record, rng: np.random.Generator) -> Content:
    """Codes of a sound as the answer: of a longer one a segment, for the model makes one at a time."""
    codes = segment_codes(record)
    return says(Segment("audio", codes[int(rng.integers(len(codes)))]))


def segment_codes(record: Record) -> list[np.ndarray]:
    """Codes of each segment of a record's sound. MioError on codes that do not fit its length."""
    audio, codes = sound(record), np.asarray(record["audio"])
    count = segment_count(len(audio.samples) / audio.rate, SEGMENT_SECONDS)
    if codes.shape[-1] % count:
        raise MioError(
            f"record {record.get('id')!r} has {codes.shape[-1]} codes for {count} segments of sound; prepare it again"
        )
    return np.split(codes, count, axis=-1)


def last_sound(record: Record) -> Audio:
    """The last segment of a sound, the one that belongs to the last frame of a video."""
    audio = sound(record)
    return Audio(segments_of(audio.samples, audio.rate, SEGMENT_SECONDS)[-1], audio.rate)


def loud_end(record: Record) -> bool:
    """Whether there is something to hear in the last segment."""
    return bool(np.abs(last_sound(record).samples).max() >= SILENCE)
