"""Kinds of several frames: captions, actions, questions, and an object that is followed."""

from __future__ import annotations

import numpy as np

from mio_jax.data.media.placement import fit
from mio_jax.protocols import Segment
from mio_jax.recipes.unified_io2.kinds.parts import (
    Kind,
    drawn,
    field,
    frames,
    has,
    loud_end,
    raw,
    said,
    segment_codes,
    shares,
)
from mio_jax.recipes.unified_io2.preprocessing import FULL
from mio_jax.recipes.unified_io2.prompt_library import draw
from mio_jax.recipes.unified_io2.prompts import clean
from mio_jax.recipes.unified_io2.tasks import Content, Record, says, text
from mio_tokenizers.structured.extra_ids import write_box
from mio_tokenizers.structured.labelled import write_labelled_boxes, write_track

Rng = np.random.Generator
MOST_PEOPLE = 12  # of a frame: more do not fit into an answer


def video_captioning(record: Record, rng: Rng, style: str) -> Content:
    return [text(draw("video_captioning", rng)), *frames(record), *said(clean(drawn(field(record, "captions"), rng)))]


def video_tagging(record: Record, rng: Rng, style: str) -> Content:
    return [text(draw("video_tagging", rng)), *frames(record), *said(clean(record["label"]))]


def video_qa(record: Record, rng: Rng, style: str) -> Content:
    question, answer = drawn(field(record, "questions"), rng)
    return [text(draw("video_qa", rng, clean(question))), *frames(record), *said(clean(answer))]


def tracking(record: Record, rng: Rng, style: str) -> Content:
    """Boxes of the frames before are given, that of the last is asked for."""
    boxes, _ = _boxes(record)
    asked = draw("tracking", rng, write_track(boxes[:-1], clean(record["label"])))
    return [text(asked), *frames(record), *said(write_box(boxes[-1]))]


def _boxes(record: Record) -> tuple[np.ndarray, np.ndarray]:
    height, width = raw(record, "frames").shape[1:3]
    return shares(fit(height, width, FULL.image), field(record, "boxes"))


def _seen_throughout(record: Record) -> bool:
    return bool(_boxes(record)[1].all())


def action_localization(record: Record, rng: Rng, style: str) -> Content:
    """Everybody in the middle one of the frames, which stands as the picture, with what they do."""
    pictures = raw(record, "frames")
    middle = len(pictures) // 2
    boxes, kept = _boxes(record)
    labels = [clean(label) for label, keep in zip(field(record, "labels"), kept, strict=True) if keep]
    order = rng.permutation(len(boxes))[:MOST_PEOPLE]
    return [
        text(draw("action_localization", rng)),
        Segment("pixels_history", [*pictures[:middle], *pictures[middle + 1 :]]),
        Segment("pixels", pictures[middle]),
        *said(write_labelled_boxes(boxes[order], [labels[i] for i in order])),
    ]


def _someone(record: Record) -> bool:
    return bool(_boxes(record)[1].any())


def audio_from_video(record: Record, rng: Rng, style: str) -> Content:
    """The sound that belongs to the last frame."""
    return [
        text(draw("audio_from_video", rng)),
        *frames(record),
        *says(Segment("audio", segment_codes(record)[-1])),
    ]


KINDS: dict[str, Kind] = {
    "video_captioning": Kind(video_captioning, "video -> caption", "image", "text", has("captions")),
    "video_tagging": Kind(video_tagging, "video -> action", "image", "text", has("label")),
    "video_qa": Kind(video_qa, "video, question -> answer", "image text", "text", has("questions")),
    "tracking": Kind(tracking, "frames, boxes -> next box", "image text", "text", _seen_throughout),
    "action_localization": Kind(action_localization, "video -> people and what they do", "image", "text", _someone),
    "audio_from_video": Kind(audio_from_video, "video -> sound", "image", "audio", loud_end),
}
