"""Sound files, measures of sound, and Codec2."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io.wavfile

from mio_jax.errors import MioError
from mio_tokenizers import load
from mio_tokenizers.audio import Codec2Tokenizer, log_spectral_distance, pitch_of, read_audio, write_wav
from mio_tokenizers.audio.metrics import cents, resample
from mio_tokenizers.audio.pitch import smooth_track, track
from mio_tokenizers.base import Audio, Tokenizer

RATE = 16000


def tone(hz: float, seconds: float = 1.0, rate: int = RATE, partials: int = 5) -> Audio:
    """A decaying note of several harmonics."""
    t = np.arange(round(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * k * hz * t) / k for k in range(1, partials + 1) if k * hz < rate / 2)
    return Audio((0.3 * wave * np.exp(-2 * t)).astype(np.float32), rate)


# --- files


def test_wav_round_trip(tmp_path):
    path = tmp_path / "folder" / "note.wav"
    write_wav(path, tone(220))
    again = read_audio(path)
    assert again.rate == RATE
    np.testing.assert_allclose(again.samples, tone(220).samples, atol=1.6 / 32768)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_sample_formats_and_channels(tmp_path, dtype):
    wave = np.stack([tone(220).samples, tone(220).samples], 1)
    scale = {np.uint8: 127, np.int16: 32767, np.int32: 2**31 - 128, np.float32: 1}[dtype]
    pcm = (wave.astype(np.float64) * scale + (128 if dtype is np.uint8 else 0)).astype(dtype)
    scipy.io.wavfile.write(tmp_path / "x.wav", RATE, pcm)
    again = read_audio(tmp_path / "x.wav")
    assert again.samples.ndim == 1
    np.testing.assert_allclose(again.samples, wave[:, 0], atol=0.02 if dtype is np.uint8 else 1e-4)


def test_files_that_cannot_be_read(tmp_path):
    write_wav(tmp_path / "good.wav", tone(220))
    whole = (tmp_path / "good.wav").read_bytes()
    scipy.io.wavfile.write(tmp_path / "silent.wav", RATE, np.zeros(1600, np.int16))
    scipy.io.wavfile.write(tmp_path / "none.wav", RATE, np.zeros(0, np.int16))
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "noise.wav").write_bytes(bytes(range(256)))
    (tmp_path / "cut.wav").write_bytes(whole[:30])
    (tmp_path / "text.flac").write_text("this is not sound")
    for name, says in (
        ("absent.wav", "no sound file"),
        ("empty.wav", "empty"),
        ("none.wav", "empty"),
        ("silent.wav", "silent"),
        ("noise.wav", "no readable WAV"),
        ("cut.wav", "no readable WAV"),
        ("text.flac", "no readable sound file|soundfile"),
    ):
        with pytest.raises(MioError, match=says) as error:
            read_audio(tmp_path / name)
        assert name in str(error.value)
        assert "\n" not in str(error.value)


def test_writing_refuses_nan_and_clips(tmp_path):
    with pytest.raises(MioError, match="NaN"):
        write_wav(tmp_path / "x.wav", Audio(np.array([np.nan], np.float32), RATE))
    write_wav(tmp_path / "x.wav", Audio(np.array([2.0, -2.0, 0.5], np.float32), RATE))
    np.testing.assert_allclose(read_audio(tmp_path / "x.wav").samples, [1, -1, 0.5], atol=1e-4)


# --- measures


@pytest.mark.parametrize("hz", [41.2, 82.4, 261.6, 440.0, 1046.5, 1975.5])
def test_pitch_of_notes(hz):
    assert abs(cents(pitch_of(tone(hz)), hz)) < 15


def test_pitch_of_a_note_whose_fundamental_is_missing():
    t = np.arange(RATE) / RATE
    wave = sum(np.sin(2 * np.pi * 200 * k * t) for k in (2, 3, 4, 5)) / 8
    assert abs(cents(pitch_of(Audio(wave.astype(np.float32), RATE)), 200)) < 15


def test_noise_has_no_pitch():
    noise = np.random.default_rng(0).normal(size=RATE).astype(np.float32) * 0.1
    assert pitch_of(Audio(noise, RATE)) == 0.0
    assert cents(0.0, 440) == float("inf")


def test_track_shapes_and_smoothing():
    wave = np.concatenate([np.zeros(3200, np.float32), tone(330).samples])
    f0, clarity = track(wave, RATE, 640)
    assert f0.shape == clarity.shape == (30,)
    smooth = smooth_track(f0, clarity)
    assert np.all(np.abs(1200 * np.log2(smooth / 330)) < 20)  # the silence takes the pitch of the nearest frame
    both, _ = track(np.stack([wave, wave]), RATE, 640)
    np.testing.assert_array_equal(both, np.stack([f0, f0]))
    assert np.all(smooth_track(np.zeros(4), np.zeros(4)) == 220)


def test_log_spectral_distance_orders_sounds():
    hiss = np.random.default_rng(0).normal(size=(3, RATE)).astype(np.float32) * 0.01  # a pure tone is mostly silence
    a, near, far = (Audio(tone(hz).samples + h, RATE) for hz, h in zip((220, 220, 311), hiss, strict=True))
    silence = Audio(np.zeros(RATE, np.float32), RATE)
    assert log_spectral_distance(a, a) == 0
    assert 0 < log_spectral_distance(a, near) < log_spectral_distance(a, far) < log_spectral_distance(a, silence)
    short = Audio(a.samples[:8000], RATE)
    assert log_spectral_distance(a, short) == pytest.approx(log_spectral_distance(short, a))
    with pytest.raises(MioError, match="resample"):
        log_spectral_distance(a, Audio(a.samples, 8000))


def test_resampling_keeps_the_pitch():
    made = resample(tone(440, rate=44100).samples, 44100, RATE)
    assert len(made) == RATE
    assert abs(cents(pitch_of(Audio(made, RATE)), 440)) < 15


# --- Codec2


@pytest.fixture(scope="module")
def codec2() -> Codec2Tokenizer:
    pytest.importorskip("pycodec2")
    return load("codec2:700C")


def test_codec2_shapes(codec2):
    assert isinstance(codec2, Tokenizer)
    assert codec2.layer_sizes == (512, 512, 16, 64)
    codes = codec2.encode(tone(150, 1.01))
    assert codes.shape == (4, 26)  # 25.25 frames of 40 ms, the last one completed
    assert codes.dtype == np.int32
    sound = codec2.decode(codes)
    assert sound.rate == 8000
    assert len(sound.samples) == 26 * 320


def test_codec2_codes_survive_packing(codec2):
    """Any codes that the encoder can make come back bit for bit from the bytes that the library reads."""
    import pycodec2

    pcm = (tone(150, 0.4, 8000).samples * 32767).astype(np.int16)
    codes = codec2.encode(Audio(pcm.astype(np.float32) / 32767, 8000))
    raw = pycodec2.Codec2(700)
    packed = [np.frombuffer(raw.encode(np.ascontiguousarray(f)), np.uint8) for f in pcm.reshape(-1, 320)]
    bits = np.unpackbits(np.stack(packed), axis=1)
    words = [int("".join(map(str, row[:28])), 2) for row in bits]
    for word, (a, b, c, d) in zip(words, codes.T, strict=True):
        assert word == (int(a) << 19) | (int(b) << 10) | (int(c) << 6) | int(d)


def test_codec2_sounds_more_like_the_original_than_its_controls(codec2):
    rng = np.random.default_rng(0)
    syllables = [tone(hz, 0.4, 8000, 12).samples for hz in (120, 180, 140, 220, 160)]
    wave = np.concatenate(syllables)
    original = Audio(wave + rng.normal(size=wave.shape).astype(np.float32) * 0.01, 8000)
    codes = codec2.encode(original)
    decoded = log_spectral_distance(original, codec2.decode(codes))
    shuffled = log_spectral_distance(original, codec2.decode(codes[:, rng.permutation(codes.shape[1])]))
    silence = log_spectral_distance(original, Audio(np.zeros_like(original.samples), 8000))
    assert decoded < shuffled < silence


def test_codec2_refuses_bad_input(codec2):
    with pytest.raises(MioError, match="silent"):
        codec2.encode(Audio(np.zeros(8000, np.float32), 8000))
    with pytest.raises(MioError, match="Codec2 code 16 of layer 2"):
        codec2.decode(np.array([[0], [0], [16], [0]]))
    with pytest.raises(MioError, match="whole-number codes"):
        codec2.decode(np.zeros((3, 2), np.int32))
    with pytest.raises(MioError, match="unknown Codec2 mode"):
        load("codec2:9600")
