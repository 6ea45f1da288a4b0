"""Vocabulary growth: new rows as asked for, old logits as they were, and tables that do not continue a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.cli.main import main
from mio_jax.errors import MioError
from mio_jax.nn.base import apply, split_model
from mio_jax.nn.transformer import Decoder, DecoderSpec
from mio_jax.recipes.mio.checkpoint import export_params, import_params, read_spec
from mio_jax.recipes.mio.growth import NewRows, added_table, grow_checkpoint, table_for, write_added_tokens
from mio_jax.recipes.mio.tokens import (
    check_weights,
    mio_token_space,
    published_token_space,
    space_from_checkpoint,
)
from tests.recipes.mio.test_model_checkpoint import SPEC, TIED, draw

TABLE = {"<new0>": 10, "<new1>": 11, "<new2>": 12, "<s>": 1}


def logits(folder: Path, ids: list[int]) -> np.ndarray:
    spec = read_spec(folder)
    graphdef, _ = split_model(lambda key: Decoder(spec, key))
    model = apply(graphdef, jax.tree.map(jnp.asarray, import_params(folder, spec)))
    tokens = jnp.asarray([ids], jnp.int32)
    states = model.hidden(tokens, jnp.arange(len(ids))[None], None)
    return np.asarray(model.logits(states))[0]


@pytest.mark.parametrize("init", ["normal", "mean", "mean_noise"])
@pytest.mark.parametrize(("spec", "shard"), [(SPEC, 1500), (TIED, 1 << 30)])
def test_old_logits_do_not_change(spec: DecoderSpec, shard: int, init: str, tmp_path: Path) -> None:
    params = draw(spec)
    export_params(params, spec, tmp_path / "base", max_shard_bytes=shard)
    (tmp_path / "base" / "tokenizer_config.json").write_text("{}")
    rows = NewRows(init, std=0.1, seed=3)
    assert grow_checkpoint(tmp_path / "base", tmp_path / "grown", TABLE, rows, max_shard_bytes=shard) == 3
    grown = import_params(tmp_path / "grown", read_spec(tmp_path / "grown"))
    if init == "mean_noise":  # running the model costs seconds, and what the other rows hold makes no difference
        ids = [1, 4, 9, 0, 3]
        old, new = logits(tmp_path / "base", ids), logits(tmp_path / "grown", ids)
        assert new.shape == (5, 13)
        np.testing.assert_allclose(new[:, :10], old, rtol=1e-6, atol=1e-6)
    for name in ("embed",) if spec.tie_embeddings else ("embed", "head"):
        np.testing.assert_array_equal(grown[name][:10], params[name])
        added, mean = grown[name][10:], params[name].mean(axis=0)
        if init == "mean":
            np.testing.assert_allclose(added, np.tile(mean, (3, 1)), rtol=1e-5, atol=1e-6)
        else:
            left = added - (mean if init == "mean_noise" else 0)
            assert 0.05 < left.std() < 0.2
    if not spec.tie_embeddings and init != "mean":
        assert not np.allclose(grown["embed"][10:], grown["head"][10:])
    assert json.loads((tmp_path / "grown" / "added_tokens.json").read_text()) == TABLE
    assert (tmp_path / "grown" / "tokenizer_config.json").is_file()


def test_what_does_not_continue_a_checkpoint_is_one_line(tmp_path: Path) -> None:
    export_params(draw(SPEC), SPEC, tmp_path / "base")

    def refused(table: dict[str, int], match: str) -> None:
        with pytest.raises(MioError, match=match) as caught:
            grow_checkpoint(tmp_path / "base", tmp_path / "grown", table)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "grown").exists()

    refused({"<a>": 10, "<b>": 12}, "leaves id 11 unnamed")
    refused({"<a>": 11}, "leaves id 10 unnamed")
    refused({"<a>": 3}, "nothing to add")
    refused({"<a>": 10, "<b>": 10}, "'<b>' at id 10, which '<a>' has")
    refused({"<a>": -1}, "at id -1")
    with pytest.raises(MioError, match="init is 'zero'"):
        NewRows("zero")
    with pytest.raises(MioError, match="cannot read the model's config"):
        grow_checkpoint(tmp_path, tmp_path / "grown", TABLE)
    config = tmp_path / "base" / "config.json"
    config.write_text(config.read_text().replace('"vocab_size": 10', '"vocab_size": 9'))
    refused(TABLE, "config.json says vocab_size 9, model.embed_tokens.weight has 10 rows")


def test_the_command_grows_by_a_space_or_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export_params(draw(SPEC), SPEC, tmp_path / "base")
    words = ["weights", "grow", str(tmp_path / "base"), "--out"]
    assert main([*words, str(tmp_path / "mio"), "--space", "mio", "--order", "speech", "image"]) == 0
    assert "with 12,294 new rows (normal) for 12,294 added tokens" in capsys.readouterr().out
    space = space_from_checkpoint(tmp_path / "mio")
    assert space == mio_token_space(10, order=("speech", "image"))
    assert read_spec(tmp_path / "mio").vocab_size == space.vocab_size
    # The list of a grown checkpoint grows another one alike.
    assert main([*words, str(tmp_path / "again"), "--added", str(tmp_path / "mio")]) == 0
    assert space_from_checkpoint(tmp_path / "again") == space
    capsys.readouterr()
    for wrong, match in (
        (["--space", "mio"], "needs --order"),
        (["--space", "anygpt"], "has 10 rows; anygpt's tokens follow a text vocabulary of 32000"),
        (["--space", "emova"], "there are: mio, anygpt"),
        (["--added", str(tmp_path / "mio"), "--order", "image", "speech"], "what the table says"),
    ):
        assert main([*words, str(tmp_path / "wrong"), *wrong]) == 2
        assert match in capsys.readouterr().err
    with pytest.raises(MioError, match="must name 'image' and 'speech'"):
        table_for(tmp_path / "base", "", "mio", ("image", "image"))


def test_the_order_of_a_checkpoint_is_read_and_never_guessed(tmp_path: Path) -> None:
    image_first, speech_first = (published_token_space(order) for order in (("image", "speech"), ("speech", "image")))
    none, given = SimpleNamespace(added_tokens=""), SimpleNamespace(added_tokens=str(tmp_path))
    with pytest.raises(MioError, match="has no added-token table, so whether"):
        check_weights(tmp_path, image_first, none)
    check_weights(tmp_path, image_first, given)  # the config says which table holds
    check_weights(tmp_path, mio_token_space(100), none)  # no published vocabulary
    write_added_tokens(speech_first, tmp_path)
    check_weights(tmp_path, speech_first, none)
    with pytest.raises(MioError, match="have their speech ids from 64006 to 68101, this run from 72198 to 76293"):
        check_weights(tmp_path / "model.safetensors", image_first, none)
    assert len(added_table(image_first)) == 12_294
    (tmp_path / "added_tokens.json").write_text('{"<pad>": 3}')
    check_weights(tmp_path, image_first, none)  # a text model's own specials say nothing of media
