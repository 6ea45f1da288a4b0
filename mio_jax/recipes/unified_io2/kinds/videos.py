"""Kinds of several frames: captions, actions, questions, and an object that is followed."""

from __future__ import annotations

import numpy as np

from mio_jax.data.media.placement import fit
from mio_jax.recipes.unified_io2.kinds.parts import Kind, drawn, field, frames, has, raw, said, shares
from mio_jax.recipes.unified_io2.preprocessing import FULL
from mio_jax.recipes.unified_io2.prompt_library import draw
from mio_jax.recipes.unified_io2.prompts import clean
from mio_jax.recipes.unified_io2.tasks import Content, Record, text
from mio_tokenizers.structured.extra_ids import write_box
from mio_tokenizers.structured.labelled import write_track

Rng = np.random.Generator


def video_captioning(record: Record, rng: Rng, style: str) -> Content:
    return [text(draw("video_captioning", rng)), *frames(record), *said(clean(drawn(field(record, "captions"), rng)))]


def video_tagging(record: Record, rng: Rng, style: str) -> Content:
    return [text(draw("video_tagging", rng)), *frames(record), *said(clean(record["label"]))]


def video_qa(record: Record, rng: Rng, style: str) -> Content:
    question, answer = drawn(field(record, "questions"), rng)
    return [text(draw("video_qa", rng, clean(question))), *frames(record), *said(clean(answer))]


def tracking(record: Record, rng: Rng, style: str) -> Content:
    """Boxes of the frames before are given, that of the last is asked for."""
    height, width = raw(record, "frames").shape[1:3]
    boxes, _ = shares(fit(height, width, FULL.image), field(record, "boxes"))
    asked = draw("tracking", rng, write_track(boxes[:-1], clean(record["label"])))
    return [text(asked), *frames(record), *said(write_box(boxes[-1]))]


KINDS: dict[str, Kind] = {
    "video_captioning": Kind(video_captioning, "video -> caption", "image", "text", has("captions")),
    "video_tagging": Kind(video_tagging, "video -> action", "image", "text", has("label")),
    "video_qa": Kind(video_qa, "video, question -> answer", "image text", "text", has("questions")),
    "tracking": Kind(tracking, "frames, boxes -> next box", "image text", "text", has("boxes", "label")),
}
