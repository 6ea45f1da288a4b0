"""Parts of Unified-IO 2: ViT, AST, histories, the resampler alone, sparse masks, rotary tables, and the key maps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.nn.base import apply, init_params, split_model
from mio_jax.nn.resampler import Resampler
from mio_jax.recipes.unified_io2.checkpoint import _resampler, export_params, import_params, published_tensors
from mio_jax.recipes.unified_io2.model import UnifiedIO2
from mio_jax.recipes.unified_io2.names import make_leaves, put, resampler_entries
from mio_jax.recipes.unified_io2.patterns import code_patterns, grid_patterns, shown
from mio_jax.recipes.unified_io2.positions import code_angles, history_angles, patch_angles, text_angles
from tests.parity.uio2 import NAME, Fixtures, assert_close, erf, rows_of


@pytest.fixture(scope="module")
def fixtures(golden: Callable[[str], Path]) -> Fixtures:
    return Fixtures(golden(NAME))


@pytest.mark.golden_row(NAME, "features", files=["feature_extractors.npz"])
def test_feature_extractors(fixtures: Fixtures) -> None:
    arrays, batch, model = fixtures.arrays("feature_extractors"), fixtures.batch("all_to_all"), fixtures.model()
    seen = set()

    def check(name: str, ours: jax.Array, mask: jax.Array) -> None:
        seen.add(name)
        assert_close(ours, arrays[name], mask, what=name)

    def features(model: UnifiedIO2, port: UnifiedIO2, batch: dict[str, jax.Array], medium: str) -> tuple[Any, ...]:
        vit, name = getattr(model, f"{medium}_features"), f"input_{medium}"
        patches, mask, ids = (batch[f"inputs/{medium}/{x}"] for x in ("input", "mask", "pos_ids"))
        histories = [getattr(m, f"{name}_history")(batch, vit) for m in (port, model)]
        return vit(medium, patches, mask.astype(bool), ids), getattr(model, name)(batch, vit), histories

    run = jax.jit(features, static_argnames="medium")
    for medium, kind in (("image", "vit"), ("audio", "ast")):
        mask = batch[f"inputs/{medium}/mask"]
        states, embedded, histories = run(model, fixtures.model(erf(fixtures.spec)), batch, medium=medium)
        for which, ours in zip(("last", "second"), states, strict=True):
            check(f"{medium}_{kind}_{which}", ours, mask)
        check(f"{medium}_embed", embedded.states, mask)
        for suffix, history in zip(("", ".jax"), histories, strict=True):
            check(f"{medium}_history_embed{suffix}", history.states, history.mask)
        assert np.array_equal(history.mask, arrays[f"{medium}_history_mask"])
        check(f"{medium}_history_position_embed", rows_of(history.angles), history.mask)
        seen.add(f"{medium}_history_mask")
    assert set(arrays) == seen


@pytest.mark.golden_row(NAME, "perceiver", files=["perceiver.npz"])
@pytest.mark.parametrize("variant", ["qknorm", "scaledcosine"])
def test_resampler(fixtures: Fixtures, variant: str) -> None:
    arrays = {
        name.split(".", 1)[1]: x for name, x in fixtures.arrays("perceiver").items() if name.startswith(f"{variant}.")
    }
    spec = _resampler(fixtures.config["perceiver_configs"][variant], "config.json")
    shapes = jax.eval_shape(lambda: init_params(lambda key: Resampler(spec, key), jax.random.key(0)))
    params: dict = {}
    names = set()
    for leaf in make_leaves(resampler_entries("param.", (), spec.qk), shapes):
        parts = [leaf.to_ours(arrays[key], False) for key in leaf.keys]
        put(params, leaf.entry.path, jnp.asarray(np.stack(parts) if leaf.stacked else parts[0]))
        names |= set(leaf.keys)
    for suffix, mlp in (("", "gelu"), (".jax", "gelu_tanh")):
        own = dataclasses.replace(spec, mlp=mlp)
        model = apply(split_model(lambda key, own=own: Resampler(own, key))[0], params)
        run = jax.jit(lambda m, x, mask: m(x, mask))
        assert_close(run(model, arrays["x"], arrays["mask"] == 1), arrays[f"out{suffix}"], what=f"out{suffix}")
        assert_close(run(model, arrays["x"], None), arrays[f"out_nomask{suffix}"], what=f"out_nomask{suffix}")
    outs = {f"out{mask}{suffix}" for mask in ("", "_nomask") for suffix in ("", ".jax")}
    assert set(arrays) == names | outs | {"x", "mask"}


MASKS = pytest.mark.golden_row(NAME, "masks_and_rope", files=["decoder_masks_and_rope.npz"])


@MASKS
def test_rotary_tables(fixtures: Fixtures) -> None:
    arrays, spec = fixtures.arrays("decoder_masks_and_rope"), fixtures.spec
    for name in ("text_pos_emb_cache", "input_text_pos_emb_cache"):
        assert_close(rows_of(text_angles(spec, jnp.arange(len(arrays[name])))), arrays[name], what=name)
    for name in ("image", "audio"):
        theirs = arrays[f"{name}_pos_emb_cache"]
        assert len(theirs) == spec.tokens_of(name)
        assert_close(rows_of(code_angles(spec, name, jnp.arange(len(theirs)))), theirs, what=f"target {name}")
        theirs = arrays[f"input_{name}_pos_emb_cache"]
        assert_close(rows_of(patch_angles(spec, name, jnp.arange(len(theirs)))), theirs, what=f"input {name}")
        theirs = arrays[f"input_{name}_history_pos_emb_cache"]
        ours = rows_of(history_angles(spec, f"{name}_history", spec.history_slots))
        assert_close(ours.reshape(theirs.shape), theirs, what=f"{name} history")


@MASKS
@pytest.mark.parametrize("modality", ["image", "audio"])
def test_sparse_patterns_and_the_dynamic_mask(fixtures: Fixtures, modality: str) -> None:
    arrays, batch = fixtures.arrays("decoder_masks_and_rope"), fixtures.batch("all_to_all")
    spec = dataclasses.replace(fixtures.spec, sparse_patterns=True, dynamic_mask=True)
    length, columns = spec.tokens_of(modality), spec.target_grid(modality)[1]
    assert np.array_equal(grid_patterns(length, columns), arrays[f"{modality}_patterns_row_col_conv_full"])
    task = arrays[f"{modality}_task_mask"]
    assert np.array_equal(task, batch[f"targets/{modality}/task_mask"])
    combined = np.asarray(code_patterns(spec, modality, jnp.asarray(task))) & np.tril(np.ones((length, length), bool))
    assert np.array_equal(combined.swapaxes(0, 1), arrays[f"{modality}_dynamic_combined"])
    alone = dataclasses.replace(spec, sparse_patterns=False)
    assert np.array_equal(code_patterns(alone, modality, jnp.asarray(task))[0], shown(jnp.asarray(task)))
    assert np.array_equal(batch[f"targets/{modality}/codes"] + 2, arrays[f"{modality}_target_tokens"])
    ours = fixtures.model().embed_targets({k: v for k, v in batch.items() if f"targets/{modality}/" in k})
    assert_close(ours.row.states, arrays[f"{modality}_input_embedding"], ours.row.mask)


@MASKS
@pytest.mark.parametrize(("name", "rows", "columns"), [("image32x32", 32, 32), ("audio32x16", 32, 16)])
def test_patterns_of_full_size(fixtures: Fixtures, name: str, rows: int, columns: int) -> None:
    arrays = fixtures.arrays("decoder_masks_and_rope")
    for kind, pattern in zip(("row", "col", "conv"), grid_patterns(rows * columns, columns), strict=False):
        assert np.array_equal(pattern.sum(axis=1), arrays[f"{name}_{kind}_rowsums"])
        assert np.array_equal(pattern.sum(axis=0), arrays[f"{name}_{kind}_colsums"])


@MASKS
def test_every_array_is_answered_for(fixtures: Fixtures) -> None:
    sums = {
        f"{name}_{kind}_{side}sums"
        for name in ("image32x32", "audio32x16")
        for kind in ("row", "col", "conv")
        for side in ("row", "col")
    }
    both = ("patterns_row_col_conv_full", "pos_emb_cache", "dynamic_combined", "task_mask", "input_embedding")
    both += ("target_tokens",)
    tables = {"text_pos_emb_cache", "input_text_pos_emb_cache"}
    tables |= {f"input_{name}{part}_pos_emb_cache" for name in ("image", "audio") for part in ("", "_history")}
    codes = {f"{name}_{what}" for name in ("image", "audio") for what in both}
    assert set(fixtures.arrays("decoder_masks_and_rope")) == sums | tables | codes


KEYS = pytest.mark.golden_row(NAME, "t5x_params", files=["t5x_params.npz", "state_dict.npz"])


@KEYS
def test_both_names_give_the_same_parameters(fixtures: Fixtures) -> None:
    t5x = import_params(fixtures.folder / "t5x_params.npz", fixtures.spec)
    same = jax.tree.map(np.array_equal, fixtures.imported.params, t5x.params)
    assert all(jax.tree.leaves(same))
    assert {k: len(v) for k, v in t5x.tokenizers.items()} == {
        k: len(v) for k, v in fixtures.imported.tokenizers.items()
    }


@KEYS
@pytest.mark.parametrize(("names", "file"), [("pytorch", "state_dict"), ("t5x", "t5x_params")])
def test_export_gives_back_every_tensor(fixtures: Fixtures, tmp_path: Path, names: str, file: str) -> None:
    imported = import_params(fixtures.folder / f"{file}.npz", fixtures.spec)
    (written,) = export_params(imported.params, fixtures.spec, tmp_path, names=names, tokenizers=imported.tokenizers)
    if names == "pytorch":
        from safetensors.numpy import load_file

        ours = load_file(written)
    else:
        with np.load(written) as stored:
            ours = dict(stored)
    theirs = fixtures.arrays(file)
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)
    again = import_params(written, fixtures.spec)
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, again.params, imported.params)))


@KEYS
def test_published_names_are_those_of_the_file(fixtures: Fixtures) -> None:
    plans = [plan.name for plan, _ in published_tensors(fixtures.imported.params, fixtures.spec)]
    assert set(plans) == {name for name in fixtures.arrays("state_dict") if ".vqgan." not in name}
