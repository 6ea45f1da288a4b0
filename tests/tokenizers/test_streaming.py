"""Codecs in pieces: blocks encode to the codes of the whole, chunks decode to its sound, and memory is bounded."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_jax.errors import MioError
from mio_jax.nn.base import apply, init_params, split_model
from mio_tokenizers import load
from mio_tokenizers.audio import SpeechTokenizer, StreamingDecoder, rvq
from mio_tokenizers.audio.block_encoder import BlockEncoder
from mio_tokenizers.audio.codec import Codec, CodecSpec, ToneSpec
from mio_tokenizers.audio.io import SoundReader, read_audio
from mio_tokenizers.audio.metrics import resample
from mio_tokenizers.audio.seanet import SEANetSpec
from mio_tokenizers.audio.speech import SpeechSpec
from mio_tokenizers.audio.tokenizer import AudioTokenizer
from mio_tokenizers.base import Audio

HOP, RATE = 20, 1000
SEANET = SEANetSpec(n_filters=2, strides=(5, 4), dimension=6, n_residual_layers=2)
SPEC = SpeechSpec(CodecSpec(SEANET, n_q=3, codebook_size=16, sample_rate=RATE), layers=2)


@pytest.fixture(scope="module", autouse=True)
def quick_compilation() -> Iterator[None]:
    """These models are so small that compiling them is all the time a test takes."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def tokenizer() -> SpeechTokenizer:
    params = jax.jit(functools.partial(init_params, functools.partial(Codec, SPEC.codec)))(jax.random.key(0))
    # Rows among the features of noise, so that codes differ from frame to frame.
    seen = FEATURES(params, noise(48 * HOP)[None])[0]
    embed = jnp.stack([seen[::3], 0.1 * (seen[1::3] - seen[::3]), 0.1 * (seen[2::3] - seen[::3])])
    return SpeechTokenizer.from_codec(SPEC, params, rvq.RVQState(embed, embed, jnp.ones((3, 16))))


FEATURES = jax.jit(lambda params, wave: apply(GRAPH, params).features(wave))
SOUND = jax.jit(lambda params, features: apply(GRAPH, params).synthesize(features, features).wave)
GRAPH, _ = split_model(functools.partial(Codec, SPEC.codec))


def whole_codes(tokenizer: SpeechTokenizer, wave: np.ndarray) -> np.ndarray:
    """By the codec itself, on the sound as it is."""
    return np.asarray(rvq.encode(tokenizer.books(), FEATURES(tokenizer.params(), wave[None]), SPEC.layers))[:, 0]


def decided(tokenizer: SpeechTokenizer, wave: np.ndarray) -> np.ndarray:
    """bool [layers, frames]: no code of this layer or one before it is a near tie, which may fall either way.

    Distances are |x|^2 - 2 x e + |e|^2 in float32, so near is measured by |x|^2.
    """
    left = np.asarray(FEATURES(tokenizer.params(), wave[None]), np.float64)[0]
    clear = np.ones(len(left), bool)
    layers = []
    tables = np.asarray(tokenizer.books().embed, np.float64)
    for table, codes in zip(tables, whole_codes(tokenizer, wave), strict=False):
        distances = np.sort(((left[:, None] - table) ** 2).sum(-1), axis=1)
        clear = clear & (distances[:, 1] - distances[:, 0] > 3e-6 * (left**2).sum(-1))
        layers.append(clear)
        left = left - table[codes]
    return np.stack(layers)


def whole_sound(tokenizer: SpeechTokenizer, codes: np.ndarray) -> np.ndarray:
    features = rvq.decode(tokenizer.books(), jnp.asarray(codes)[:, None])
    return np.clip(np.asarray(SOUND(tokenizer.params(), features))[0], -1, 1)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.2, samples).clip(-1, 1).astype(np.float32)


@pytest.mark.parametrize("samples", [37 * HOP + 1])
def test_blocks_give_the_codes_of_the_whole_in_bounded_memory(tokenizer: SpeechTokenizer, samples: int) -> None:
    encoder = BlockEncoder(tokenizer.weights, SPEC.layers, block_frames=16, kept_frames=16)
    wave, most, at_once = noise(samples), 0, encoder.largest

    def read(start: int, stop: int) -> np.ndarray:
        nonlocal most
        assert 0 <= start < stop <= samples
        most = max(most, stop - start)
        return wave[start:stop]

    codes = encoder.encode(read, samples)
    np.testing.assert_array_equal(codes, whole_codes(tokenizer, wave))
    assert len(np.unique(codes)) > 4
    assert most <= at_once
    # The bound does not know how long the sound is.
    assert at_once == BlockEncoder(tokenizer.weights, SPEC.layers, block_frames=16).largest <= 22 * HOP


def test_sounds_of_any_length_are_encoded_as_they_are(tokenizer: SpeechTokenizer) -> None:
    waves = [noise(n, n) for n in (1, 7 * HOP + 3, 30 * HOP - 1)]
    for wave, codes in zip(waves, tokenizer.encode_batch([Audio(wave, RATE) for wave in waves]), strict=True):
        sure = decided(tokenizer, wave)
        assert sure.mean() > 0.9
        np.testing.assert_array_equal(codes[sure], whole_codes(tokenizer, wave)[sure], err_msg=str(len(wave)))


@pytest.mark.parametrize(("frames", "layers"), [(4, 1), (37, 2)])
def test_chunks_sound_as_the_whole(tokenizer: SpeechTokenizer, frames: int, layers: int) -> None:
    rng = np.random.default_rng(frames)
    codes = rng.integers(0, 16, (layers, frames))
    stream, made, at = StreamingDecoder(tokenizer, chunk_frames=6), [], 0
    while at < frames:
        step = int(rng.integers(1, 9))
        made.append(stream.push(codes[:, at : at + step]))
        at += step
    early = sum(map(len, made))
    made.append(stream.finish())
    np.testing.assert_allclose(np.concatenate(made), whole_sound(tokenizer, codes), atol=2e-6)
    assert frames < 20 or early >= (frames - 20) * HOP, "nothing is heard before the end"
    kept = stream._codes.shape[1] + (0 if stream._outputs is None else len(stream._outputs))
    assert kept < 40, "memory grows with the sound"


def test_chunks_of_the_bundled_kind_of_codec_sound_as_its_whole() -> None:
    seanet = SEANetSpec(n_filters=2, strides=(4, 5), dimension=4, bidirectional=False, lstm_layers=1, weight_norm=False)
    spec = CodecSpec(seanet, n_q=2, codebook_size=8, sample_rate=200)
    params = init_params(functools.partial(Codec, spec), jax.random.key(2))
    tokenizer = AudioTokenizer.from_training(spec, params, jax.random.normal(jax.random.key(3), (2, 8, 4)))
    codes = np.random.default_rng(0).integers(0, 8, (2, 9))  # filled up to 10 frames, which is heard at the end
    stream = StreamingDecoder(tokenizer, 5)
    made = np.concatenate([stream.push(codes), stream.finish()])
    np.testing.assert_allclose(made, tokenizer.decode(codes).samples, atol=2e-6)


def test_what_cannot_be_decoded_is_one_line(tokenizer: SpeechTokenizer) -> None:
    stream = StreamingDecoder(tokenizer, 6)
    with pytest.raises(MioError, match="no frames"):
        stream.finish()
    for codes, told in (
        (np.zeros((3, 2), int), r"\[1..2 layers, frames\]"),
        (np.full((2, 2), 16), "outside the codebook"),
        (np.zeros((2, 2)), "whole numbers"),
    ):
        with pytest.raises(MioError, match=told):
            stream.push(codes)
    stream.push(np.zeros((2, 1), int))
    with pytest.raises(MioError, match="1 layers of codes come after 2"):
        stream.push(np.zeros((1, 1), int))
    stream.finish()
    with pytest.raises(MioError, match="finished"):
        stream.push(np.zeros((2, 1), int))
    with pytest.raises(MioError, match="must be over"):
        StreamingDecoder(tokenizer, 3)
    with pytest.raises(MioError, match="tone branches"):
        StreamingDecoder(load("bundled:audio_rvq_tiny"))
    with pytest.raises(MioError, match="tone branches"):
        BlockEncoder(tokenizer.weights._replace(spec=CodecSpec(tone=ToneSpec())), 1)


def test_a_long_stereo_file_is_read_piece_by_piece(tokenizer: SpeechTokenizer, tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    stereo = np.stack([noise(9 * 4410, 1), noise(9 * 4410, 2)], 1)
    path = tmp_path / "long.wav"
    soundfile.write(path, stereo, 4410, subtype="FLOAT")
    with SoundReader(path, RATE) as sound:
        want = resample(read_audio(path).samples, 4410, RATE)
        assert sound.samples == len(want) == 9000
        for start, stop in ((0, 300), (299, 1000), (4321, 7000), (8700, 9000)):
            np.testing.assert_allclose(sound.read(start, stop), want[start:stop], atol=1e-6)
    codes = tokenizer.encode_file(path)
    assert codes.shape == (2, 450)
    assert (codes == tokenizer.encode(read_audio(path))).mean() > 0.99
    with pytest.raises(MioError, match="there is no sound file"):
        tokenizer.encode_file(tmp_path / "none.wav")
    (tmp_path / "bad.flac").write_bytes(b"fLaC no more")
    with pytest.raises(MioError, match="no readable sound file"):
        tokenizer.encode_file(tmp_path / "bad.flac")


def test_a_tokenizer_file_and_the_published_names(tokenizer: SpeechTokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "speech.safetensors", {"name": "", "licence": "", "attribution": ""})
    again = load(str(tmp_path / "speech.safetensors"))
    assert again.fingerprint == tokenizer.fingerprint
    assert (again.n_q, again.layer_sizes, again.hop) == (2, (16, 16), HOP)
    names = tokenizer.published()
    assert "encoder.model.0.conv.conv.weight_g" in names
    assert "quantizer.vq.layers.2._codebook.embed_avg" in names
    other = SpeechTokenizer.from_published(names, SPEC.codec, 1)
    wave = noise(9 * HOP)
    np.testing.assert_array_equal(other.encode(Audio(wave, RATE)), tokenizer.encode(Audio(wave, RATE))[:1])
    with pytest.raises(MioError, match="layers is 4; the codec has 3"):
        SpeechSpec(SPEC.codec)
