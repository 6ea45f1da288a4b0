"""Decoding against the reference: processors, greedy and beam search, on the arrays of `llama_io.npz` that they fill.

The rest of that file is checked by test_mio_llama.py.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.data.token_space import Block, TokenSpace
from mio_jax.generate import Engine, SamplingConfig
from mio_jax.generate.sampling import repetition_penalty, seen_table, temper, top_p
from mio_jax.nn.base import split_model
from mio_jax.nn.transformer import Decoder
from mio_jax.recipes.mio.checkpoint import import_params, read_spec

FILES = ["llama_config.json", "llama_weights.safetensors", "llama_io.npz"]
pytestmark = pytest.mark.golden_row("mio", "sampling", files=FILES)
HERE = {
    *("greedy", "greedy_rep115", "greedy_eos", "eos_used", "beam5", "beam5_rep115"),
    *("proc_in_scores", "proc_in_ids", "proc_rep115", "proc_rep115_t07", "proc_rep115_t07_topp07"),
}
SETTINGS = re.compile(r"(greedy|beam)(\d*)(?:_rep(\d+))?(_eos)?$")


class Fixture:
    def __init__(self, folder: Path) -> None:
        self.io = dict(np.load(folder / "llama_io.npz"))
        self.config = json.loads((folder / "llama_config.json").read_text())
        spec = read_spec(folder / "llama_config.json")
        graphdef, _ = split_model(lambda key: Decoder(spec, key))
        self.pad = self.config["pad_token_id"]
        space = TokenSpace(
            name="fixture",
            blocks=(Block("text", "text", 0, spec.vocab_size),),
            specials=(),
            spans=(),
            bos=self.config["bos_token_id"],
            eos=self.config["eos_token_id"],
            pad=self.pad,
        )
        params = import_params(folder / "llama_weights.safetensors", spec)
        self.engine = Engine(graphdef, params, space, spec, self.config["max_position_embeddings"])
        self.prompts = [
            ids[mask == 1] for ids, mask in zip(self.io["leftpad_ids"], self.io["leftpad_mask"], strict=True)
        ]


@pytest.fixture(scope="module")
def fixture(golden) -> Fixture:
    return Fixture(golden("mio"))


def number(digits: str) -> float:
    """ "115" is 1.15, "07" is 0.7: the first digit stands before the point."""
    return float(f"{digits[0]}.{digits[1:]}")


def test_every_array_is_answered_for(fixture: Fixture) -> None:
    elsewhere = ("ids", "logits", "hidden_states", "loss_", "labels_sft", "leftpad_", "packed_", "cached_last_logits")
    assert {name for name in fixture.io if not name.startswith(elsewhere) or name in HERE} == HERE


@pytest.mark.parametrize("name", ["greedy", "greedy_rep115", "greedy_eos", "beam5", "beam5_rep115"])
def test_tokens(fixture: Fixture, name: str) -> None:
    kind, beams, penalty, ends = SETTINGS.match(name).groups()
    theirs = fixture.io[name]
    prompt = fixture.io["leftpad_ids"]
    assert np.array_equal(theirs[:, : prompt.shape[1]], prompt)
    room = theirs.shape[1] - prompt.shape[1]
    sampling = SamplingConfig(
        greedy=kind == "greedy",
        num_beams=int(beams or 1),
        repetition_penalty=number(penalty) if penalty else 1.0,
        length_penalty=1.0,
        penalize_padding=True,
    )
    stops = [int(fixture.io["eos_used"])] if ends or kind == "beam" else []
    ours = fixture.engine.generate(fixture.prompts, sampling, max_new_tokens=room, stop_ids=stops)
    padded = np.full((len(ours), room), fixture.pad, np.int32)
    for row, new in zip(padded, ours, strict=True):
        row[: len(new)] = new
    assert np.array_equal(padded, theirs[:, prompt.shape[1] :])


def test_the_greedy_rows_show_what_the_stop_id_changes(fixture: Fixture) -> None:
    eos, start = int(fixture.io["eos_used"]), fixture.io["leftpad_ids"].shape[1]
    for free, stopped in zip(fixture.io["greedy"][:, start:], fixture.io["greedy_eos"][:, start:], strict=True):
        ends = [*np.flatnonzero(free == eos), len(free)][0]
        assert np.array_equal(stopped[: ends + 1], free[: ends + 1])
        assert np.all(stopped[ends + 1 :] == fixture.pad)
    assert (fixture.io["greedy"][:, start:] == eos).any(), "no row ever stops: the fixture checks nothing"


def test_processors(fixture: Fixture) -> None:
    io = fixture.io
    scores, ids = jnp.asarray(io["proc_in_scores"]), jnp.asarray(io["proc_in_ids"])
    seen = seen_table(ids, jnp.ones(ids.shape, bool), scores.shape[1])
    name = "proc_rep115_t07_topp07"
    penalty, temperature, p = (number(x) for x in re.match(r"proc_rep(\d+)_t(\d+)_topp(\d+)$", name).groups())
    penalised = repetition_penalty(scores, seen, penalty)
    np.testing.assert_allclose(penalised, io["proc_rep115"], rtol=1e-6)
    tempered = temper(penalised, temperature)
    np.testing.assert_allclose(tempered, io["proc_rep115_t07"], rtol=1e-6)
    np.testing.assert_allclose(top_p(tempered, np.float32(1 - p)), io[name], rtol=1e-6)
