"""Which raw examples of a set are worth preparing: sides, language, scores, seconds (`data.filters`).

Each transform looks at one example and says what is wrong with it, "" if nothing. Those that are turned away are set
aside with that reason, like examples that cannot be read, so nothing disappears uncounted.
"""

from __future__ import annotations

import fnmatch
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from mio_jax.config import FilterConfig
from mio_jax.errors import MioError

Example = Mapping[str, Any]

PICTURES = ("image", "target")
TEXTS = ("captions", "caption", "text", "texts", "transcript", "instruction")  # the first that an example has


def aspect_ratio(example: Example, most: float) -> str:
    """Pictures whose longer side is more than `most` times the shorter one."""
    for name in PICTURES:
        if name in example:
            height, width = example[name].shape[:2]
            ratio = max(height, width) / min(height, width)
            if ratio > most:
                return f"its {name} of {width} x {height} has an aspect ratio of {ratio:.2f}, above {most:g}"
    return ""


def shortest_side(example: Example, least: int) -> str:
    """Pictures with a side of fewer than `least` pixels."""
    for name in PICTURES:
        if name in example and min(example[name].shape[:2]) < least:
            height, width = example[name].shape[:2]
            return f"its {name} of {width} x {height} has a side below {least}"
    return ""


def duration(example: Example, most: float) -> str:
    """Sounds of more than `most` seconds."""
    if "audio" not in example:
        return ""
    seconds = len(example["audio"].samples) / example["audio"].rate
    return f"its sound lasts {seconds:.1f} s, more than {most:g}" if seconds > most else ""


def score(example: Example, name: str, least: float) -> str:
    """A score that the user has put beside each example, in a column of the set (`told`) or a field, below `least`."""
    value = {**example, **example.get("told", {})}.get(name)
    if value is None:
        return (
            f"it has no score {name!r}, which a filter asks for; put that column into the set, or take the filter out "
            "of data.filters"
        )
    try:
        number = float(value)
    except (TypeError, ValueError):
        return f"its score {name!r} is {value!r}, which is no number"
    return f"its score {name!r} is {number:g}, below {least:g}" if not number >= least else ""


def language(example: Example, wanted: str) -> str:
    """Texts in another language than `wanted` ("en"), as the detector of the package py3langid has it."""
    found = next((example[name] for name in TEXTS if name in example), None)
    text = " ".join(map(str, found)) if isinstance(found, Sequence) and not isinstance(found, str) else found
    if not text:
        return "it has no text whose language could be told"
    guess = _detector().classify(str(text))[0]
    return f"its text is in {guess!r}, not in {wanted!r}" if guess != wanted else ""


@functools.lru_cache(maxsize=1)
def _detector() -> Any:
    try:
        import py3langid
    except ImportError as error:
        raise MioError(
            "a filter asks for a language: pip install 'mio_jax[language]', or set its language empty"
        ) from error
    return py3langid


def of_set(filters: Sequence[FilterConfig], name: str) -> tuple[FilterConfig, ...]:
    """Those that apply to the set of this name."""
    return tuple(one for one in filters if any(fnmatch.fnmatchcase(name, pattern) for pattern in one.sets))


def turned_away(example: Example, filters: Sequence[FilterConfig]) -> str:
    """Why the first of these filters does not want an example, "" if all do.

    Raises MioError where a language is asked for and its detector is not installed.
    """
    for one in filters:
        checks = (
            aspect_ratio(example, one.max_aspect or math.inf),
            shortest_side(example, one.min_side),
            duration(example, one.max_seconds or math.inf),
            score(example, one.score, one.min_score) if one.score else "",
            language(example, one.language) if one.language else "",
        )
        reason = next(filter(None, checks), "")
        if reason:
            return reason
    return ""
