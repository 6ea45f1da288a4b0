"""SEED-Tokenizer against the published one: every array of `seed_io.npz`, and the key map both ways."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from mio_jax.nn.base import apply, split_model
from mio_tokenizers.image.seed.key_map import Piece, from_published
from mio_tokenizers.image.seed.model import SeedModel
from mio_tokenizers.image.seed.positions import resize_positions
from mio_tokenizers.image.seed.settings import SeedSettings
from mio_tokenizers.image.seed.tokenizer import SeedTokenizer
from mio_tokenizers.quantize import codebook_loss, nearest
from mio_tokenizers.training.seed_losses import cosine_loss, distillation_loss
from mio_tokenizers.vq_tokenizer import CODEBOOK

FILES = ["seed_config.json", "seed_weights.safetensors", "seed_reverse_extra_weights.safetensors", "seed_io.npz"]
pytestmark = pytest.mark.golden_row("mio", "seed", files=FILES)
TOLERANCE = 1e-5  # relative to the array's largest number
SIZES = {field.name for field in dataclasses.fields(SeedSettings)}


class Fixture:
    def __init__(self, folder: Path) -> None:
        self.io = dict(np.load(folder / "seed_io.npz"))
        self.config = json.loads((folder / "seed_config.json").read_text())
        self.weights = load_file(folder / "seed_weights.safetensors")
        self.extra = load_file(folder / "seed_reverse_extra_weights.safetensors")
        down = tuple(len(self.weights[f"image_down.{i}.weight"]) for i in (0, 2, 4))  # which the config does not say
        self.settings = SeedSettings(**{k: v for k, v in self.config.items() if k in SIZES}, down=down)
        self.tokenizer = SeedTokenizer.from_published(self.settings, self.weights, "fixture")
        self.reverse_settings = dataclasses.replace(self.settings, head="reverse")
        self.reverse = SeedTokenizer.from_published(self.reverse_settings, self.weights | self.extra, "fixture")
        self.pictures = jnp.asarray(self.io["image"].transpose(0, 2, 3, 1))
        self.graphdef, _ = split_model(lambda key: SeedModel(self.settings, key))
        self.codebook = jnp.asarray(self.tokenizer.arrays[CODEBOOK])

    @property
    def model(self) -> SeedModel:
        return apply(self.graphdef, self.tokenizer._params)


@pytest.fixture(scope="module")
def fixture(golden: Any) -> Iterator[Fixture]:
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)  # at this size compiling takes all the time
    with jax.default_matmul_precision("highest"):
        yield Fixture(golden("mio"))
    jax.config.update("jax_disable_most_optimizations", before)


def close(ours: Any, theirs: np.ndarray) -> None:
    assert np.shape(ours) == theirs.shape
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=TOLERANCE * np.abs(theirs).max())


def test_every_array_is_checked(fixture: Fixture) -> None:
    assert set(fixture.config) <= SIZES | {"batch"}
    tables = {name for name in fixture.io if re.fullmatch(r"pos_embed_(\d+)x\1", name)}
    bidirectional = {name for name in fixture.io if re.fullmatch(r"qformer_out_\d+queries_bidirectional", name)}
    assert len(tables) == 2
    assert len(bidirectional) == 1
    assert set(fixture.io) - tables - bidirectional == {
        *("image", "patch_embed", "vit_out", "ln_vision_out", "qformer_out", "encode_task_out", "indices", "zq"),
        *("vq_loss_legacy", "decode_task_out", "blocks_image_out", "image_embeds", "recon_s", "loss_recon_s"),
        *("clip_target", "loss_distill_image", "rand_indices", "rand_image_embeds", "rev_image_embeds"),
    }


def test_from_picture_to_codes(fixture: Fixture) -> None:
    @jax.jit
    def run(pictures: jax.Array) -> dict[str, jax.Array]:
        trunk, model = fixture.model.trunk, fixture.model
        out = {"patch_embed": trunk.visual_encoder.embed(trunk.patches(pictures))}
        out["vit_out"] = trunk.visual_encoder.whole(trunk.patches(pictures))
        out["ln_vision_out"] = trunk.ln_vision(out["vit_out"])
        out["qformer_out"] = trunk(pictures)
        out["encode_task_out"] = model.latents(pictures)
        out["indices"] = nearest(out["encode_task_out"], fixture.codebook)
        return out

    made = run(fixture.pictures)
    np.testing.assert_array_equal(made.pop("indices"), fixture.io["indices"])
    for name, array in made.items():
        close(array, fixture.io[name])
    close(fixture.tokenizer.code_vectors(fixture.io["indices"]), fixture.io["zq"])


def test_any_other_number_of_queries_sees_in_both_directions(fixture: Fixture) -> None:
    (name,) = [name for name in fixture.io if "bidirectional" in name]
    count = fixture.io[name].shape[1]
    seen = jnp.asarray(fixture.io["ln_vision_out"])
    queries = fixture.model.trunk.query_tokens[...]
    run = jax.jit(lambda q, s: fixture.model.trunk.qformer(q, s))
    close(run(queries[:count], seen), fixture.io[name])
    # With all of them a query does not change when those behind it do; with one fewer it does.
    for number, changes in ((len(queries), False), (len(queries) - 1, True)):
        before = run(queries[:number], seen)
        after = run(queries[:number].at[-1].add(1.0), seen)
        assert bool(jnp.any(before[:, 0] != after[:, 0])) is changes


def test_from_codes_to_embedding(fixture: Fixture) -> None:
    io = fixture.io

    @jax.jit
    def run(vectors: jax.Array) -> dict[str, jax.Array]:
        model = fixture.model
        decoded = model.decode_task(vectors)
        return {
            "decode_task_out": decoded,
            "blocks_image_out": model.blocks_image(decoded),
            "image_embeds": model.rebuild(vectors),
            "recon_s": model.causal_tokens(vectors),
        }

    for name, array in run(jnp.asarray(io["zq"])).items():
        close(array, io[name])
    close(fixture.tokenizer.image_embedding(io["indices"]), io["image_embeds"])
    close(fixture.tokenizer.image_embedding(io["rand_indices"]), io["rand_image_embeds"])
    close(fixture.reverse.image_embedding(io["indices"]), io["rev_image_embeds"])


def test_losses(fixture: Fixture) -> None:
    io = {name: jnp.asarray(array) for name, array in fixture.io.items()}
    close(codebook_loss(io["encode_task_out"], io["zq"], beta=0.25, legacy=True), fixture.io["vq_loss_legacy"])
    close(cosine_loss(io["recon_s"], io["qformer_out"]), fixture.io["loss_recon_s"])
    close(distillation_loss(io["image_embeds"], io["clip_target"]), fixture.io["loss_distill_image"])


def test_position_tables_on_another_grid(fixture: Fixture) -> None:
    tables = {math.isqrt(a.shape[1] - 1): a[0] for name, a in fixture.io.items() if name.startswith("pos_embed_")}
    (small, before), (large, after) = sorted(tables.items())
    close(resize_positions(before, large), after)
    assert resize_positions(before, small) is before


def test_key_map_both_ways(fixture: Fixture) -> None:
    def real(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: array for name, array in arrays.items() if not name.endswith("position_ids")}

    for tokenizer, wanted in (
        (fixture.tokenizer, real(fixture.weights)),
        (
            fixture.reverse,
            {n: a for n, a in real(fixture.weights | fixture.extra).items() if not n.startswith("image_down.")},
        ),
    ):
        again = tokenizer.published_arrays()
        assert set(again) == set(wanted)
        for name, array in wanted.items():
            np.testing.assert_array_equal(again[name], array, err_msg=name)
    turned = fixture.weights["encode_task_layer.0.weight"]
    piece = Piece("encode_task.first.kernel", "encode_task_layer.0.weight")
    np.testing.assert_array_equal(from_published(piece, turned, turned.shape[::-1]), turned.T)
