"""AnyGPT's media strings and chat prompts, against the published code's."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mio_jax.errors import MioError
from mio_jax.recipes.mio import relatives
from mio_jax.recipes.mio.prompts import tokenize
from mio_jax.recipes.mio.relatives import Medium, Relative
from tests.parity.test_mio_prompts import numbers

pytestmark = pytest.mark.golden_row("mio", "anygpt")

ROLES = {"u": "user", "a": "assistant"}


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Path]) -> dict[str, Any]:
    return json.loads((golden("mio") / "anygpt.json").read_text(encoding="utf-8"))


def media_of(fixture: dict[str, Any]) -> tuple[Medium, ...]:
    """The media that the fixture describes, in its sizes; how they are flattened is this project's own table."""
    made = []
    for name, told in fixture["modalities"].items():
        known = relatives.RELATIVES["anygpt"].medium(name)
        codes = fixture["tokens"][name]
        layers = len(codes) if isinstance(codes[0], list) else 1
        own = known._replace(codes=told["vocab_size"], open=told["sos"], close=told["eos"], layers=layers)
        made.append(own._replace(token_format=f"<{told['prefix']}{{}}>"))
    return tuple(made)


def relative_of(template: str, media: tuple[Medium, ...]) -> Relative:
    known = relatives.RELATIVES[template.lower()]
    return dataclasses.replace(known, media=media)


def check(fixture: dict[str, Any]) -> None:
    media = media_of(fixture)
    assert set(fixture["strings"]) == set(fixture["tokens"]) == {one.name for one in media}
    for one in media:
        codes, string = fixture["tokens"][one.name], fixture["strings"][one.name]
        assert relatives.media_string(one, codes) == string
        np.testing.assert_array_equal(relatives.parse_media_string(one, string), np.atleast_2d(codes))
        # Ids follow from the table: the opening tag, the codes in the order of the string, the closing tag.
        space = relatives.space_of(relatives.anygpt(media=media))
        block = space.block(one.name)
        written = [int(n) for n in re.findall(r"(\d+)>", string)]
        ids = tokenize(string, space, lambda text: pytest.fail(f"{text!r} is no token"))
        assert ids == [space.special(one.open), *(block.start + n for n in written), space.special(one.close)]
    assert fixture["prompts"]
    for case in fixture["prompts"]:
        relative = relative_of(case["template"], media)
        turns = [(ROLES[role], said) for role, said in case["messages"]]
        assert relatives.prompt_of(relative, turns, case["force"] or "") == case["prompt"]


def test_strings_and_prompts(fixture: dict[str, Any]) -> None:
    check(fixture)


def test_the_published_tables_are_the_fixtures(fixture: dict[str, Any]) -> None:
    """Tags and prefixes do not depend on sizes, so those of the project's own table must be the fixture's."""
    for one in media_of(fixture):
        known = relatives.RELATIVES["anygpt"].medium(one.name)
        assert (known.token_format, known.open, known.close) == (one.token_format, one.open, one.close)


def test_changing_a_number_is_noticed(fixture: dict[str, Any]) -> None:
    for path in numbers({"tokens": fixture["tokens"]}):  # a larger codebook may write the same strings
        changed = copy.deepcopy(fixture)
        node = changed
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] += 1
        try:
            check(changed)
        except (AssertionError, MioError):
            continue
        pytest.fail(f"nothing noticed a change at {path}")
