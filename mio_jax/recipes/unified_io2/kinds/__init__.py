"""Kinds of task: how a record of any set with the right fields becomes a prompt and an answer.

A kind knows fields, not sets: a set of one's own that yields "image" and "captions" is trained as COCO is.
"""

from __future__ import annotations

from mio_jax.recipes.unified_io2.kinds import (
    dense,
    dialogues,
    language,
    pictures,
    regions,
    robots,
    sounds,
    space,
    videos,
    whole,
)
from mio_jax.recipes.unified_io2.kinds.parts import Kind

KINDS: dict[str, Kind] = {
    **whole.KINDS,
    **language.KINDS,
    **pictures.KINDS,
    **regions.KINDS,
    **dense.KINDS,
    **dialogues.KINDS,
    **space.KINDS,
    **sounds.KINDS,
    **videos.KINDS,
    **robots.KINDS,
}
