"""Kinds of a whole picture: captions, questions, classes, conversations, and pictures that are made."""

from __future__ import annotations

import numpy as np

from mio_jax.protocols import Segment
from mio_jax.recipes.unified_io2 import augment
from mio_jax.recipes.unified_io2.kinds.parts import Kind, drawn, field, fits, frames, has, said, shown
from mio_jax.recipes.unified_io2.prompt_library import draw
from mio_jax.recipes.unified_io2.prompts import clean, maybe_unconditional
from mio_jax.recipes.unified_io2.tasks import Content, Record, says, text

Rng = np.random.Generator


def image_captioning(record: Record, rng: Rng, style: str) -> Content:
    return [text(draw("image_captioning", rng)), shown(record), *said(clean(drawn(field(record, "captions"), rng)))]


def noisy_captioning(record: Record, rng: Rng, style: str) -> Content:
    return [text(draw("noisy_captioning", rng)), shown(record), *said(clean(drawn(field(record, "captions"), rng)))]


def constrained_captioning(record: Record, rng: Rng, style: str) -> Content:
    """A caption with a number of words, a word in it, or a beginning that the prompt gives."""
    constraint = augment.caption_constraint(clean(drawn(field(record, "captions"), rng)), rng)
    asked = draw("constrained_captioning", rng, constraint.hint)
    return [text(asked), shown(record), *said(constraint.answer)]


def text_to_image(record: Record, rng: Rng, style: str) -> Content:
    """In a tenth of the draws the neutral prompt, which guidance needs."""
    asked = draw("text_to_image", rng, clean(drawn(field(record, "captions"), rng)))
    return [text(maybe_unconditional(asked, "image", rng)), *says(Segment("image", record["image"]))]


def image_editing(record: Record, rng: Rng, style: str) -> Content:
    return [
        text(draw("image_editing", rng, record["instruction"])),
        shown(record),
        *says(Segment("image", record["target"])),
    ]


def condition_to_image(record: Record, rng: Rng, style: str) -> Content:
    """A picture after what was computed of it, edges say, and its caption."""
    caption = clean(field(record, "captions")[0])
    asked = draw("condition_to_image", rng, condition=record["condition"], caption=caption)
    return [text(asked), shown(record), *says(Segment("image", record["target"]))]


def vqa(record: Record, rng: Rng, style: str) -> Content:
    question, answer = drawn(field(record, "questions"), rng)
    return [text(draw("vqa", rng, clean(question))), shown(record), *said(clean(answer))]


def vqa_choices(record: Record, rng: Rng, style: str) -> Content:
    """The choices in random order; the answer is one of them, word for word."""
    choices = [str(choice) for choice in field(record, "choices")]
    listed = ", ".join(choices[i] for i in rng.permutation(len(choices)))
    asked = draw("vqa_choices", rng, question=record["question"], choices=listed)
    return [text(asked), shown(record), *said(record["answer"])]


def true_or_false(record: Record, rng: Rng, style: str) -> Content:
    return [text(draw("true_or_false", rng, record["statement"])), shown(record), *said(record["answer"])]


def pair_true_or_false(record: Record, rng: Rng, style: str) -> Content:
    return [text(draw("pair_true_or_false", rng, record["statement"])), *frames(record), *said(record["answer"])]


def classification(record: Record, rng: Rng, style: str) -> Content:
    return [text(draw("classification", rng)), shown(record), *said(clean(record["label"]))]


def image_instruction(record: Record, rng: Rng, style: str) -> Content:
    """One turn of a conversation, with the turns before it in the prompt."""
    turns = field(record, "turns")
    at = int(rng.integers(len(turns)))
    before = " ".join(f"{asked} {answer}" for asked, answer in turns[:at])
    asked, answer = turns[at]
    return [text(draw("image_instruction", rng, f"{before} {asked}".strip())), shown(record), *said(answer)]


def _captioned_condition(record: Record) -> bool:
    return has("condition", "captions")(record) and all(field(record, "captions"))


KINDS: dict[str, Kind] = {
    "image_captioning": Kind(image_captioning, "picture -> caption", "image", "text", has("captions")),
    "noisy_captioning": Kind(noisy_captioning, "picture -> text of the web", "image", "text", has("captions")),
    "constrained_captioning": Kind(
        constrained_captioning, "picture, condition -> caption", "image text", "text", has("captions"), True
    ),
    "text_to_image": Kind(text_to_image, "caption -> picture", "text", "image", has("captions")),
    "image_editing": Kind(image_editing, "picture, wish -> changed picture", "image text", "image", has("instruction")),
    "condition_to_image": Kind(
        condition_to_image, "edges or the like, caption -> picture", "image text", "image", _captioned_condition
    ),
    "vqa": Kind(vqa, "picture, question -> answer", "image text", "text", has("questions")),
    "vqa_choices": Kind(
        vqa_choices, "picture, question, choices -> answer", "image text", "text", has("choices", "answer")
    ),
    "true_or_false": Kind(true_or_false, "picture, statement -> true or false", "image text", "text", has("statement")),
    "pair_true_or_false": Kind(
        pair_true_or_false, "two pictures, statement -> true or false", "image text", "text", has("statement")
    ),
    "classification": Kind(classification, "picture -> class", "image", "text", has("label")),
    "image_instruction": Kind(image_instruction, "picture, request -> answer", "image text", "text", fits("turns")),
}
