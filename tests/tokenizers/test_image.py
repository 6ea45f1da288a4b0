"""Image tokenizer: shapes, locality, independence of batching, files, and reading pictures."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mio_jax.data.sources import source
from mio_jax.errors import MioError
from mio_jax.nn.base import apply, init_params, split_model
from mio_tokenizers import Tokenizer, load
from mio_tokenizers.image import ImageVQSettings, ImageVQTokenizer, mask_picture, picture_mask, read_image, to_square
from mio_tokenizers.image.model import ImageVQ
from mio_tokenizers.layers import depth_to_space, space_to_depth
from mio_tokenizers.training.checkpoint import read_safetensors, write_safetensors
from mio_tokenizers.training.image import intersection_over_union

TINY = ImageVQSettings(
    image_size=32, codes=24, code_dim=4, channels=(6, 8), encoder_blocks=(1, 0), decoder_blocks=(1, 1)
)


@functools.cache
def tiny() -> ImageVQTokenizer:
    params = init_params(functools.partial(ImageVQ, TINY), jax.random.key(0, impl="rbg"))
    codebook = jax.random.normal(jax.random.key(1), (TINY.codes, TINY.code_dim))
    return ImageVQTokenizer.from_training(TINY, params, codebook / jnp.linalg.norm(codebook, axis=-1, keepdims=True))


def pictures(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3)).astype(np.uint8)


def test_protocol_shapes_and_ranges() -> None:
    tokenizer = tiny()
    assert isinstance(tokenizer, Tokenizer)
    assert (tokenizer.modality, tokenizer.vocab_size, tokenizer.tokens) == ("image", 24, 64)
    codes = tokenizer.encode(pictures(1)[0])
    assert codes.dtype == np.int32
    assert codes.shape == (64,)
    assert len(set(codes.tolist())) > 3, "a random network still tells patches apart"
    made = tokenizer.decode(codes)
    assert made.dtype == np.uint8
    assert made.shape == (32, 32, 3)


def test_tokens_do_not_depend_on_the_batch() -> None:
    tokenizer, many = tiny(), pictures(19)
    codes = tokenizer.encode_batch(many)
    assert codes.shape == (19, 64)
    np.testing.assert_array_equal(codes, np.stack([tokenizer.encode(p) for p in many]))
    np.testing.assert_array_equal(tokenizer.decode_batch(codes)[17], tokenizer.decode(codes[17]))
    assert tokenizer.encode_batch([]).shape == (0, 64)
    assert tokenizer.decode_batch(np.zeros((0, 64), np.int32)).shape == (0, 32, 32, 3)


def test_codes_are_local() -> None:
    """A change in one corner leaves the codes of the opposite one, and changes some code near it."""
    tokenizer = tiny()
    picture = pictures(1)[0]
    changed = picture.copy()
    changed[:4, :4] = 255 - changed[:4, :4]
    before, after = (tokenizer.encode(p).reshape(8, 8) for p in (picture, changed))
    assert (before != after).any()
    np.testing.assert_array_equal(before[5:], after[5:])
    np.testing.assert_array_equal(before[:, 5:], after[:, 5:])


def test_gradients_are_finite_on_white_and_black() -> None:
    graphdef, _ = split_model(functools.partial(ImageVQ, TINY))
    params = init_params(functools.partial(ImageVQ, TINY), jax.random.key(0, impl="rbg"))
    flat = jnp.stack([jnp.ones((32, 32, 3)), jnp.zeros((32, 32, 3))])
    grads = jax.grad(lambda p: jnp.sum(apply(graphdef, p).encoder(flat) ** 2))(params)
    norms = [float(jnp.linalg.norm(g)) for g in jax.tree.leaves(grads)]
    assert all(np.isfinite(norms))
    assert max(norms) < 1e4


@given(block=st.sampled_from([1, 2, 4]), channels=st.integers(1, 3))
def test_folding_pixels_is_undone(block: int, channels: int) -> None:
    x = jnp.arange(2 * 8 * 4 * channels).reshape(2, 8, 4, channels)
    folded = space_to_depth(x, block)
    assert folded.shape == (2, 8 // block, 4 // block, channels * block**2)
    np.testing.assert_array_equal(depth_to_space(folded, block), x)
    np.testing.assert_array_equal(folded[0, 0, 0].reshape(block, block, channels), x[0, :block, :block])


def test_bundled_weights_serve_drawings_they_have_not_seen() -> None:
    tokenizer = load("bundled:image_vq_tiny")
    assert isinstance(tokenizer, ImageVQTokenizer)
    assert (tokenizer.vocab_size, tokenizer.tokens) == (512, 64)
    held_out = list(itertools.islice(source("openmoji").examples("test"), 0, 480, 30))
    drawings = np.stack([example["image"] for example in held_out])
    masks = np.stack([example["mask"] for example in held_out])
    made = tokenizer.decode_batch(tokenizer.encode_batch(drawings)).astype(np.float32)
    error = np.mean((made - drawings) ** 2, axis=(1, 2, 3))
    assert np.mean(10 * np.log10(255**2 / error)) > 17
    shown = tokenizer.decode_batch(tokenizer.encode_batch([mask_picture(mask) for mask in masks]))
    overlap = intersection_over_union(np.stack([picture_mask(picture) for picture in shown]), masks)
    assert np.mean(overlap) > 0.9
    blank = tokenizer.encode(np.full((64, 64, 3), 255, np.uint8)).reshape(8, 8)
    assert len(np.unique(blank[1:-1, 1:-1])) == 1, "white paper is one code"


# ------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    "media",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        "x.png",
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(media: object) -> None:
    with pytest.raises(MioError, match=r"picture (must be|is empty)"):
        tiny().encode(media)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros(63, np.int32), "64 whole-number codes"),
        (np.full(64, 24, np.int32), r"image code 24 is outside 0\.\.23"),
        (np.full(64, -1, np.int32), "image code -1"),
        (np.zeros(64, np.float32), "whole-number"),
    ],
)
def test_bad_codes_are_named(codes: np.ndarray, message: str) -> None:
    with pytest.raises(MioError, match=message):
        tiny().decode(codes)


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(MioError, match="image_size 30 is no multiple of 4"):
        ImageVQSettings(image_size=30, channels=(6, 8), encoder_blocks=(1, 0), decoder_blocks=(1, 1))
    with pytest.raises(MioError, match="must have one length, not 2, 1, 2"):
        ImageVQSettings(channels=(6, 8), encoder_blocks=(1,), decoder_blocks=(1, 1))


# ---------------------------------------------------------------------------------------------------------- files


def test_file_gives_the_same_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    tiny().save(path, {"name": "noise", "licence": "none", "attribution": ""})
    loaded = load(str(path))
    assert isinstance(loaded, ImageVQTokenizer)
    assert loaded.settings == TINY
    assert loaded.fingerprint == tiny().fingerprint
    np.testing.assert_array_equal(loaded.encode_batch(pictures(3)), tiny().encode_batch(pictures(3)))
    assert load(str(path)) is loaded, "loaded once"
    arrays, metadata = read_safetensors(path)
    arrays["codebook"] = arrays["codebook"] * np.float16(2)
    write_safetensors(path, arrays, metadata)
    assert load(str(path)).fingerprint != loaded.fingerprint, "a file written anew is read anew"


def test_damaged_and_foreign_files_are_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    tiny().save(path, {})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MioError, match=r"t\.safetensors is not a whole safetensors file"):
        load(str(path))
    path.write_bytes(whole)
    arrays, metadata = read_safetensors(path)
    write_safetensors(path, arrays, metadata | {"kind": "video_vq"})
    with pytest.raises(MioError, match="unknown kind 'video_vq'; kinds known here: image_vq"):
        load(str(path))
    write_safetensors(path, arrays, {})
    with pytest.raises(MioError, match="holds no tokenizer"):
        load(str(path))
    write_safetensors(path, arrays | {"encoder.enter.kernel": np.zeros((1,), np.float16)}, metadata)
    with pytest.raises(MioError, match=r"encoder\.enter\.kernel has shape \(1,\)"):
        load(str(path))
    del arrays["encoder.enter.kernel"]
    write_safetensors(path, arrays, metadata)
    with pytest.raises(MioError, match=r"lack 1 arrays, e\.g\. encoder\.enter\.kernel"):
        load(str(path))
    write_safetensors(path, arrays, metadata | {"settings": '{"image_sise": 32}'})
    with pytest.raises(MioError, match="unknown key image_sise; did you mean image_size"):
        load(str(path))


# ------------------------------------------------------------------------------------------------ reading pictures


def test_pictures_are_read_as_rgb_over_white(tmp_path: Path) -> None:
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[0, 0] = (10, 20, 30, 255)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png")
    assert read.dtype == np.uint8
    assert read.shape == (2, 3, 3)
    assert read[0, 0].tolist() == [10, 20, 30]
    assert (read[1:] == 255).all()
    Image.fromarray(np.full((4, 4), 77, np.uint8)).save(tmp_path / "grey.png")
    assert (read_image(tmp_path / "grey.png") == 77).all()


def test_unreadable_pictures_are_one_clear_line(tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    Image.fromarray(pictures(1)[0]).save(good)
    data = good.read_bytes()
    cut, flipped, text = tmp_path / "cut.png", tmp_path / "flipped.png", tmp_path / "text.png"
    cut.write_bytes(data[: len(data) // 2])
    flipped.write_bytes(data[:60] + bytes(b ^ 0xFF for b in data[60:160]) + data[160:])
    text.write_text("no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    for path, message in (
        (cut, "is damaged"),
        (flipped, "is damaged"),
        (text, "not a picture in a known format"),
        (tmp_path / "empty.png", "not a picture in a known format"),
        (tmp_path / "none.png", "there is no picture"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(MioError, match=message) as caught:
            read_image(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_huge_pictures_are_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "big.png"
    Image.new("RGB", (40, 30)).save(path)
    monkeypatch.setattr("mio_tokenizers.image.io.MAX_PIXELS", 1000)
    with pytest.raises(MioError, match="40x30 pixels; scale it below 1000"):
        read_image(path)


def test_any_size_becomes_a_square_without_distortion() -> None:
    wide = np.full((10, 30, 3), 200, np.uint8)
    wide[:, 10:20] = 0  # a black square in the middle
    square = to_square(wide, 60)
    assert square.shape == (60, 60, 3)
    assert square[0, 0].tolist() == [200] * 3, "padded with the border's colour"
    dark = square[..., 0] < 100
    assert 18 <= dark.any(axis=0).sum() <= 22
    assert 18 <= dark.any(axis=1).sum() <= 22
    same = pictures(1)[0]
    assert to_square(same, 32) is same
    assert tiny().encode(wide).shape == (64,)


def test_masks_are_white_on_black_pictures() -> None:
    mask = np.random.default_rng(0).random((8, 8)) < 0.5
    picture = mask_picture(mask)
    assert picture.shape == (8, 8, 3)
    assert set(np.unique(picture)) == {0, 255}
    np.testing.assert_array_equal(picture_mask(picture), mask)
