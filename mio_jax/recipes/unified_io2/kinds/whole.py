"""Kinds of pre-training: whole examples, in which the denoising objective picks what is asked for."""

from __future__ import annotations

import numpy as np

from mio_jax.protocols import Segment, Whole
from mio_jax.recipes.unified_io2.kinds.parts import (
    Kind,
    drawn,
    field,
    frames,
    has,
    heard,
    last_sound,
    loud_end,
    raw,
    segment_codes,
)
from mio_jax.recipes.unified_io2.tasks import Content, Record, document, whole_image, whole_text


def pair(record: Record, rng: np.random.Generator, style: str) -> Content:
    return [whole_image(record), whole_text(drawn(field(record, "captions"), rng))]


def seen_pair(record: Record, rng: np.random.Generator, style: str) -> Content:
    """The picture may be shown and left out, and is never made."""
    picture = Segment("whole_image", Whole(raw(record, "image"), None))
    return [picture, whole_text(drawn(field(record, "captions"), rng))]


def sound_pair(record: Record, rng: np.random.Generator, style: str) -> Content:
    """Words of a sound, which is shown in segments. It is not made: one segment of many has no words of its own."""
    return [*heard(record), whole_text(", ".join(field(record, "tags")))]


def video_pair(record: Record, rng: np.random.Generator, style: str) -> Content:
    return [*frames(record), whole_text(drawn(field(record, "captions"), rng))]


def heard_video(record: Record, rng: np.random.Generator, style: str) -> Content:
    """What is said in a video, which is seen and heard."""
    return [*frames(record), *heard(record), whole_text(drawn(field(record, "captions"), rng))]


def sounding_video(record: Record, rng: np.random.Generator, style: str) -> Content:
    """The sound that belongs to the last frame, restored from what is left of it and from all that is seen."""
    return [*frames(record), Segment("whole_audio", Whole(last_sound(record), segment_codes(record)[-1]))]


def interleaved(record: Record, rng: np.random.Generator, style: str) -> Content:
    """Several pictures, each marked where its caption stands (specification, section 14.2)."""
    captions = field(record, "captions")
    marks = [*(f"<image_history_{k}>" for k in range(1, len(captions))), "<image_input>"]
    said = " ".join(f"{mark} {caption}" for mark, caption in zip(marks, captions, strict=True))
    return [*frames(record), whole_text(said)]


def interleaved_document(record: Record, rng: np.random.Generator, style: str) -> Content:
    """Text and up to five pictures of a page, each marked where it stands; the last may be made (section 14.2)."""
    shown = raw(record, "frames")
    last = len(shown) - 1
    said = " ".join(_mark(part, last) if isinstance(part, int) else part for part in field(record, "parts"))
    history = [Segment("pixels_history", list(shown[:-1]))] if last else []
    return [*history, whole_image(record), whole_text(said)]


def _mark(number: int, last: int) -> str:
    return "<image_input>" if number == last else f"<image_history_{number + 1}>"


KINDS: dict[str, Kind] = {
    "document": Kind(document, "a text, denoised", "text", "text", has("text")),
    "pair": Kind(pair, "picture and text, denoised", "image text", "image text", has("captions")),
    "seen_pair": Kind(seen_pair, "the text of a picture, denoised", "image text", "text", has("captions")),
    "sound_pair": Kind(sound_pair, "the tags of a sound, denoised", "audio text", "text", has("tags")),
    "video_pair": Kind(video_pair, "the text of a video, denoised", "image text", "text", has("captions")),
    "heard_video": Kind(heard_video, "what is said in a video, denoised", "image audio text", "text", has("captions")),
    "sounding_video": Kind(sounding_video, "the sound of a video, denoised", "image audio", "audio", loud_end),
    "interleaved": Kind(interleaved, "texts among pictures, denoised", "image text", "text", has("captions")),
    "interleaved_document": Kind(
        interleaved_document, "a page with pictures, denoised", "image text", "image text", has("parts")
    ),
}
