"""Unified-IO 2's audio tokenizer and vocoder: every array of `audio_vitvqgan.npz` and `hifigan.npz`, and the names."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.nn.base import apply, split_model
from mio_tokenizers.audio import MelTokenizer, Vocoder
from mio_tokenizers.audio.hifigan import HiFiGAN, hifigan_settings
from mio_tokenizers.audio.vit_vqgan import ViTVQGAN, position_table, vit_vqgan_settings
from mio_tokenizers.audio.vocoder import import_hifigan
from mio_tokenizers.published import export_arrays, import_tokenizer
from mio_tokenizers.quantize import codebook_loss, nearest, normalise
from mio_tokenizers.weights_file import flat_arrays, nested_arrays

TORCH, T5X = "target_embedders.audio.vqgan.", "target_encoders_audio/discrete_vae/"
TOLERANCE = 1e-5  # relative to the array's largest number
VIT = pytest.mark.golden_row(
    "unified-io-2", "audio_vitvqgan", files=["audio_vitvqgan.npz", "config.json", "state_dict.npz", "t5x_params.npz"]
)
HIFIGAN = pytest.mark.golden_row("unified-io-2", "hifigan", files=["hifigan.npz", "config.json"])


def close(ours: Any, theirs: np.ndarray) -> None:
    assert np.shape(ours) == theirs.shape
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=TOLERANCE * np.abs(theirs).max())


def under(arrays: Any, prefix: str) -> dict[str, np.ndarray]:
    return {name: arrays[name] for name in arrays.files if name.startswith(prefix)}


class Fixture:
    def __init__(self, folder: Path) -> None:
        self.io = dict(np.load(folder / "audio_vitvqgan.npz"))
        self.settings = vit_vqgan_settings(json.loads((folder / "config.json").read_text())["config"]["audio_vqgan"])
        self.torch = under(np.load(folder / "state_dict.npz"), TORCH)
        self.t5x = under(np.load(folder / "t5x_params.npz"), T5X)
        self.tokenizer = import_tokenizer(MelTokenizer, self.settings, self.torch, "torch", TORCH)
        graphdef, abstract = split_model(functools.partial(ViTVQGAN, self.settings))
        arrays = self.tokenizer.arrays
        self.codes = normalise(jnp.asarray(arrays.pop("codebook")))
        self.model = apply(graphdef, nested_arrays(arrays, abstract, "vit_vqgan"))


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Path]) -> Fixture:
    return Fixture(golden("unified-io-2"))


@VIT
def test_every_array_is_checked(fixture: Fixture) -> None:
    assert set(fixture.io) == {
        *("spectrogram_bhwc", "encoder_out", "indices", "quantized", "vq_loss", "reconstruction_nchw"),
        *("codes", "decoded_nchw", "position_embedding"),
    }
    close(position_table(fixture.settings.code_grid, fixture.settings.dim), fixture.io["position_embedding"])


@VIT
def test_encoding(fixture: Fixture) -> None:
    @jax.jit
    def run(spectrograms: jax.Array) -> tuple[jax.Array, ...]:
        encoded = fixture.model.encoder(spectrograms)
        latents = normalise(encoded)
        codes = nearest(latents, fixture.codes)
        quantised = fixture.codes[codes]
        loss = codebook_loss(latents, quantised, beta=0.25)
        return encoded, codes, quantised, loss, fixture.model.decoder(quantised)

    encoded, codes, quantised, loss, rebuilt = run(jnp.asarray(fixture.io["spectrogram_bhwc"]))
    close(encoded, fixture.io["encoder_out"])
    np.testing.assert_array_equal(codes, fixture.io["indices"])
    close(quantised, fixture.io["quantized"])
    close(loss, fixture.io["vq_loss"])
    close(jnp.moveaxis(rebuilt, -1, 1), fixture.io["reconstruction_nchw"])


@VIT
def test_tokenizer(fixture: Fixture) -> None:
    codes = fixture.tokenizer.encode_batch(fixture.io["spectrogram_bhwc"][..., 0])
    np.testing.assert_array_equal(codes, fixture.io["indices"])
    close(fixture.tokenizer.decode_batch(fixture.io["codes"])[:, None], fixture.io["decoded_nchw"])


@VIT
def test_names_and_layouts_both_ways(fixture: Fixture) -> None:
    for layout, prefix, published in (("torch", TORCH, fixture.torch), ("t5x", T5X, fixture.t5x)):
        exported = export_arrays(fixture.tokenizer.arrays, layout, prefix)
        assert set(exported) == set(published)
        for name, array in published.items():
            np.testing.assert_array_equal(exported[name], array, err_msg=name)
    again = import_tokenizer(MelTokenizer, fixture.settings, fixture.t5x, "t5x", T5X)
    assert again.fingerprint == fixture.tokenizer.fingerprint


@HIFIGAN
def test_vocoder(golden: Callable[[str], Path]) -> None:
    folder = golden("unified-io-2")
    io = dict(np.load(folder / "hifigan.npz"))
    published = {name: array for name, array in io.items() if name.startswith("param.")}
    assert set(io) - set(published) == {"mel", "wave", "wave_after_removing_weight_norm"}
    config = json.loads((folder / "config.json").read_text())["hifigan_config"]
    settings = hifigan_settings(config, mels=io["mel"].shape[1])
    named = {name.removeprefix("param."): array for name, array in published.items()}

    graphdef, abstract = split_model(functools.partial(HiFiGAN, settings))
    params = nested_arrays(named, abstract, "hifigan")
    close(apply(graphdef, params)(jnp.asarray(io["mel"]).swapaxes(1, 2))[:, None], io["wave"])
    assert {n: a.shape for n, a in flat_arrays(params).items()} == {n: a.shape for n, a in named.items()}

    folded = import_hifigan(published, settings, "param.")
    vocoder = Vocoder.from_params(settings, folded, np.float32)
    sounds = np.stack([sound.samples for sound in vocoder.decode_batch(io["mel"])])
    close(sounds[:, None], io["wave_after_removing_weight_norm"])
    plain = Vocoder(
        settings, {n: np.asarray(a) for n, a in flat_arrays(import_hifigan(vocoder.arrays, settings)).items()}
    )
    assert plain.fingerprint == vocoder.fingerprint, "folded weights come in as they are"
    assert not dataclasses.asdict(vocoder.settings)["weight_norm"]
