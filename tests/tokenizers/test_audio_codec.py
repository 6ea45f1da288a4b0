"""The audio codec's parts against slow references, and the tokenizer around them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mio_jax.errors import MioError
from mio_jax.nn.base import apply, init_params, split_model
from mio_tokenizers import load
from mio_tokenizers.audio import AudioTokenizer, pitch_of, rvq
from mio_tokenizers.audio.codec import Codec, CodecSpec, ToneDecoder, ToneSpec
from mio_tokenizers.audio.layers import Conv, ConvTranspose, fold, pad_reflect
from mio_tokenizers.audio.seanet import SEANetSpec
from mio_tokenizers.audio.tone import harmonics, interpolate, noise
from mio_tokenizers.base import Audio, Tokenizer
from mio_tokenizers.weights_file import flat_arrays, nested_arrays

RATE, HOP = 1600, 40
SEANET = SEANetSpec(
    n_filters=2, strides=(4, 10), dimension=6, bidirectional=False, lstm_layers=1, activation="Snake", weight_norm=False
)
TONE = ToneSpec(
    harmonics=3, noise_bands=2, gains=2, width=4, long_window=160, short_window=80, octaves=3, short_bands=4
)
SPEC = CodecSpec(seanet=SEANET, n_q=3, codebook_size=8, sample_rate=RATE, tone=TONE)


@pytest.fixture(scope="module", autouse=True)
def quick_compilation() -> Iterator[None]:
    """These models are so small that compiling them is all the time a test takes."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def tokenizer() -> AudioTokenizer:
    params = jax.jit(lambda key: init_params(lambda k: Codec(SPEC, k), key))(jax.random.key(0))
    return AudioTokenizer.from_training(SPEC, params, jax.random.normal(jax.random.key(1), (3, 8, 6)))


def note(seconds: float, rate: int = RATE, hz: float = 220.0) -> Audio:
    return Audio((0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32), rate)


# --- residual quantiser


@given(st.integers(0, 2**31 - 1), st.sampled_from([(1, 1), (3, 7)]))  # few shapes: each is compiled
def test_codes_name_the_nearest_rows_of_what_is_left_over(seed, shape):
    layers, rows = shape
    rng = np.random.default_rng(seed)
    books = rng.normal(size=(layers, rows, 3)).astype(np.float32)
    x = rng.normal(size=(2, 5, 3)).astype(np.float32)
    state = rvq.RVQState(jnp.asarray(books), jnp.asarray(books), jnp.ones((layers, rows)))
    codes, residual = np.asarray(rvq.encode(state, jnp.asarray(x))), x
    for layer in range(layers):
        distance = ((residual[..., None, :] - books[layer]) ** 2).sum(-1)
        picked = np.take_along_axis(distance, codes[layer][..., None], -1)[..., 0]
        np.testing.assert_allclose(picked, distance.min(-1), rtol=1e-4, atol=1e-5)
        residual = residual - books[layer][codes[layer]]
    np.testing.assert_allclose(x - rvq.decode(state, jnp.asarray(codes)), residual, atol=1e-5)


def test_dead_rows_live_again_only_if_their_averages_are_restarted():
    x = jax.random.normal(jax.random.key(0), (4, 50, 2))
    far = jnp.full((1, 16, 2), 100.0).at[:, 0].set(0.0)
    state = rvq.RVQState(far, far * 0.01, jnp.full((1, 16), 0.01))
    for revive, alive in ((True, 8), (False, 1)):
        new = state
        for step in range(4):
            result, new = rvq.train_step(new, x, jax.random.key(step), decay=0.9, dead_below=0.5, revive=revive)
        used = len(np.unique(result.codes))
        assert (used >= alive) if revive else (used == alive)


def test_layers_that_an_example_drops_are_left_out_of_its_sum():
    state = rvq.new_state(3, 8, 4, jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (3, 5, 4))
    result, _ = rvq.train_step(state, x, jax.random.key(2), kept=jnp.array([1, 2, 3]))
    for example, kept in enumerate((1, 2, 3)):
        np.testing.assert_allclose(result.quantized[example], result.layers[:kept, example].sum(0), atol=1e-5)


def test_kmeans_finds_separate_clusters():
    centres = jnp.array([[0.0, 0], [10, 0], [0, 10], [10, 10]])
    x = jnp.repeat(centres, 25, 0)[None] + 0.1 * jax.random.normal(jax.random.key(0), (1, 100, 2))
    books = rvq.kmeans_init(x, 2, 8, jax.random.key(3))
    error = x - rvq.quantize(books, x).quantized
    assert float(jnp.abs(error).max()) < 0.5
    assert float(books.cluster_size.sum()) == 200


# --- layers


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(7, 1, 1), (3, 1, 2), (8, 4, 1), (10, 5, 1), (1, 1, 1)])
@pytest.mark.parametrize("length", [1, 3, 20, 23])
def test_convolution_is_the_sum_it_says(kernel, stride, dilation, length):
    conv = Conv(2, 3, kernel, jax.random.key(0), stride=stride, dilation=dilation)
    x = np.random.default_rng(0).normal(size=(1, length, 2)).astype(np.float32)
    y = np.asarray(conv(jnp.asarray(x)))
    assert y.shape == (1, -(-length // stride), 3)
    span, weight = (kernel - 1) * dilation + 1, np.asarray(conv.kernel())
    total = span - stride
    left, right = total - total // 2, total // 2 + (-length) % stride
    padded = np.asarray(pad_reflect(jnp.asarray(x), left, right))[0]
    for frame in range(y.shape[1]):
        taps = padded[frame * stride : frame * stride + span : dilation]
        want = np.einsum("kc,ock->o", taps, weight) + np.asarray(conv.bias[...])
        np.testing.assert_allclose(y[0, frame], want, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 4, 5])
def test_transposed_convolution_is_the_sum_it_says(stride):
    layer = ConvTranspose(2, 3, stride, jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    weight = np.asarray(layer.kernel())
    full = np.zeros(((len(x) + 1) * stride, 3), np.float32)
    for t, vector in enumerate(x):
        full[t * stride : (t + 2) * stride] += np.einsum("c,cok->ko", vector, weight)
    left = stride - stride // 2
    want = full[left : left + len(x) * stride] + np.asarray(layer.bias[...])
    np.testing.assert_allclose(np.asarray(layer(jnp.asarray(x)[None]))[0], want, atol=1e-5)


def test_folded_weights_sound_the_same():
    normal = dataclasses.replace(SPEC, seanet=dataclasses.replace(SEANET, weight_norm=True))
    params = init_params(lambda k: Codec(normal, k), jax.random.key(0))
    jitter = jax.tree.map(lambda x: x + 0.1 * jnp.sin(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), params)
    features = jax.random.normal(jax.random.key(1), (1, 4, 6))
    f0 = jnp.full((1, 4), 100.0)
    waves = []
    for spec, arrays in ((normal, jitter), (SPEC, fold(jitter))):
        graphdef, abstract = split_model(lambda k, spec=spec: Codec(spec, k))
        params = nested_arrays(flat_arrays(arrays), abstract, "test")
        run = jax.jit(lambda p, g=graphdef: apply(g, p).synthesize(features, features, f0).wave)
        waves.append(np.asarray(run(params)))
    np.testing.assert_allclose(waves[0], waves[1], atol=1e-4)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("weight_norm", [False, True])
def test_weights_laid_out_for_inference_compute_the_same(weight_norm, bidirectional):
    seanet = dataclasses.replace(SEANET, weight_norm=weight_norm, bidirectional=bidirectional, lstm_layers=2)
    codec = jax.jit(lambda key: Codec(dataclasses.replace(SPEC, seanet=seanet), key))(jax.random.key(3))
    waves = jax.random.normal(jax.random.key(4), (2, 3 * HOP))
    frames = jax.random.normal(jax.random.key(5), (2, 3, 6))
    f0 = jnp.full((2, 3), 100.0)  # a pitch that rounding does not move
    arranged = codec.for_inference()
    assert not hasattr(arranged.encoder.model[0], "weight_g")
    assert arranged.encoder.model[0].weight.shape != codec.encoder.model[0].kernel().shape  # [k, in, out]

    @jax.jit
    def both(model: Codec) -> tuple[jax.Array, jax.Array]:
        return model.features(waves), model.synthesize(frames, frames, f0).wave

    for made, expected in zip(both(arranged), both(codec), strict=True):
        np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
    both(arranged.for_inference())  # once more changes nothing


# --- tones


def test_a_steady_fundamental_is_a_sine_without_seams():
    f0, hop, frames = 100.3, 64, 30
    wave = np.asarray(harmonics(jnp.full((1, frames), f0), jnp.ones((1, frames, 1)), hop, 8000))[0]
    assert wave.shape == (hop * frames,)
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1 << 17))
    assert abs(spectrum.argmax() * 8000 / (1 << 17) - f0) < 0.5
    steps = np.abs(np.diff(wave))
    assert steps.max() < 1.01 * 2 * np.pi * f0 / 8000


def test_levels_follow_straight_lines_and_inaudible_harmonics_are_silent():
    levels = np.random.default_rng(0).uniform(size=(1, 5, 3)).astype(np.float32)
    line = np.asarray(interpolate(jnp.asarray(levels), 8))[0]
    np.testing.assert_allclose(line[:4], np.broadcast_to(levels[0, 0], (4, 3)), atol=1e-6)
    middles = (line[3::8][:-1] + line[4::8][: len(line[3::8]) - 1]) / 2
    np.testing.assert_allclose(middles, levels[0][: len(middles)], atol=0.1)
    assert not np.asarray(harmonics(jnp.full((1, 4), 3900.0), jnp.ones((1, 4, 2)), 64, 8000)).any()


def test_noise_is_the_same_every_time():
    levels = jnp.ones((1, 6, 4))
    a, b = (np.asarray(noise(levels, 64, 8000)) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert 0.5 < np.sqrt(np.mean(a**2)) < 4


@pytest.mark.parametrize("hz", [33.0, 110.0, 441.3, 2000.0])
def test_pitch_targets_decode_to_the_pitch(hz):
    decoder = ToneDecoder(SPEC, TONE, jax.random.key(0))
    targets = decoder.targets(jnp.full((1, 7), hz))
    found = float(decoder.frequency(jnp.log(targets + 1e-9))[0, 3])
    assert abs(1200 * np.log2(found / hz)) < 10


# --- tokenizer


def test_shapes_rates_and_channels(tokenizer):
    assert isinstance(tokenizer, Tokenizer)
    assert (tokenizer.vocab_size, tokenizer.layer_sizes) == (8, (8, 8, 8))
    codes = tokenizer.encode(note(1.0))
    assert codes.shape == (3, 40)
    assert codes.dtype == np.int32
    assert codes.min() >= 0
    assert codes.max() < 8
    sound = tokenizer.decode(codes)
    assert sound.rate == RATE
    assert sound.samples.shape == (RATE,)
    assert np.abs(sound.samples).max() <= 1
    stereo = np.repeat(note(0.5, 3200).samples[:, None], 2, 1)
    assert tokenizer.encode(Audio(stereo, 3200)).shape == (3, 20)
    np.testing.assert_array_equal(tokenizer.encode(Audio(stereo, 3200)), tokenizer.encode(note(0.5, 3200)))


def test_level_does_not_change_codes(tokenizer):
    loud = note(1.0)
    quiet = Audio(loud.samples / 64, RATE)
    np.testing.assert_array_equal(tokenizer.encode(loud), tokenizer.encode(quiet))


def test_a_sound_does_not_depend_on_its_batch(tokenizer):
    sounds = [note(s, hz=hz) for s, hz in ((1.0, 220), (0.3, 110), (1.7, 330), (1.0, 75), (0.025, 400))]
    together = tokenizer.encode_batch(sounds)
    assert [c.shape[1] for c in together] == [40, 12, 68, 40, 1]
    for sound, codes in zip(sounds, together, strict=True):
        np.testing.assert_array_equal(tokenizer.encode(sound), codes)
    mixed = [together[0], together[2][:1], together[1][:2], together[3]]
    for codes, sound in zip(mixed, tokenizer.decode_batch(mixed), strict=True):
        np.testing.assert_array_equal(tokenizer.decode(codes).samples, sound.samples)
        assert len(sound.samples) == codes.shape[1] * HOP


def test_save_and_load_keep_tokens_and_fingerprint(tokenizer, tmp_path):
    path = tmp_path / "codec.safetensors"
    tokenizer.save(path, {"name": "sines", "licence": "CC0-1.0", "attribution": "none"})
    again = AudioTokenizer.load(path)
    assert again.fingerprint == tokenizer.fingerprint
    assert again.fingerprint.startswith("audio_rvq:")
    np.testing.assert_array_equal(again.encode(note(1.0)), tokenizer.encode(note(1.0)))
    assert load(str(path)).fingerprint == tokenizer.fingerprint


def test_fingerprint_changes_with_one_weight(tokenizer):
    arrays = dict(tokenizer._arrays)
    name = next(n for n in arrays if n.endswith("bias"))
    arrays[name] = arrays[name] + np.float16(0.125)
    assert AudioTokenizer(SPEC, arrays).fingerprint != tokenizer.fingerprint


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (np.zeros(0, np.float32), "empty"),
        (np.zeros(1600, np.float32), "silent"),
        (np.full(1600, 5e-5, np.float32), "silent"),
        (np.array([0.1, np.nan], np.float32), "NaN"),
        (np.zeros((2, 2, 2), np.float32), "float samples"),
        (np.zeros(1600, np.int16), "float samples"),
    ],
)
def test_sound_that_cannot_be_encoded(tokenizer, samples, says):
    with pytest.raises(MioError, match=says):
        tokenizer.encode(Audio(samples, RATE))


@pytest.mark.parametrize(
    ("codes", "says"),
    [
        (np.zeros((4, 5), np.int32), "whole-number codes"),
        (np.zeros((0, 5), np.int32), "whole-number codes"),
        (np.zeros((3, 5), np.float32), "whole-number codes"),
        (np.zeros((3, 0), np.int32), "no frames"),
        (np.full((3, 5), 8, np.int32), "code 8 is outside 0..7"),
        (np.full((3, 5), -1, np.int32), "code -1"),
    ],
)
def test_codes_that_cannot_be_decoded(tokenizer, codes, says):
    with pytest.raises(MioError, match=says):
        tokenizer.decode(codes)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"strides": ()}, "strides"),
        ({"activation": "ReLU"}, "activation"),
        ({"n_filters": 0}, "n_filters"),
    ],
)
def test_impossible_sizes(change, says):
    with pytest.raises(MioError, match=says):
        dataclasses.replace(SEANET, **change)


def test_the_bundled_codec_keeps_the_pitch_of_a_note_it_never_heard():
    codec = load("bundled:audio_rvq_tiny")
    t = np.arange(16000) / 16000
    for hz in (220.0, 440.0):
        wave = sum(np.sin(2 * np.pi * hz * k * t) / k for k in range(1, 8)) * np.exp(-1.5 * t)
        codes = codec.encode(Audio(wave.astype(np.float32), 16000))
        assert codes.shape == (4, 25)
        for layers in (1, 4):
            assert abs(1200 * np.log2(pitch_of(codec.decode(codes[:layers])) / hz)) < 50
