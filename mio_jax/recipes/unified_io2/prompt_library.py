"""Wordings of every kind of task in the published mixtures, several each, all written for this project.

They stand beside those of `prompts.TEMPLATES`, which the small sets draw from alone; a draw is uniform over both
(specification, section 17).
"""

from __future__ import annotations

import numpy as np

from mio_jax.errors import MioError
from mio_jax.recipes.unified_io2.prompt_tables import TABLES
from mio_jax.recipes.unified_io2.prompts import TEMPLATES, fill, prefixed


def wordings(kind: str) -> tuple[str, tuple[str, ...]]:
    """(medium of the answer, all wordings) of a kind. Raises MioError naming the kinds that there are."""
    known = {**TEMPLATES, **TABLES}
    if kind not in known:
        raise MioError(f"there are no wordings of {kind!r}; there are: {', '.join(sorted(known))}")
    modality = known[kind][0]
    return modality, (*TEMPLATES.get(kind, ("", ()))[1], *TABLES.get(kind, ("", ()))[1])


def draw(kind: str, rng: np.random.Generator, *value: str, **values: str) -> str:
    """A wording of a kind with its placeholders filled, behind the prefix that names the answer's medium."""
    modality, known = wordings(kind)
    return prefixed(fill(known[int(rng.integers(len(known)))], *value, **values), modality)
