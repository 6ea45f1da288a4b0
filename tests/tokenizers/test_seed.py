"""The SEED tokenizer behind the protocol: files, folders of published weights, decoders, and what is refused."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from mio_jax.errors import MioError
from mio_tokenizers import Tokenizer, load
from mio_tokenizers.image.seed import key_map
from mio_tokenizers.image.seed.positions import resize_matrix, resize_positions
from mio_tokenizers.image.seed.settings import PRESETS, SeedSettings, seed_settings
from mio_tokenizers.image.seed.tokenizer import SeedTokenizer
from mio_tokenizers.image.seed.unclip import load_pipeline
from mio_tokenizers.vq_tokenizer import CODEBOOK
from tests.tokenizers.seed_tiny import SETTINGS, decoder, pictures, tokenizer

SIZES = {"img_size": 16, "patch_size": 8, "vit_dim": 8, "vit_depth": 2, "vit_heads": 2, "mlp_ratio": 2.0, "hidden": 8}
SIZES |= {"heads": 2, "layers": 2, "inter": 8, "queries": 3, "codebook_dim": 4, "n_embed": 10, "depth": 1}
SIZES |= {"block_heads": 2, "down": [6, 5, 4], "feat_dim": 12}


@pytest.fixture(scope="module", autouse=True)
def quick_compilation() -> Iterator[None]:
    """These models are so small that compiling them is all the time a test takes."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def published_folder(folder: Path, *, separate: bool = False, **change: Any) -> Path:
    """Weights of `tokenizer()` under their published names; `separate`: the vision tower in a file of its own."""
    arrays = tokenizer().published_arrays()
    arrays |= {"Qformer.bert.embeddings.position_ids": np.arange(5)[None]}
    folder.mkdir(parents=True, exist_ok=True)
    if separate:
        prefix = "visual_encoder."
        tower = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
        arrays = {n: a for n, a in arrays.items() if not n.startswith(prefix)}
        more = {n.replace("blocks.1", "blocks.2"): a for n, a in tower.items() if n.startswith("blocks.1.")}
        save_file(tower | more | {"norm.weight": np.ones(8)}, folder / "eva_vit_g.safetensors")
    save_file(arrays | change, folder / "seed_quantizer.safetensors")
    (folder / "config.json").write_text(json.dumps(SIZES))
    return folder


def test_protocol_shapes_and_independence_of_the_batch() -> None:
    made = tokenizer()
    assert isinstance(made, Tokenizer)
    assert (made.modality, made.vocab_size, made.tokens) == ("image", 10, 3)
    many = pictures(18)
    codes = made.encode_batch(many)
    assert (codes.dtype, codes.shape) == (np.int32, (18, 3))
    assert len(np.unique(codes, axis=0)) > 3, "a random network still tells pictures apart"
    np.testing.assert_array_equal(codes[17], made.encode(many[17]))
    assert made.encode_batch([]).shape == (0, 3)
    assert made.encode(pictures(1, size=40)[0][:, :23]).shape == (3,), "any shape is squeezed to a square"
    embedding = made.image_embedding(codes)
    assert (embedding.dtype, embedding.shape) == (np.float32, (18, 12))
    np.testing.assert_array_equal(embedding[:1], made.image_embedding(codes[:1]))
    assert made.image_embedding(codes[:0]).shape == (0, 12)
    with pytest.raises(MioError, match="image code 10 is outside"):
        made.image_embedding(np.full((1, 3), 10))
    with pytest.raises(MioError, match="a picture is 3 whole-number codes"):
        made.image_embedding(np.zeros((1, 4), np.int32))
    for bad in (np.zeros((4, 4), np.uint8), "picture", np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(MioError, match="picture"):
            made.encode(bad)


def test_a_file_and_its_decoder(tmp_path: Path) -> None:
    data = {"name": "none", "licence": "", "attribution": ""}
    tokenizer().save(tmp_path / "t.safetensors", data)
    again = load(str(tmp_path / "t.safetensors"))
    assert isinstance(again, SeedTokenizer)
    assert (again.fingerprint, again.settings) == (tokenizer().fingerprint, SETTINGS)
    codes = again.encode_batch(pictures(2))
    with pytest.raises(MioError, match=r"train one .* into .*t\.decoder\.safetensors$"):
        again.decode(codes[0])
    decoder().save(tmp_path / "t.decoder.safetensors", data)
    drawn = again.decode_batch(codes)
    assert (drawn.dtype, drawn.shape) == (np.uint8, (2, 16, 16, 3))
    np.testing.assert_array_equal(drawn[1], again.decode(codes[1]))
    assert again.decode_batch(codes[:0]).shape == (0, 16, 16, 3)
    with pytest.raises(MioError, match="code vectors for this decoder are"):
        decoder().draw(np.zeros((1, 4, 4)))
    other = SeedTokenizer(SETTINGS, again.arrays | {CODEBOOK: again.arrays[CODEBOOK] + 1})
    other.save(tmp_path / "t.safetensors", data)
    with pytest.raises(MioError, match=f"draws codes of the tokenizer {again.fingerprint}, this one is"):
        load(str(tmp_path / "t.safetensors")).decode(codes[0])
    tokenizer().save(tmp_path / "u.safetensors", data)
    tokenizer().save(tmp_path / "u.decoder.safetensors", data)
    with pytest.raises(MioError, match="holds SeedTokenizer, not a decoder"):
        load(str(tmp_path / "u.safetensors")).decode(codes[0])


@pytest.mark.parametrize("separate", [False, True])
def test_a_folder_of_published_weights(tmp_path: Path, separate: bool) -> None:
    made = load(str(published_folder(tmp_path / "seed", separate=separate)))
    assert isinstance(made, SeedTokenizer)
    assert made.fingerprint == tokenizer().fingerprint
    with pytest.raises(
        MioError, match=r"into .*seed/decoder\.safetensors, or put .* into .*seed/unclip \(extra mio_jax\[unclip\]\)"
    ):
        made.decode(np.zeros(3, np.int32))


def test_what_does_not_fit_is_listed(tmp_path: Path) -> None:
    wrong = {"temp": np.ones(()), "pos_embed": np.zeros((1, 4, 8))}
    folder = published_folder(tmp_path / "seed", **wrong)
    with pytest.raises(MioError, match=r"1 unexpected \(temp\); 1 misshapen \(pos_embed is \(1, 4, 8\), not \(1, 3"):
        load(str(folder))
    (folder / "config.json").write_text(json.dumps(SIZES | {"ignore": ["temp"], "queries": 4}))
    with pytest.raises(MioError, match=r"fit the model: 3 misshapen \(query_tokens is"):
        load(str(folder))
    (folder / "config.json").write_text(json.dumps(SIZES | {"ignore": "temp"}))
    with pytest.raises(MioError, match="ignore must be a list"):
        load(str(folder))
    (folder / "config.json").write_text(json.dumps(SIZES | {"quieries": 4}))
    with pytest.raises(MioError, match="unknown names: quieries"):
        load(str(folder))
    (folder / "config.json").write_text("{")
    with pytest.raises(MioError, match="no readable JSON"):
        load(str(folder))
    shutil.copy(Path(__file__).parents[1] / "recipes" / "torch_state.bin", folder / "seed_quantizer.pt")
    with pytest.raises(MioError, match=r"more than once \(seed_quantizer\.safetensors, seed_quantizer\.pt\)"):
        load(str(folder))
    (folder / "seed_quantizer.safetensors").unlink()
    (folder / "config.json").write_text(json.dumps(SIZES))
    with pytest.raises(MioError, match=r"missing \(visual_encoder\.patch_embed.* 7 unexpected \(wide, turned"):
        load(str(folder))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MioError, match="no folder of tokenizer weights known here"):
        load(str(empty))


def test_positions_of_another_grid_are_resized(tmp_path: Path) -> None:
    table = np.random.default_rng(0).standard_normal((1, 1 + 9, 8)).astype(np.float16)
    made = load(str(published_folder(tmp_path / "seed", **{"visual_encoder.pos_embed": table})))
    assert isinstance(made, SeedTokenizer)
    np.testing.assert_array_equal(made.arrays["trunk.visual_encoder.positions"], resize_positions(table[0], 2))
    with pytest.raises(MioError, match="8 patches is of no square grid"):
        resize_positions(table[0, :9], 2)


@given(old=st.integers(1, 20), new=st.integers(1, 20))
def test_resizing_keeps_constants_and_symmetry(old: int, new: int) -> None:
    matrix = resize_matrix(old, new)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(matrix, matrix[::-1, ::-1], atol=1e-12)
    if old == new:
        np.testing.assert_allclose(matrix, np.eye(old), atol=1e-12)


@functools.cache
def shapes_of(settings: SeedSettings) -> dict[str, tuple[int, ...]]:
    return {name: tuple(leaf.shape) for name, leaf in SeedTokenizer.array_shapes(settings).items()}


@given(st.data())
def test_layouts_are_undone(data: st.DataObject) -> None:
    """Every piece of the table: to the published layout and back, with the shape that the table promises."""
    settings = dataclasses.replace(SETTINGS, head=data.draw(st.sampled_from(["mlp", "reverse"])))
    shapes = shapes_of(settings)
    piece = data.draw(st.sampled_from(list(key_map.pieces(settings))))
    shape = shapes[piece.ours] if piece.layer is None else shapes[piece.ours][1:]
    array = np.random.default_rng(0).standard_normal(shape)
    theirs = key_map.to_published(piece, array)
    if piece.third is not None:
        theirs = np.concatenate([theirs if third == piece.third else 0 * theirs for third in range(3)])
    assert theirs.shape == key_map.published_shape(piece, shape)
    np.testing.assert_array_equal(key_map.from_published(piece, theirs, shape), array)


def test_published_sizes() -> None:
    shapes = shapes_of(PRESETS["seed_2"])
    pieces = list(key_map.pieces(PRESETS["seed_2"]))
    assert {piece.ours for piece in pieces} == set(shapes)
    wanted = {}
    for piece in pieces:
        shape = shapes[piece.ours]
        wanted[piece.theirs] = key_map.published_shape(piece, shape if piece.layer is None else shape[1:])
    for name, shape in {  # as section 7.7 gives them
        "visual_encoder.cls_token": (1, 1, 1408),
        "visual_encoder.pos_embed": (1, 257, 1408),
        "visual_encoder.patch_embed.proj.weight": (1408, 3, 14, 14),
        "visual_encoder.blocks.38.attn.qkv.weight": (4224, 1408),
        "visual_encoder.blocks.0.mlp.fc1.weight": (6144, 1408),
        "query_tokens": (1, 32, 768),
        "Qformer.bert.encoder.layer.10.crossattention.self.key.weight": (768, 1408),
        "quantize.embedding.weight": (8192, 32),
        "image_down.0.weight": (256, 768),
        "distill_image_proj.weight": (1024, 1024),
    }.items():
        assert wanted[name] == shape, name
    assert "Qformer.bert.encoder.layer.11.crossattention.self.key.weight" not in wanted
    assert "visual_encoder.blocks.39.norm1.weight" not in wanted


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"patch_size": 9}, "img_size 16 is no multiple of patch_size 9"),
        ({"hidden": 9}, "hidden 9 is no multiple of heads 2"),
        ({"queries": 0}, "queries is 0; it must be positive"),
        ({"down": [4, 4]}, "must be three positive widths"),
        ({"head": "both"}, "head is 'both'; it must be one of mlp, reverse"),
        ({"resample": "nearest"}, "must be one of bilinear, bicubic"),
    ],
)
def test_sizes_that_do_not_fit(change: dict[str, Any], says: str) -> None:
    with pytest.raises(MioError, match=says):
        seed_settings(SIZES | change)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("torch", "diffusers"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MioError, match=r"needs diffusers and torch .* pip install 'mio_jax\[unclip\]'"):
        load_pipeline(tmp_path)
    made = load(str(published_folder(tmp_path / "seed")))
    (tmp_path / "seed" / "unclip").mkdir()
    (tmp_path / "seed" / "unclip" / "model_index.json").write_text("{}")
    with pytest.raises(MioError, match=r"needs diffusers and torch"):
        made.decode(np.zeros(3, np.int32))
