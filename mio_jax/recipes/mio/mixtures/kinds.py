"""Kinds of pre-training: tightly aligned pairs, text, and documents, in the publication's templates (section 4.1)."""

from __future__ import annotations

from mio_jax.recipes.mio.mixtures.parts import (
    Kind,
    Rng,
    can_be_spoken,
    caption_of,
    codes,
    field,
    frames_for,
    has,
    plain,
    scored,
    within,
)
from mio_jax.recipes.mio.tasks import Content, Record, audio, document, image, text, window

DOCUMENT_CHARACTERS = 7000  # of a text: about 1,750 of Yi's tokens, so that a row of 2,800 holds it and more


def caption(record: Record, rng: Rng, style: str) -> Content:
    said = caption_of(record, rng)
    return document(image(codes(record, "image")), text(f" The caption of this image is: {said}"))


def text_to_image(record: Record, rng: Rng, style: str) -> Content:
    said = caption_of(record, rng)
    return document(text(f"Please generate an image of ``{said}'': "), image(codes(record, "image")))


def video_caption(record: Record, rng: Rng, style: str) -> Content:
    said = caption_of(record, rng)
    return document(text("Please describe the following video: "), *frames_for(record, said), text(f" {said}"))


def text_to_video(record: Record, rng: Rng, style: str) -> Content:
    said = caption_of(record, rng)
    return document(text(f"Please generate a video for ``{said}'': "), *frames_for(record, said))


def transcription(record: Record, rng: Rng, style: str) -> Content:
    """As stages I and II ask; speech is listened to by its content layer alone."""
    said = plain(record["transcript"])
    return document(audio(codes(record, "audio")[:1]), text(f" Transcribe this speech: {said}"))


def transcription_3(record: Record, rng: Rng, style: str) -> Content:
    """As stage III asks."""
    said = plain(record["transcript"])
    return document(audio(codes(record, "audio")[:1]), text(f" The transcription of this speech is: {said}"))


def speech(record: Record, rng: Rng, style: str) -> Content:
    said = plain(record["transcript"])
    return document(text(f"Please generate a speech of ``{said}'': "), audio(codes(record, "audio")))


def language(record: Record, rng: Rng, style: str) -> Content:
    """A window of whole words."""
    return document(text(window(plain(record["text"]), rng, DOCUMENT_CHARACTERS)))


def interleaved(record: Record, rng: Rng, style: str) -> Content:
    """A document's texts and pictures in their order, without pictures that do not fit their text."""
    kept, pictures = scored(record), codes(record, "pictures")
    parts: Content = []
    for part in field(record, "parts"):
        if isinstance(part, str):
            parts.append(text(f" {plain(part)} " if parts else f"{plain(part)} "))
        elif part in kept:
            parts.append(image(pictures[part]))
    return document(*within(parts))


def _has_picture(record: Record) -> bool:
    return bool(scored(record))


KINDS: dict[str, Kind] = {
    "caption": Kind(caption, "picture -> caption", "image", "text", has("captions")),
    "text_to_image": Kind(text_to_image, "caption -> picture", "text", "image", has("captions")),
    "video_caption": Kind(video_caption, "4 to 8 frames -> description", "image", "text", has("captions")),
    "text_to_video": Kind(text_to_video, "description -> 4 to 8 frames", "text", "image", has("captions")),
    "transcription": Kind(transcription, "speech -> words", "audio", "text", has("transcript")),
    "transcription_3": Kind(
        transcription_3, "speech -> words, in stage III's words", "audio", "text", has("transcript")
    ),
    "speech": Kind(speech, "words -> speech", "text", "audio", can_be_spoken),
    "language": Kind(language, "text", "text", "text", has("text")),
    "interleaved": Kind(interleaved, "texts and pictures in turns", "image text", "image text", _has_picture),
}
