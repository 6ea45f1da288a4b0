"""Token tables of AnyGPT and SEED-LLaMA: laid out, read from a checkpoint's list, and refused where it is another."""

from __future__ import annotations

import numpy as np
import pytest

from mio_jax.errors import MioError
from mio_jax.recipes.mio.prompts import render, tokenize
from mio_jax.recipes.mio.relatives import (
    RELATIVES,
    media_string,
    parse_media_string,
    prompt_of,
    relative_space,
    space_of,
)


def table_of(name: str) -> dict[str, int]:
    """The list of added tokens that a checkpoint would have beside it."""
    space = space_of(RELATIVES[name])
    table = {token: i for token, i in space.specials if i >= 32_000}
    for block in space.blocks:
        if block.token_format:
            table |= {block.token_format.format(n): block.start + n for n in range(block.size)}
    return table


@pytest.mark.parametrize("name", RELATIVES)
def test_a_table_is_laid_out_and_read_back(name: str) -> None:
    relative = RELATIVES[name]
    space = space_of(relative)
    assert relative_space(relative, table_of(name)) == space
    image = space.block("image")
    assert (image.size, space.span("image").length) == (8192, 32)
    string = media_string(relative.medium("image"), np.arange(8160, 8192))
    ids = tokenize(string, space, lambda text: pytest.fail(text))
    span = space.span("image")
    assert ids == [span.open, *range(image.start + 8160, image.start + 8192), span.close]
    assert render(ids, space, lambda ids: pytest.fail("no text here")) == string


def test_seed_llama_ids_and_prompts() -> None:
    space = space_of(RELATIVES["seed_llama_8b"])
    assert tokenize("<img_00000><img_08191>", space, list) == [32_000, 40_191]
    assert tokenize("<img_7>", space, lambda text: [len(text)]) == [7]  # five digits, or it is text
    ask = [("user", "What is this?")]
    assert prompt_of(RELATIVES["seed_llama_8b"], ask) == "<s>USER: What is this?\nASSISTANT:"
    assert prompt_of(RELATIVES["seed_llama_14b"], ask) == "<s>[INST] What is this? [/INST]\n"
    with pytest.raises(MioError, match="is not published"):
        prompt_of(RELATIVES["seed_llama_8b"], [*ask, ("assistant", "A dog.")])


def test_anygpt_has_its_media_in_order() -> None:
    space = space_of(RELATIVES["anygpt"])
    assert space.special("[Human]") == 32_000
    image, speech, music = (space.block(name) for name in ("image", "speech", "music"))
    assert space.span("image").open == image.stop
    assert speech.start == image.stop + 2
    assert music.start == speech.stop + 2
    assert space.vocab_size == music.stop + 2 == 32_000 + 6 + 8192 + 1024 + 8192 + 6


def test_another_order_is_read_and_a_hole_is_refused() -> None:
    relative, table = RELATIVES["seed_llama_8b"], table_of("seed_llama_8b")
    moved = {token: (i + 2 if token.startswith("<img_") else i - 8192) for token, i in table.items()}
    assert relative_space(relative, moved).block("image").start == 32_002
    with pytest.raises(MioError, match="<img_00007> is missing"):
        relative_space(relative, {token: i for token, i in table.items() if token != "<img_00007>"})
    with pytest.raises(MioError, match="lacks '</img>'"):
        relative_space(relative, {token: i for token, i in table.items() if token != "</img>"})
    with pytest.raises(MioError, match=r"leaves ids 40192\.\.40199 unnamed"):
        relative_space(relative, table | {"<img>": 40_200, "</img>": 40_201})


def test_damaged_strings_are_refused() -> None:
    music = RELATIVES["anygpt"].medium("music")
    codes = np.arange(8).reshape(4, 2)
    string = media_string(music, codes)
    assert string.startswith("<somu><🎶0><🎶2050>")
    np.testing.assert_array_equal(parse_media_string(music, string), codes)
    for wrong in (string[:-6], string.replace("<🎶2050>", ""), string.replace("<🎶0><🎶2050>", "<🎶2050><🎶0>")):
        with pytest.raises(MioError):
            parse_media_string(music, wrong)
    with pytest.raises(MioError, match="4 layers are needed"):
        media_string(music, codes[:2])
