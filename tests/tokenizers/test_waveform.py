"""Sound through spectrograms: the log-mel, HiFi-GAN's layers and file, Griffin-Lim, and the waveform tokenizer."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mio_jax.errors import MioError
from mio_jax.nn.base import init_params
from mio_tokenizers import Audio, Tokenizer, load
from mio_tokenizers.audio import MelTokenizer, Vocoder, WaveformTokenizer, log_spectral_distance
from mio_tokenizers.audio.griffin_lim import griffin_lim
from mio_tokenizers.audio.hifigan import PRESETS, HiFiGAN, HiFiGANSettings, hifigan_settings
from mio_tokenizers.audio.layers import Conv, ConvTranspose
from mio_tokenizers.audio.mel import (
    FLOOR,
    MEL,
    SEGMENT,
    MelSpec,
    centred,
    log_power,
    normalise_mel,
    power_mel,
    restore_mel,
    segment_count,
    segments_of,
)
from mio_tokenizers.audio.spectral import mel_filters
from mio_tokenizers.audio.vit_vqgan import ViTVQGAN, ViTVQGANSettings

RATE = MEL.rate
SPECTRA = ViTVQGANSettings(size=(16, 16), dim=16, layers=1, heads=2, head_dim=4, mlp_dim=8, codes=24, code_dim=4)
SMALL = HiFiGANSettings(
    upsample_rates=(16, 16),
    upsample_kernel_sizes=(20, 32),
    upsample_initial_channel=8,
    resblock_kernel_sizes=(3,),
    resblock_dilation_sizes=((1, 2),),
    mels=16,
)


def tone(seconds: float, hz: float = 440.0) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    return (0.4 * np.sin(2 * np.pi * hz * t) + 0.2 * np.sin(4 * np.pi * hz * t)).astype(np.float32)


@functools.cache
def mel_tokenizer() -> MelTokenizer:
    params = init_params(functools.partial(ViTVQGAN, SPECTRA), jax.random.key(0, impl="rbg"))
    return MelTokenizer.from_training(SPECTRA, params, jax.random.normal(jax.random.key(1), (24, 4)))


@functools.cache
def vocoder() -> Vocoder:
    return Vocoder.from_params(SMALL, init_params(functools.partial(HiFiGAN, SMALL), jax.random.key(0, impl="rbg")))


# ------------------------------------------------------------------------------------------------------- the log-mel


def test_numpy_and_jax_agree_and_the_band_of_a_tone_is_loudest() -> None:
    waves = np.stack([tone(0.3), tone(0.3, 1000.0)])
    power = power_mel(waves)
    assert power.shape == (2, 128, MEL.frames(waves.shape[1]))
    np.testing.assert_allclose(jax.jit(power_mel)(jnp.asarray(waves)), power, rtol=1e-3, atol=1e-6 * power.max())
    centres = np.argmax(MEL.filters(), axis=0) * RATE / MEL.n_fft
    for row, hz in zip(power, (440, 1000), strict=True):
        assert abs(centres[row.mean(axis=1).argmax()] - hz) < 40
    assert np.isfinite(jax.grad(lambda w: jnp.sum(log_power(power_mel(w), keep_zeros=False)))(jnp.zeros(4096))).all()


def test_slaney_scale_is_linear_below_one_kilohertz() -> None:
    bank = mel_filters(4096, 40, RATE, 0.0, 8000.0, "slaney")
    tops = bank.argmax(axis=0) * RATE / 4096
    low = np.diff(tops[tops < 900])
    assert np.ptp(low) < 8
    assert np.diff(tops)[-1] > 2 * low[0]
    assert not np.allclose(bank, mel_filters(4096, 40, RATE, 0.0, 8000.0))


def test_silence_is_zero_for_the_model_and_the_floor_for_a_sound() -> None:
    silence = power_mel(np.zeros(2048, np.float32))
    assert (log_power(silence) == 0).all()
    np.testing.assert_allclose(log_power(silence, keep_zeros=False), FLOOR)
    np.testing.assert_allclose(restore_mel(normalise_mel(silence + 2.5)), silence + 2.5, rtol=1e-6)


@given(st.integers(1, 20 * RATE))
def test_segments_hold_the_beginning_of_the_sound(samples: int) -> None:
    sound = np.arange(1, samples + 1)
    segments = segments_of(sound)
    assert segments.shape == (segment_count(samples / RATE), SEGMENT)
    flat = segments.reshape(-1)
    kept = min(samples, flat.size)
    assert (flat[:kept] == sound[:kept]).all()
    assert not flat[kept:].any()
    assert samples - kept < 0.6 * SEGMENT


@given(st.integers(0, 40))
def test_a_clip_is_centred_in_its_segment(samples: int) -> None:
    out = centred(np.arange(1, samples + 1), 20)
    assert out.shape == (20,)
    first, last = (np.flatnonzero(out)[[0, -1]]) if samples else (10, 9)
    assert -1 <= (19 - last) - first <= 1, "as much on the left as on the right"


def test_bad_spectrogram_requests() -> None:
    with pytest.raises(MioError, match="a sound of 512 samples is too short for a spectrogram; it needs 513"):
        power_mel(np.zeros(512, np.float32))
    with pytest.raises(MioError, match="must lie in order below half the rate"):
        MelSpec(high=9000.0)


# ------------------------------------------------------------------------------------------------------- the vocoder


@pytest.mark.parametrize(("stride", "kernel"), [(4, 8), (4, 6), (3, 7), (8, 16), (2, 2)])
def test_transposed_convolution_is_the_gradient_of_a_convolution(stride: int, kernel: int) -> None:
    """By definition, and for every kernel: the fast way for twice the stride, the general one otherwise."""
    layer = ConvTranspose(3, 2, stride, jax.random.key(0), kernel=kernel, weight_norm=False)
    x = jax.random.normal(jax.random.key(1), (2, 5, 3))
    weight, padding = layer.kernel(), (kernel - stride) // 2

    def forward(y: jax.Array) -> jax.Array:
        layout = ("NWC", "WIO", "NWC")
        pads = [(padding, padding)]
        return jax.lax.conv_general_dilated(y, weight.transpose(2, 1, 0), (stride,), pads, dimension_numbers=layout)

    shape = (2, 5 * stride, 2)
    wanted = jax.linear_transpose(forward, jnp.zeros(shape))(x)[0] + layer.bias[...]
    assert layer(x).shape == shape
    np.testing.assert_allclose(layer(x), wanted, rtol=1e-4, atol=1e-5)


def test_zero_padding_sees_zeros_and_reflection_does_not() -> None:
    x = jnp.ones((1, 6, 1))
    zeros, mirror = (Conv(1, 1, 3, jax.random.key(0), weight_norm=False, pad=pad) for pad in ("zeros", "reflect"))
    assert np.ptp(mirror(x)) < 1e-6
    assert abs(float(zeros(x)[0, 0, 0] - zeros(x)[0, 2, 0])) > 1e-3
    np.testing.assert_allclose(zeros(x)[:, 1:-1], mirror(x)[:, 1:-1], rtol=1e-6)


@settings(max_examples=8, deadline=None)
@given(st.sampled_from([1, 3]), st.integers(1, 9))
def test_vocoder_gives_a_hop_of_samples_for_each_frame(frames: int, count: int) -> None:
    mels = np.random.default_rng(frames).standard_normal((count, 16, frames)).astype(np.float32)
    sounds = vocoder().decode_batch(mels)
    assert [sound.samples.shape for sound in sounds] == [(256 * frames,)] * count
    assert all(np.abs(sound.samples).max() <= 1 for sound in sounds)
    np.testing.assert_allclose(sounds[-1].samples, vocoder().decode(mels[-1]).samples, atol=1e-6)


def test_vocoder_file_and_refusals(tmp_path: Path) -> None:
    made = vocoder()
    made.save(tmp_path / "v.safetensors", {"name": "none"})
    again: Any = load(str(tmp_path / "v.safetensors"))
    assert isinstance(again, Vocoder)
    assert again.fingerprint == made.fingerprint
    with pytest.raises(MioError, match=r"are \[n, 16, frames\], not an array \(1, 3, 4\)"):
        made.decode(np.zeros((3, 4)))
    with pytest.raises(MioError, match="NaN"):
        made.decode(np.full((16, 4), np.nan))
    with pytest.raises(MioError, match="cannot be centred on a rate of 8"):
        HiFiGANSettings(upsample_rates=(8,), upsample_kernel_sizes=(15,))
    with pytest.raises(MioError, match="cannot be halved 3 times"):
        HiFiGANSettings(upsample_initial_channel=12)
    published = {
        "upsample_rates": [8, 8, 4], "upsample_kernel_sizes": [16, 16, 8], "upsample_initial_channel": 256,
        "resblock_kernel_sizes": [3, 5, 7], "resblock_dilation_sizes": [[1, 2], [2, 6], [3, 12]],
    }  # fmt: skip
    given = hifigan_settings(published | {"resblock": "2"})
    assert given.weight_norm
    assert given.upsample_rates == PRESETS["unified_io2"].upsample_rates
    with pytest.raises(MioError, match="type 1; only type 2"):
        hifigan_settings(published | {"resblock": "1"})
    with pytest.raises(MioError, match="lacks upsample_rates"):
        hifigan_settings({k: v for k, v in published.items() if k != "upsample_rates"})


def test_griffin_lim_gives_back_the_sound_of_a_spectrogram() -> None:
    sound, other = tone(0.6), tone(0.6, 700.0)
    mel = log_power(power_mel(sound), keep_zeros=False)
    made = griffin_lim(mel, MEL)
    assert (made.dtype, made.shape) == (np.float32, (mel.shape[1] * MEL.hop,))
    np.testing.assert_array_equal(made, griffin_lim(mel, MEL))

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return log_spectral_distance(Audio(a, RATE), Audio(b[: len(a)], RATE))

    assert distance(sound, made) < 0.5 * distance(sound, np.pad(other, (0, 256)))
    for bad, says in ((mel[:5], r"finite values \[128, frames\]"), (mel[:, :2], "more than 2")):
        with pytest.raises(MioError, match=says):
            griffin_lim(bad, MEL)


# ------------------------------------------------------------------------------------------------ the whole tokenizer


@pytest.mark.parametrize("with_vocoder", [True, False])
def test_sound_to_codes_and_back(with_vocoder: bool) -> None:
    tokenizer = WaveformTokenizer(mel_tokenizer(), vocoder() if with_vocoder else None)
    assert isinstance(tokenizer, Tokenizer)
    segment = 15 * 256
    assert tokenizer.segment == segment
    codes = tokenizer.encode_batch([Audio(tone(0.24), RATE), Audio(tone(0.5), RATE), Audio(tone(0.24)[::2], RATE // 2)])
    assert [c.shape for c in codes] == [(1, 4), (1, 8), (1, 4)]
    assert codes[0].dtype == np.int32
    np.testing.assert_array_equal(codes[1], tokenizer.encode(Audio(tone(0.5), RATE)))
    made = tokenizer.decode_batch(codes)
    assert [len(audio.samples) for audio in made] == [segment, 2 * segment, segment]
    assert made[0].rate == RATE
    assert tokenizer.encode_batch([]) == tokenizer.decode_batch([]) == []


def test_waveform_spec_and_what_does_not_fit_together(tmp_path: Path) -> None:
    mel, voice = str(tmp_path / "m.safetensors"), str(tmp_path / "v.safetensors")
    mel_tokenizer().save(mel, {})
    vocoder().save(voice, {})
    both, alone = load(f"waveform:{mel},{voice}"), load(f"waveform:{mel}")
    assert both.modality == "audio"
    assert both.fingerprint == alone.fingerprint, "the vocoder has no part in the tokens"
    with pytest.raises(MioError, match="needs a tokenizer of spectrograms, not one of vocoder"):
        load(f"waveform:{voice}")
    with pytest.raises(MioError, match="is a tokenizer of mel"):
        load(f"waveform:{mel},{mel}")
    wide = HiFiGANSettings(upsample_rates=(8,), upsample_kernel_sizes=(16,), mels=16)
    params = init_params(functools.partial(HiFiGAN, wide), jax.random.key(0, impl="rbg"))
    with pytest.raises(MioError, match="takes 16 mels every 8 samples at 16000 Hz; this tokenizer makes 16 every 256"):
        WaveformTokenizer(mel_tokenizer(), Vocoder.from_params(wide, params))


@pytest.mark.parametrize(
    "codes", [np.zeros((1, 5), np.int32), np.zeros(4, np.int32), np.zeros((2, 4), np.int32), np.zeros((1, 0), np.int32)]
)
def test_codes_that_are_no_sound(codes: np.ndarray) -> None:
    with pytest.raises(MioError, match=r"codes \[1, segments x 4\]"):
        WaveformTokenizer(mel_tokenizer()).decode(codes)


def test_sounds_that_cannot_be_encoded() -> None:
    tokenizer = WaveformTokenizer(mel_tokenizer())
    for samples in (np.zeros(0, np.float32), np.zeros(100, np.float32), np.array([np.nan], np.float32)):
        with pytest.raises(MioError):
            tokenizer.encode(Audio(samples, RATE))
