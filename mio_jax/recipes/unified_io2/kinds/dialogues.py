"""Kinds of telling and talking: narratives, stories, dialogues, and answers with their reasons."""

from __future__ import annotations

import numpy as np

from mio_jax.recipes.unified_io2.kinds.parts import Kind, drawn, field, fits, frames, placed, said, shares, shown
from mio_jax.recipes.unified_io2.prompt_library import draw
from mio_jax.recipes.unified_io2.prompts import clean
from mio_jax.recipes.unified_io2.tasks import Content, Record, text
from mio_tokenizers.structured.labelled import write_labelled_boxes

Rng = np.random.Generator


def narrative(record: Record, rng: Rng, style: str) -> Content:
    """A long description, as somebody says it who looks from part to part."""
    return [text(draw("narrative", rng)), shown(record), *said(clean(drawn(field(record, "captions"), rng)))]


def story(record: Record, rng: Rng, style: str) -> Content:
    return [text(draw("story", rng)), *frames(record), *said(record["story"])]


def visual_dialog(record: Record, rng: Rng, style: str) -> Content:
    """One question of a dialogue, behind what was said before it."""
    turns = field(record, "turns")
    at = int(rng.integers(len(turns)))
    before = " ".join(f"{question} {answer}." for question, answer in turns[:at])
    dialogue = f"{clean(record['caption'])}. {before}".strip()
    question, answer = turns[at]
    asked = draw("visual_dialog", rng, dialogue=dialogue, question=question)
    return [text(asked), shown(record), *said(clean(answer))]


def grounded_choices(record: Record, rng: Rng, style: str) -> Content:
    """A question about things that boxes tell; the answer is one of the choices, word for word."""
    return _chosen("grounded_choices", record, rng, record["question"], "choices", record["answer"])


def grounded_reasons(record: Record, rng: Rng, style: str) -> Content:
    """Why the answer is right."""
    question = f"{record['question']} {record['answer']}"
    return _chosen("grounded_reasons", record, rng, question, "reasons", record["reason"])


def _chosen(kind: str, record: Record, rng: Rng, question: str, choices: str, answer: str) -> Content:
    known = field(record, choices)
    listed = " / ".join(known[i] for i in rng.permutation(len(known)))
    boxes, kept = shares(placed(record), field(record, "boxes"))
    labels = [label for label, keep in zip(field(record, "labels"), kept, strict=True) if keep]
    things = write_labelled_boxes(boxes, labels) if labels else "nothing"
    asked = draw(kind, rng, things=things, question=question, choices=listed)
    return [text(asked), shown(record), *said(answer)]


KINDS: dict[str, Kind] = {
    "narrative": Kind(narrative, "picture -> narrative", "image", "text", fits("captions")),
    "story": Kind(story, "pictures -> story", "image", "text", fits("story")),
    "visual_dialog": Kind(visual_dialog, "picture, dialogue -> answer", "image text", "text", fits("turns")),
    "grounded_choices": Kind(
        grounded_choices, "picture, things, question, choices -> answer", "image text", "text", fits("choices")
    ),
    "grounded_reasons": Kind(
        grounded_reasons, "picture, things, answer, choices -> reason", "image text", "text", fits("reasons")
    ),
}
