"""MIO's tasks and mixtures over the prepared sets: how a token record becomes a pre-training document or a chat.

Base style uses MIO's training templates (specification 4.1), chat style its published user wordings (4.2). Sounds are
not speech, so the two speech wordings are turned to sounds ("transcription" -> "description"); the paper gives none for
segmentation masks and interleaved answers, so those are ours. Chats carry no system turn: `encode` puts it in.

Each pair has one task a direction, so a mixture's rates say how often the picture comes first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mio_jax.config import AddedSet
from mio_jax.protocols import Segment
from mio_jax.recipes.mio.prompts import ASSISTANT_STARTER, USER_STARTER
from mio_jax.recipes.mio.tokens import EOS, TURN_CLOSE

Record = dict[str, Any]
Content = list[Segment]
Formatter = Callable[[Record, np.random.Generator, str], Content]

LANGUAGES = {"de": "German", "es": "Spanish", "fr": "French", "it": "Italian", "pt": "Portuguese", "zh": "Chinese"}
ENGLISH_SHARE = 0.85  # of the captions; the other languages share the rest
QUESTIONS = 6  # at most, about one picture
TEXT_CHARACTERS = 600  # of a text document: a third of what a row of 384 tokens can hold, so that documents pack well


def text(value: str) -> Segment:
    return Segment("text", value)


def image(codes: Any) -> Segment:
    return Segment("image", codes)


def audio(codes: Any) -> Segment:
    return Segment("audio", codes)


def document(*parts: Segment) -> Content:
    """A pre-training document: everything is learned, the end token included."""
    return [*parts, text(EOS)]


def question(*parts: Segment) -> Content:
    """A user turn and the opening of the reply: what is shown to the model before it answers."""
    return [text(USER_STARTER), *parts, text(f"{TURN_CLOSE}\n{ASSISTANT_STARTER}")]


def chat(user: Content, reply: Content) -> Content:
    """One exchange; the reply and its closing token are supervised."""
    return [*question(*user), *(s._replace(supervised=True) for s in [*reply, text(TURN_CLOSE)])]


def pick_caption(record: Record, rng: np.random.Generator) -> tuple[str, str]:
    """(language name or "" for English, caption). Records without translations are English."""
    captions = json.loads(record["captions"]) if "captions" in record else {}
    others = sorted(language for language in captions if language in LANGUAGES)
    if not others or rng.random() < ENGLISH_SHARE:
        return "", record["caption"]
    language = others[int(rng.integers(len(others)))]
    return LANGUAGES[language], captions[language]


# ------------------------------------------------------------------- user turns and replies, shared with directions


def ask_caption(codes: Any, language: str = "") -> Content:
    wording = (
        f"Provide a one-sentence caption in {language} for the provided image.\n"
        if language
        else ("Provide a one-sentence caption for the provided image.\n")
    )
    return [text(wording), image(codes)]


def ask_image(caption: str) -> Content:
    return [text(f"Please generate an image according to the caption.\n{caption}")]


def ask_mask(codes: Any) -> Content:
    return [text("Please generate the mask of this image.\n"), image(codes)]


def ask_what_and_where(codes: Any) -> Content:
    return [text("What is this, and where is it?\n"), image(codes)]


def reply_what_and_where(caption: str, mask_codes: Any) -> Content:
    return [text(f"This is {caption}. It is here: "), image(mask_codes)]


def ask_sound(caption: str) -> Content:
    return [text(f"Please generate a sound according to the given description.\n{caption}")]


def ask_sound_description(codes: Any) -> Content:
    return [text("Please describe this sound.\n"), audio(codes)]


def ask_about_image(query: str, codes: Any) -> Content:
    return [text(f"{query}\n"), image(codes)]


# ---------------------------------------------------------------------------------------------------- formatters


def image_to_text(record: Record, rng: np.random.Generator, style: str) -> Content:
    language, caption = pick_caption(record, rng)
    if style == "chat":
        return chat(ask_caption(record["image"], language), [text(caption)])
    where = f" in {language}" if language else ""
    return document(image(record["image"]), text(f" The caption of this image{where} is: {caption}"))


def text_to_image(record: Record, rng: np.random.Generator, style: str) -> Content:
    _, caption = pick_caption(record, rng)
    if style == "chat":
        return chat(ask_image(caption), [image(record["image"])])
    return document(text(f"Please generate an image of ``{caption}'': "), image(record["image"]))


def image_to_mask(record: Record, rng: np.random.Generator, style: str) -> Content:
    if style == "chat":
        return chat(ask_mask(record["image"]), [image(record["mask"])])
    return document(image(record["image"]), text(" The mask of this image is: "), image(record["mask"]))


def interleaved(record: Record, rng: np.random.Generator, style: str) -> Content:
    """Documents in which pictures and text take turns; as a chat, an answer with a picture inside."""
    if style == "chat":
        reply = reply_what_and_where(record["caption"], record["mask"])
        return chat(ask_what_and_where(record["image"]), reply)
    _, caption = pick_caption(record, rng)
    picture, mask = image(record["image"]), image(record["mask"])
    form = int(rng.integers(3))
    if form == 0:
        return document(text(f"This is {caption}: "), picture, text(" It is here: "), mask)
    if form == 1:
        return document(picture, text(f" This is {caption}. It is here: "), mask)
    return document(text("Here: "), mask, text(f" there is {caption}: "), picture)


def sound_to_text(record: Record, rng: np.random.Generator, style: str) -> Content:
    if style == "chat":
        return chat(ask_sound_description(record["audio"]), [text(record["caption"])])
    return document(audio(record["audio"]), text(f" The description of this sound is: {record['caption']}"))


def text_to_sound(record: Record, rng: np.random.Generator, style: str) -> Content:
    if style == "chat":
        return chat(ask_sound(record["caption"]), [audio(record["audio"])])
    return document(text(f"Please generate a sound of ``{record['caption']}'': "), audio(record["audio"]))


def answer_question(record: Record, rng: np.random.Generator, style: str) -> Content:
    """Several questions about one picture: its 64 codes are read once and answer all of them."""
    known = json.loads(record["questions"])
    chosen = [known[i] for i in rng.permutation(len(known))[:QUESTIONS]]
    if style == "base":
        asked = "".join(f" Question: {query} Answer: {answer}" for query, answer in chosen)
        return document(image(record["image"]), text(asked))
    (first, answer), *more = chosen
    turns = chat(ask_about_image(first, record["image"]), [text(answer)])
    for query, answer in more:
        turns += [text("\n"), *chat([text(query)], [text(answer)])]
    return turns


def plain_text(record: Record, rng: np.random.Generator, style: str) -> Content:
    """A window of whole words; as a chat, its beginning is shown and its continuation asked for."""
    value = window(record["text"], rng, TEXT_CHARACTERS)
    if style == "base":
        return document(text(value))
    words = value.split(" ")
    half = max(1, len(words) // 2)
    beginning, rest = " ".join(words[:half]), " ".join(words[half:])
    return chat([text(f"Please continue this text.\n{beginning}")], [text(rest or ".")])


def window(value: str, rng: np.random.Generator, length: int) -> str:
    """At most `length` characters of `value` from a random word on."""
    if len(value) <= length:
        return value
    start = int(rng.integers(len(value) - length + 1))
    if start:
        start = value.find(" ", start) + 1 or start
    end = start + length
    if end < len(value):
        space = value.rfind(" ", start, end)
        end = space if space > start else end
    return value[start:end]


# name -> (record set, formatter, what it teaches, inputs, outputs)
TASKS: dict[str, tuple[str, Formatter, str, str, str]] = {
    "mio_openmoji_image_to_text": ("openmoji", image_to_text, "picture -> name, seven languages", "image", "text"),
    "mio_openmoji_text_to_image": ("openmoji", text_to_image, "name -> picture", "text", "image"),
    "mio_openmoji_image_to_mask": ("openmoji", image_to_mask, "picture -> mask of what is drawn", "image", "image"),
    "mio_openmoji_interleaved": (
        "openmoji",
        interleaved,
        "name, picture and mask in turns",
        "image text",
        "text image",
    ),
    "mio_instruments_text_to_audio": ("instruments", text_to_sound, "instrument, note -> sound", "text", "audio"),
    "mio_instruments_audio_to_text": ("instruments", sound_to_text, "sound -> instrument, note", "audio", "text"),
    "mio_easy_vqa_answer": ("easy_vqa", answer_question, "picture and question -> answer", "image text", "text"),
    "mio_easy_vqa_shapes_image_to_text": ("easy_vqa", image_to_text, "shape -> its name", "image", "text"),
    "mio_easy_vqa_shapes_text_to_image": ("easy_vqa", text_to_image, "name -> shape", "text", "image"),
    "mio_text": ("text", plain_text, "English text", "text", "text"),
}


def has_caption(record: Record) -> bool:
    """The few easy-vqa pictures whose questions leave shape or colour open have none."""
    return bool(record["caption"])


USABLE = {"mio_easy_vqa_shapes_image_to_text": has_caption, "mio_easy_vqa_shapes_text_to_image": has_caption}

# Rates are in examples.
MIXTURES: dict[str, tuple[tuple[str, float], ...]] = {
    "mio_pairs": (
        ("mio_openmoji_image_to_text", 2.0),
        ("mio_openmoji_text_to_image", 3.0),
        ("mio_openmoji_image_to_mask", 1.0),
        ("mio_easy_vqa_shapes_image_to_text", 0.5),
        ("mio_easy_vqa_shapes_text_to_image", 2.0),
        ("mio_easy_vqa_answer", 1.5),
    ),
    "mio_pictures": (  # names and pictures alone, both ways
        ("mio_openmoji_image_to_text", 3.0),
        ("mio_openmoji_text_to_image", 4.0),
        ("mio_easy_vqa_shapes_image_to_text", 0.5),
        ("mio_easy_vqa_shapes_text_to_image", 2.0),
    ),
    "mio_interleaved": (("mio_openmoji_interleaved", 1.0),),
    "mio_audio": (("mio_instruments_text_to_audio", 2.0), ("mio_instruments_audio_to_text", 1.0)),
    "mio_sft": (
        # Only replies carry loss: a name has a tenth of a picture's tokens, so recognition is asked for more often.
        ("mio_openmoji_image_to_text", 4.0),
        ("mio_openmoji_text_to_image", 4.0),
        ("mio_openmoji_image_to_mask", 1.0),
        ("mio_openmoji_interleaved", 1.5),
        ("mio_easy_vqa_shapes_image_to_text", 0.5),
        ("mio_easy_vqa_shapes_text_to_image", 3.0),
        ("mio_easy_vqa_answer", 3.0),
        ("mio_instruments_text_to_audio", 4.0),
        ("mio_instruments_audio_to_text", 1.5),
        ("mio_text", 0.25),
    ),
    "mio_all": tuple((name, 1.0) for name in TASKS),
}


def register_tasks(records_dir: str, added: Sequence[AddedSet] = ()) -> None:
    """Puts every task and mixture above, and those of the published stages (`mixtures.catalogue`), in the registry.

    Over the records in `records_dir`; `added` are `config.data.added`. Idempotent.
    """
    from mio_jax.data.registry import add_table
    from mio_jax.recipes.mio.mixtures.catalogue import register

    add_table(TASKS, MIXTURES, USABLE, records_dir)
    register(records_dir, added)
