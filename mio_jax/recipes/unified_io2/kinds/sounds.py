"""Kinds of sound."""

from __future__ import annotations

import numpy as np

from mio_jax.recipes.unified_io2.kinds.parts import Kind, drawn, field, has, heard, said, to_hear
from mio_jax.recipes.unified_io2.prompt_library import draw
from mio_jax.recipes.unified_io2.prompts import clean, maybe_unconditional
from mio_jax.recipes.unified_io2.tasks import Content, Record, text
from mio_tokenizers.audio.mel import SEGMENT_SECONDS

Rng = np.random.Generator
LONGEST_SPEECH = SEGMENT_SECONDS + 0.1


def _words(record: Record, rng: Rng) -> str:
    """A caption, or the tags of a sound that has no caption."""
    if "captions" in record:
        return clean(drawn(field(record, "captions"), rng))
    return ", ".join(clean(tag) for tag in field(record, "tags"))


def audio_captioning(record: Record, rng: Rng, style: str) -> Content:
    return [text(draw("audio_captioning", rng)), *heard(record), *said(_words(record, rng))]


def audio_tagging(record: Record, rng: Rng, style: str) -> Content:
    return [text(draw("audio_tagging", rng)), *heard(record), *said(_words(record, rng))]


def text_to_audio(record: Record, rng: Rng, style: str) -> Content:
    """In a tenth of the draws the neutral prompt, which guidance needs."""
    asked = draw("text_to_audio", rng, _words(record, rng))
    return [text(maybe_unconditional(asked, "audio", rng)), *to_hear(record, rng)]


def speech(record: Record, rng: Rng, style: str) -> Content:
    return [text(draw("speech", rng, field(record, "captions")[0])), *to_hear(record, rng)]


def _one_segment(record: Record) -> bool:
    """Whole sentences alone: which words a part of a longer one speaks is not told."""
    seconds = record["raw/audio"].shape[-1] / int(record["raw/audio_rate"]) if "raw/audio" in record else 0.0
    return has("captions")(record) and seconds <= LONGEST_SPEECH


KINDS: dict[str, Kind] = {
    "audio_captioning": Kind(audio_captioning, "sound -> caption", "audio", "text", has("captions")),
    "audio_tagging": Kind(audio_tagging, "sound -> classes", "audio", "text", has("tags")),
    "text_to_audio": Kind(text_to_audio, "words -> sound", "text", "audio"),
    "speech": Kind(speech, "sentence -> speech", "text", "audio", _one_segment),
}
