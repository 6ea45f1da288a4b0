"""Unified-IO 2's tasks and mixtures over the prepared sets: how a token record becomes a prompt and an answer.

Records must hold the pictures and sounds themselves (`data.keep_media`), which the encoders look at; answers are the
codes. Wordings are drawn from `prompts`; captions are lower-cased, as the released tasks do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mio_jax.config import AddedSet
from mio_jax.errors import MioError
from mio_jax.protocols import Segment, Whole
from mio_jax.recipes.unified_io2.prompts import clean, prefixed, prompt
from mio_tokenizers.base import Audio

Record = dict[str, Any]
Content = list[Segment]
Formatter = Callable[[Record, np.random.Generator, str], Content]

TEXT_CHARACTERS = 160  # of a text that is to be continued
# Wordings that no published task has: a mask of all that is drawn, a text and its continuation.
MASK = "Paint white what is drawn in <image_input> and black what is not."
CONTINUE = "Go on with this text: {}"


def says(*parts: Segment) -> Content:
    """What is to be said."""
    return [part._replace(supervised=True) for part in parts]


def text(value: str) -> Segment:
    return Segment("text", value)


def pixels(record: Record) -> Segment:
    return Segment("pixels", _raw(record, "image"))


def sound(record: Record) -> Segment:
    return Segment("sound", Audio(_raw(record, "audio").astype(np.float32) / 32767, int(record["raw/audio_rate"])))


def whole_text(value: str) -> Segment:
    """A text of an example that asks for nothing yet: a stage's denoising draws what is shown and what is asked for."""
    return Segment("whole_text", value)


def whole_image(record: Record) -> Segment:
    """The picture of such an example, with its codes; `Whole(picture, None)` for one that is never to be made."""
    return Segment("whole_image", Whole(_raw(record, "image"), record["image"]))


def whole_audio(record: Record) -> Segment:
    """The sound of such an example, with its codes."""
    return Segment("whole_audio", Whole(sound(record).value, record["audio"]))


def _raw(record: Record, name: str) -> np.ndarray:
    if f"raw/{name}" not in record:
        raise MioError(
            f"record {record.get('id')!r} has no {name} beside its codes, which Unified-IO 2's encoder looks at; set "
            f"data.keep_media to ('image', 'audio') and prepare the records again: mio data prepare --force"
        )
    media: np.ndarray = record[f"raw/{name}"]
    return media


# ------------------------------------------------------------------------------- what is asked, shared with directions


def ask_image(caption: str, rng: np.random.Generator | None = None) -> Content:
    return [text(prompt("text_to_image", clean(caption), rng=rng))]


def ask_caption(record: Record, rng: np.random.Generator | None = None) -> Content:
    return [text(prompt("image_captioning", rng=rng)), pixels(record)]


def ask_mask(record: Record) -> Content:
    return [text(prefixed(MASK, "image")), pixels(record)]


def ask_about_image(record: Record, question: str, rng: np.random.Generator | None = None) -> Content:
    return [text(prompt("vqa", clean(question), rng=rng)), pixels(record)]


def ask_sound(caption: str, rng: np.random.Generator | None = None) -> Content:
    return [text(prompt("text_to_audio", caption, rng=rng))]


def ask_sound_description(record: Record, rng: np.random.Generator | None = None) -> Content:
    return [text(prompt("audio_captioning", rng=rng)), sound(record)]


# ---------------------------------------------------------------------------------------------------------- formatters


def text_to_image(record: Record, rng: np.random.Generator, style: str) -> Content:
    return [*ask_image(record["caption"], rng), *says(Segment("image", record["image"]))]


def image_to_text(record: Record, rng: np.random.Generator, style: str) -> Content:
    return [*ask_caption(record, rng), *says(text(clean(record["caption"])))]


def image_to_mask(record: Record, rng: np.random.Generator, style: str) -> Content:
    return [*ask_mask(record), *says(Segment("image", record["mask"]))]


def text_to_sound(record: Record, rng: np.random.Generator, style: str) -> Content:
    return [*ask_sound(record["caption"], rng), *says(Segment("audio", record["audio"]))]


def sound_to_text(record: Record, rng: np.random.Generator, style: str) -> Content:
    return [*ask_sound_description(record, rng), *says(text(record["caption"]))]


def answer_question(record: Record, rng: np.random.Generator, style: str) -> Content:
    known = json.loads(record["questions"])
    question, answer = known[int(rng.integers(len(known)))]
    return [*ask_about_image(record, question, rng), *says(text(answer))]


def continue_text(record: Record, rng: np.random.Generator, style: str) -> Content:
    """A window of whole words; its first half is shown."""
    words = record["text"].split(" ")
    start = int(rng.integers(max(1, len(words) - TEXT_CHARACTERS // 6)))
    window = words[start : start + TEXT_CHARACTERS // 6]
    half = max(1, len(window) // 2)
    beginning, rest = " ".join(window[:half]), " ".join(window[half:]) or "."
    return [text(prefixed(CONTINUE.format(beginning), "text")), *says(text(rest))]


def image_and_caption(record: Record, rng: np.random.Generator, style: str) -> Content:
    return [whole_image(record), whole_text(clean(record["caption"]))]


def sound_and_caption(record: Record, rng: np.random.Generator, style: str) -> Content:
    return [whole_audio(record), whole_text(record["caption"])]


def document(record: Record, rng: np.random.Generator, style: str) -> Content:
    """Longer ones than a row has room for lose both ends where they are denoised."""
    return [whole_text(record["text"])]


# name -> (record set, formatter, what it teaches, inputs, outputs)
TASKS: dict[str, tuple[str, Formatter, str, str, str]] = {
    "uio2_openmoji_image_to_text": ("openmoji", image_to_text, "picture -> name", "image", "text"),
    "uio2_openmoji_text_to_image": ("openmoji", text_to_image, "name -> picture", "text", "image"),
    "uio2_openmoji_image_to_mask": ("openmoji", image_to_mask, "picture -> mask of what is drawn", "image", "image"),
    "uio2_instruments_text_to_audio": ("instruments", text_to_sound, "instrument, note -> sound", "text", "audio"),
    "uio2_instruments_audio_to_text": ("instruments", sound_to_text, "sound -> instrument, note", "audio", "text"),
    "uio2_easy_vqa_answer": ("easy_vqa", answer_question, "picture and question -> answer", "image text", "text"),
    "uio2_easy_vqa_shapes_image_to_text": ("easy_vqa", image_to_text, "shape -> its name", "image", "text"),
    "uio2_easy_vqa_shapes_text_to_image": ("easy_vqa", text_to_image, "name -> shape", "text", "image"),
    "uio2_text": ("text", continue_text, "English text and its continuation", "text", "text"),
    # Of pre-training: each part may be an input or what is to be restored.
    "uio2_openmoji_pairs": ("openmoji", image_and_caption, "picture and name", "image text", "image text"),
    "uio2_easy_vqa_shapes_pairs": ("easy_vqa", image_and_caption, "shape and name", "image text", "image text"),
    "uio2_instruments_pairs": ("instruments", sound_and_caption, "sound and name", "audio text", "audio text"),
    "uio2_documents": ("text", document, "English text", "text", "text"),
}


def has_caption(record: Record) -> bool:
    """The few easy-vqa pictures whose questions leave shape or colour open have none."""
    return bool(record["caption"])


USABLE = {name: has_caption for name in TASKS if name.startswith("uio2_easy_vqa_shapes_")}

# Rates are in examples.
MIXTURES: dict[str, tuple[tuple[str, float], ...]] = {
    "uio2_all": (
        ("uio2_openmoji_image_to_text", 3.0),
        ("uio2_openmoji_text_to_image", 4.0),
        ("uio2_openmoji_image_to_mask", 1.5),
        ("uio2_easy_vqa_shapes_image_to_text", 0.5),
        ("uio2_easy_vqa_shapes_text_to_image", 3.0),
        ("uio2_easy_vqa_answer", 4.0),
        ("uio2_instruments_text_to_audio", 4.0),
        ("uio2_instruments_audio_to_text", 2.0),
        ("uio2_text", 0.5),
    ),
    # For stages with objective "denoising".
    "uio2_quickstart_pretrain": (
        ("uio2_openmoji_pairs", 7.0),
        ("uio2_easy_vqa_shapes_pairs", 4.0),
        ("uio2_instruments_pairs", 6.0),
        ("uio2_documents", 1.0),
    ),
}


def register_tasks(records_dir: str, added: Sequence[AddedSet] = ()) -> None:
    """Puts every task and mixture above, and those of the published mixtures (`mixtures.catalogue`), in the registry.

    Over the records in `records_dir`; `added` are `config.data.added`. Idempotent.
    """
    from mio_jax.data.registry import add_table
    from mio_jax.recipes.unified_io2.mixtures.catalogue import register

    add_table(TASKS, MIXTURES, USABLE, records_dir)
    register(records_dir, added)
