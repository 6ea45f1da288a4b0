"""Kinds of text alone."""

from __future__ import annotations

import numpy as np

from mio_jax.recipes.unified_io2.kinds.parts import Kind, fits, has, said
from mio_jax.recipes.unified_io2.prompt_library import draw
from mio_jax.recipes.unified_io2.prompts import TRUNCATE
from mio_jax.recipes.unified_io2.tasks import Content, Record, continue_text, text


def instruction(record: Record, rng: np.random.Generator, style: str) -> Content:
    """The instruction, behind its context where it has one."""
    # The mark of a cut would be taken for the prompt's own.
    asked, context = (record[name].replace(TRUNCATE, "") for name in ("instruction", "context"))
    if context:
        words = f"{context} {asked}" if rng.random() < 0.5 else f"{asked} {context}"
        return [text(draw("instruction", rng, words)), *said(record["response"])]
    return [text(draw("instruction", rng, asked)), *said(record["response"])]


def _usable(record: Record) -> bool:
    """FlanV2's translations and what has no room are left out, as the publication does."""
    whole = {"context": record.get("context", "")} | {
        name: record.get(name, "") for name in ("instruction", "response")
    }
    known = bool(whole["instruction"] and whole["response"])
    return (
        known
        and "translat" not in record.get("task", "").lower()
        and fits("words")({"words": " ".join(whole.values())})
    )


KINDS: dict[str, Kind] = {
    "language": Kind(continue_text, "a text and its continuation", "text", "text", has("text")),
    "instruction": Kind(instruction, "instruction -> answer", "text", "text", _usable),
}
