"""The vocabulary table: the published one, one that fits tokenizers, and reading it from a checkpoint."""

from __future__ import annotations

import json
import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mio_jax.errors import MioError
from mio_jax.recipes.mio import tokens
from tests.recipes.mio import fakes


def added_table(order: tuple[str, ...] = ("image", "speech")) -> dict[str, int]:
    """What a checkpoint's added_tokens.json holds, written out by hand."""
    table = {"[SPCH]": 64000, "</spch>": 64001, "[IMG]": 64002, "<spch>": 64003, "</image>": 64004, "<image>": 64005}
    blocks = {"image": [f"<img{k}>" for k in range(8192)], "speech": [f"<spch{k}>" for k in range(4096)]}
    for token in [token for kind in order for token in blocks[kind]]:
        table[token] = 64006 + len(table) - 6
    return table


def test_published_numbers() -> None:
    space = tokens.published_token_space(("image", "speech"))
    assert space.vocab_size == 76294
    assert [space.special(t) for t in tokens.ADDED_TOKENS] == [64000, 64001, 64002, 64003, 64004, 64005]
    assert (space.bos, space.eos, space.pad, space.special("<|im_end|>")) == (1, 2, 0, 7)
    assert (space.block("image").start, space.block("speech").start) == (64006, 72198)
    assert space.block("speech").codes_per_layer == 1024
    assert space.span("image").length == 32
    swapped = tokens.published_token_space(("speech", "image"))
    assert (swapped.block("speech").start, swapped.block("image").start) == (64006, 68102)


def test_space_of_tokenizers() -> None:
    space = tokens.token_space(fakes.tokenizers())
    assert space == fakes.space()
    assert space.vocab_size == 272 + 6 + 10 + 10
    assert space.block("speech").layers == 2


def test_codec_with_layers_of_unequal_size_leaves_ids_unused() -> None:
    some = fakes.tokenizers()
    some.audio.layer_sizes = (5, 3)
    assert tokens.token_space(some).block("speech").codes_per_layer == 5


def test_location_tokens_come_last() -> None:
    space = tokens.mio_token_space(100, 10, 4, 10, 2, locations=7)
    assert space.block("location").start == 126
    assert space.vocab_size == 133


def test_sentinels_come_behind_everything_and_only_where_asked_for() -> None:
    space = tokens.mio_token_space(100, 10, 4, 10, 2, locations=7, sentinels=5)
    assert (space.block("sentinel").start, space.vocab_size) == (133, 138)
    assert space.modality_ids(np.asarray([137])).tolist() == [0]
    some = fakes.tokenizers()
    plain = tokens.token_space(some)
    some.sentinels = 3
    assert tokens.token_space(some).vocab_size == plain.vocab_size + 3


@pytest.mark.parametrize("order", [("image", "speech"), ("speech", "image")])
def test_order_is_read_from_the_checkpoint(order: tuple[str, ...], tmp_path: pathlib.Path) -> None:
    (tmp_path / "added_tokens.json").write_text(json.dumps(added_table(order)))
    assert tokens.space_from_checkpoint(tmp_path) == tokens.published_token_space(order)


def test_other_files_hold_the_table_too(tmp_path: pathlib.Path) -> None:
    decoder = {str(i): {"content": token} for token, i in added_table().items()}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": decoder}))
    assert tokens.space_from_checkpoint(tmp_path) == tokens.published_token_space(("image", "speech"))
    entries = [{"id": i, "content": token} for token, i in added_table().items()]
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": entries}))
    assert tokens.space_from_checkpoint(tmp_path) == tokens.published_token_space(("image", "speech"))


def test_order_is_never_guessed(tmp_path: pathlib.Path) -> None:
    with pytest.raises(MioError, match="never guessed"):
        tokens.space_from_checkpoint(tmp_path)


def test_files_that_disagree(tmp_path: pathlib.Path) -> None:
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<image>": 5}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": {"6": {"content": "<image>"}}}))
    with pytest.raises(MioError, match="another file"):
        tokens.read_added_tokens(tmp_path)


def test_damaged_table(tmp_path: pathlib.Path) -> None:
    (tmp_path / "added_tokens.json").write_text("{")
    with pytest.raises(MioError, match="not a table"):
        tokens.read_added_tokens(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"<img7>": None}, "contiguous"),
        ({"<img7>": 99999}, "contiguous"),
        ({"<image>": None}, "lacks"),
        ({"<image>": 64004, "</image>": 64005}, "expects 64004"),
        ({f"<spch{k}>": None for k in range(4096)}, "<spchN>"),
    ],
)
def test_tables_that_are_not_mios(change: dict[str, int | None], message: str) -> None:
    table = {token: i for token, i in {**added_table(), **change}.items() if i is not None}
    with pytest.raises(MioError, match=message):
        tokens.space_from_added_tokens(table)


@pytest.mark.parametrize("order", [("image",), ("image", "image"), ("image", "speech", "text")])
def test_bad_order(order: tuple[str, ...]) -> None:
    with pytest.raises(MioError, match="once each"):
        tokens.mio_token_space(100, order=order)


@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 2**31))
def test_unflatten_inverts_flattening(layers: int, frames: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 7, (layers, frames)).astype(np.int32)
    flat = (codes + 7 * np.arange(layers)[:, None]).reshape(-1)
    again, problem = tokens.unflatten(flat, layers, 7)
    assert problem == ""
    np.testing.assert_array_equal(again, codes)
    if layers > 1:
        assert tokens.unflatten(flat[:-1], layers, 7)[1]
        assert tokens.unflatten(flat[::-1], layers, 7)[1]
