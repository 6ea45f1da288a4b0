"""VQGAN, ViT-VQGAN and their tokenizers: shapes, names, files, and what is refused."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mio_jax.errors import MioError
from mio_jax.nn.base import apply, init_params, params_of, split_model, to_pure_dict
from mio_tokenizers import Tokenizer, load
from mio_tokenizers.audio import MelTokenizer
from mio_tokenizers.audio import vit_vqgan as vit
from mio_tokenizers.audio.vit_vqgan import ViTVQGAN, ViTVQGANSettings, position_table, vit_vqgan_settings
from mio_tokenizers.image import VQGANSettings, VQGANTokenizer
from mio_tokenizers.image import vqgan as conv
from mio_tokenizers.image.vqgan import VQGAN, vqgan_settings
from mio_tokenizers.layers import GroupNorm
from mio_tokenizers.published import LAYOUTS, export_arrays, import_arrays, import_tokenizer
from mio_tokenizers.quantize import codebook_loss
from mio_tokenizers.weights_file import flat_arrays


@pytest.fixture(scope="module", autouse=True)
def quick_compilation() -> Iterator[None]:
    """These models are so small that compiling them is all the time a test takes."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


PICTURES = VQGANSettings(
    resolution=8, ch=32, ch_mult=(1, 2), num_res_blocks=1, attn_resolutions=(4,), z_channels=3, n_embed=20
)
SPECTRA = ViTVQGANSettings(
    size=(16, 24), patch=8, dim=16, layers=1, heads=2, head_dim=4, mlp_dim=8, codes=24, code_dim=4
)


@functools.cache
def tiny(kind: type) -> Any:
    made, sizes = {VQGANTokenizer: (VQGAN, PICTURES), MelTokenizer: (ViTVQGAN, SPECTRA)}[kind]
    params = init_params(functools.partial(made, sizes), jax.random.key(0, impl="rbg"))
    codebook = jax.random.normal(jax.random.key(1), (sizes.codes, sizes.code_dim))
    return kind.from_training(sizes, params, codebook)


def media(kind: type, n: int) -> np.ndarray:
    rng = np.random.default_rng(n)
    if kind is VQGANTokenizer:
        return rng.integers(0, 256, (n, 8, 8, 3)).astype(np.uint8)
    return rng.standard_normal((n, 16, 24)).astype(np.float32)


KINDS = pytest.mark.parametrize("kind", [VQGANTokenizer, MelTokenizer])


@KINDS
def test_protocol_shapes_ranges_and_independence_of_the_batch(kind: type) -> None:
    tokenizer = tiny(kind)
    assert isinstance(tokenizer, Tokenizer)
    many = media(kind, 18)
    codes = tokenizer.encode_batch(many)
    assert (codes.dtype, codes.shape) == (np.int32, (18, tokenizer.tokens))
    assert codes.min() >= 0
    assert codes.max() < tokenizer.vocab_size
    assert len(np.unique(codes)) > 3, "a random network still tells patches apart"
    np.testing.assert_array_equal(codes[17], tokenizer.encode(many[17]))
    made = tokenizer.decode_batch(codes)
    assert (made.dtype, made.shape) == (many.dtype, many.shape)
    np.testing.assert_array_equal(made[17], tokenizer.decode(codes[17]))
    assert tokenizer.encode_batch(many[:0]).shape == (0, tokenizer.tokens)
    assert tokenizer.decode_batch(codes[:0]).shape == (0, *many.shape[1:])


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_any_codes_decode_to_finite_media(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([VQGANTokenizer, MelTokenizer]))
    tokenizer = tiny(kind)
    codes = data.draw(
        st.lists(st.integers(0, tokenizer.vocab_size - 1), min_size=tokenizer.tokens, max_size=tokenizer.tokens)
    )
    made = tokenizer.decode(np.array(codes, np.int64))
    assert np.isfinite(made).all()
    assert tokenizer.encode(made).shape == (tokenizer.tokens,)


@KINDS
def test_file_gives_the_same_tokenizer(kind: type, tmp_path: Path) -> None:
    tokenizer = tiny(kind)
    tokenizer.save(tmp_path / "t.safetensors", {"name": "none"})
    again = load(str(tmp_path / "t.safetensors"))
    assert type(again) is kind
    assert again.fingerprint == tokenizer.fingerprint
    assert again.settings == tokenizer.settings
    arrays = tokenizer.arrays
    with pytest.raises(MioError, match="lack the array 'codebook'"):
        kind(tokenizer.settings, {k: v for k, v in arrays.items() if k != "codebook"})
    with pytest.raises(MioError, match="codebook has shape"):
        kind(tokenizer.settings, arrays | {"codebook": arrays["codebook"][:-1]})


@KINDS
def test_published_names_both_ways_and_what_does_not_fit(kind: type) -> None:
    tokenizer = tiny(kind)
    for layout in LAYOUTS:
        published = export_arrays(tokenizer.arrays, layout, "x.")
        again = import_tokenizer(kind, tokenizer.settings, published | {"y.other": np.zeros(2)}, layout, "x.")
        assert again.fingerprint == tokenizer.fingerprint
        name = min(published)
        with pytest.raises(MioError, match=f"weights lack 1 arrays: {re.escape(name)}"):
            import_tokenizer(kind, tokenizer.settings, {k: v for k, v in published.items() if k != name}, layout, "x.")
        with pytest.raises(MioError, match=r"have unexpected 1 arrays: x\.more"):
            import_tokenizer(kind, tokenizer.settings, published | {"x.more": np.zeros(2)}, layout, "x.")
    with pytest.raises(MioError, match=r"unknown layout 'tf' of .* must be one of t5x, torch, taming"):
        import_arrays({}, kind.array_shapes(tokenizer.settings), "tf")


@pytest.mark.parametrize(
    ("kind", "bad", "says"),
    [
        (VQGANTokenizer, np.zeros((8, 8)), "a picture must be a uint8 array"),
        (MelTokenizer, np.zeros((16, 23), np.float32), r"a spectrogram must be a float array \[16, 24\]"),
        (MelTokenizer, np.zeros((16, 24), np.int32), "not int32"),
        (MelTokenizer, "sound", "not str"),
        (MelTokenizer, np.full((16, 24), np.nan, np.float32), "NaN"),
    ],
)
def test_media_that_are_none(kind: type, bad: object, says: str) -> None:
    with pytest.raises(MioError, match=says):
        tiny(kind).encode(bad)


@KINDS
def test_bad_codes_are_named(kind: type) -> None:
    tokenizer = tiny(kind)
    codes = np.zeros(tokenizer.tokens, np.int32)
    with pytest.raises(MioError, match=f"is {tokenizer.tokens} whole-number codes"):
        tokenizer.decode(codes[1:])
    with pytest.raises(MioError, match="whole-number codes"):
        tokenizer.decode(codes.astype(np.float32))
    codes[1] = tokenizer.vocab_size
    with pytest.raises(MioError, match=f"code {tokenizer.vocab_size} is outside 0..{tokenizer.vocab_size - 1}"):
        tokenizer.decode(codes)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ch": 20}, "must be a multiple of 32"),
        ({"resolution": 7}, "no multiple of 2"),
        ({"attn_resolutions": (3,)}, r"attn_resolutions \[3\] are none of the levels' \(8, 4\)"),
        ({"n_embed": 0}, "n_embed is 0"),
    ],
)
def test_vqgan_settings_that_do_not_fit(change: dict[str, Any], says: str) -> None:
    with pytest.raises(MioError, match=says):
        dataclasses.replace(PICTURES, **change)


@pytest.mark.parametrize(
    ("change", "says"),
    [({"size": (16, 20)}, "multiples of the patch, 8"), ({"dim": 18}, "multiple of 4"), ({"codes": 0}, "codes is 0")],
)
def test_vit_settings_that_do_not_fit(change: dict[str, Any], says: str) -> None:
    with pytest.raises(MioError, match=says):
        dataclasses.replace(SPECTRA, **change)


def test_published_configs() -> None:
    sizes = {
        "resolution": 256, "ch": 128, "ch_mult": [1, 2, 2, 4], "num_res_blocks": 2, "attn_resolutions": [32],
        "z_channels": 4, "n_embed": 16384,
    }  # fmt: skip
    assert vqgan_settings(sizes | {"embed_dim": 256, "double_z": False}) == conv.PRESETS["unified_io2"]
    with pytest.raises(MioError, match="lacks ch, n_embed"):
        vqgan_settings({k: v for k, v in sizes.items() if k not in ("ch", "n_embed")})
    with pytest.raises(MioError, match="double_z True; only False"):
        vqgan_settings(sizes | {"double_z": True})
    side = {"hidden_size": 512, "num_layers": 8, "num_heads": 8, "head_dim": 64, "mlp_dim": 2048}
    both = {f"{where}_{name}": value for where in ("encoder", "decoder") for name, value in side.items()}
    both |= {"default_input_size": [128, 256], "patch_size": [8, 8], "vocab_size": 8192, "proj_dim": 32}
    assert vit_vqgan_settings(both) == vit.PRESETS["unified_io2"]
    with pytest.raises(MioError, match="unequal sides: num_layers"):
        vit_vqgan_settings(both | {"decoder_num_layers": 4})
    with pytest.raises(MioError, match="act_fn gelu; only relu"):
        vit_vqgan_settings(both | {"act_fn": "gelu"})
    with pytest.raises(MioError, match="lacks vocab_size"):
        vit_vqgan_settings({k: v for k, v in both.items() if k != "vocab_size"})


def test_published_sizes_have_the_published_shapes() -> None:
    """Shapes alone, without memory: the key table of the released weights."""
    shapes = {n: a.shape for n, a in VQGANTokenizer.array_shapes(conv.PRESETS["unified_io2"]).items()}
    assert shapes["codebook"] == (16384, 4)
    assert shapes["encoder.conv_out.kernel"] == (3, 3, 512, 4)
    assert shapes["encoder.down_3_block_0.nin_shortcut.kernel"] == (1, 1, 256, 512)
    assert shapes["decoder.up_1_block_0.nin_shortcut.kernel"] == (1, 1, 512, 256)
    assert {
        "encoder.down_3_attn_1.q.kernel",
        "decoder.up_0_attn_2.q.kernel",
        "decoder.up_2_upsample.conv.kernel",
    } <= set(shapes)
    assert not any(name.startswith(("decoder.up_3_upsample", "encoder.down_2_attn")) for name in shapes)
    shapes = {n: a.shape for n, a in MelTokenizer.array_shapes(vit.PRESETS["unified_io2"]).items()}
    assert shapes["encoder.embedding.kernel"] == (64, 512)
    assert shapes["encoder.encoder_norm.bias"] == (32,)
    assert "encoder.encoder_norm.scale" not in shapes
    assert shapes["decoder.conv_transpose.kernel"] == (8, 8, 512, 1)
    assert len([n for n in shapes if n.endswith("mlp.fc2.bias")]) == 16


def test_positions_tell_every_place_apart() -> None:
    table = position_table((3, 5), 16)
    assert table.shape == (15, 16)
    assert len(np.unique(table.round(5), axis=0)) == 15
    np.testing.assert_array_equal(table[0, :8], table[5, :8])  # one column: equal first halves
    np.testing.assert_array_equal(table[0, 8:], table[1, 8:])


def test_group_norm() -> None:
    layer = GroupNorm(64, 32, 1e-6)
    x = jax.random.normal(jax.random.key(0), (2, 3, 4, 64)) * 5 + 3
    groups = np.asarray(layer(x)).reshape(2, 12, 32, 2)
    np.testing.assert_allclose(groups.mean(axis=(1, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(groups.std(axis=(1, 3)), 1, atol=1e-4)
    assert set(flat_arrays(params_of(layer))) == {"scale", "bias"}


def test_codebook_loss_moves_the_side_that_it_weighs() -> None:
    x, q = jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 0.0]])
    assert float(codebook_loss(x, q, beta=0.25)) == pytest.approx(0.625)
    pull = jax.grad(lambda x, q, legacy: codebook_loss(x, q, beta=0.25, legacy=legacy), argnums=(0, 1))
    to_x, to_q = pull(x, q, False)
    assert abs(float(to_q[0, 0])) == pytest.approx(4 * abs(float(to_x[0, 0])))
    to_x, to_q = pull(x, q, True)
    assert abs(float(to_x[0, 0])) == pytest.approx(4 * abs(float(to_q[0, 0])))


def test_models_have_gradients_everywhere() -> None:
    for made, sizes, shape in ((VQGAN, PICTURES, (1, 8, 8, 3)), (ViTVQGAN, SPECTRA, (1, 16, 24, 1))):
        build = functools.partial(made, sizes)
        graphdef, abstract = split_model(build)
        assert flat_arrays(to_pure_dict(abstract))
        params = init_params(build, jax.random.key(0, impl="rbg"))
        x = jax.random.uniform(jax.random.key(1), shape)

        def loss(params: Any, x: jax.Array = x, graphdef: Any = graphdef) -> jax.Array:
            model = apply(graphdef, params)
            return jnp.sum(model.rebuild(model.latents(x)) ** 2)

        for name, gradient in flat_arrays(jax.jit(jax.grad(loss))(params)).items():
            assert np.isfinite(gradient).all(), name
