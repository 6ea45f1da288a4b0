"""SpeechTokenizer with ELU and with Snake: every array of `speech_io.npz`, `speech_snake_io.npz`, and the key map."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from mio_jax.nn.base import apply, split_model
from mio_tokenizers.audio import rvq
from mio_tokenizers.audio.checkpoint import export_codec, import_codec, read_spec
from mio_tokenizers.audio.codec import Codec

TOLERANCE = 1e-4  # relative to the array's largest number


def row(name: str) -> pytest.param:
    files = [f"{name}_config.json", f"{name}_weights.safetensors", f"{name}_io.npz"]
    return pytest.param(name, marks=pytest.mark.golden_row("mio", name, files=files))


class Fixture:
    def __init__(self, folder: Path, name: str) -> None:
        self.io = dict(np.load(folder / f"{name}_io.npz"))
        self.config = json.loads((folder / f"{name}_config.json").read_text())
        self.spec = read_spec(folder / f"{name}_config.json")
        self.weights = load_file(folder / f"{name}_weights.safetensors")
        self.params, self.books = import_codec(self.weights, self.spec)
        self.graphdef, _ = split_model(lambda key: Codec(self.spec, key))
        self.wave = jnp.asarray(self.io["wav"][:, 0])

    @property
    def model(self) -> Codec:
        return apply(self.graphdef, self.params)

    def codes(self, wave: jax.Array, n_q: int | None = None, start: int = 0) -> jax.Array:
        return rvq.encode(self.books, jax.jit(lambda w: self.model.features(w))(wave), n_q, start)


@pytest.fixture(scope="module", params=[row("speech"), row("speech_snake")])
def fixture(request, golden) -> Fixture:
    return Fixture(golden("mio"), request.param)


def close(ours: jax.Array, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=TOLERANCE * max(np.abs(theirs).max(), 1e-3))


def first(x: jax.Array) -> jax.Array:
    """Channels last -> channels first."""
    return x.swapaxes(-1, -2)


def test_every_array_is_checked(fixture):
    fixed = {
        *("wav", "enc", "codes", "codes_nq", "codes_st1", "quantized", "dec_all", "dec_half", "dec_first", "dec_st1"),
        *("forward_wav", "forward_commit", "forward_feature"),
    }
    others = {name for name in fixture.io if re.fullmatch(r"enc_trace_\d+|codes_len\d+", name)}
    assert set(fixture.io) == fixed | others
    assert any(name.startswith("enc_trace") for name in others)
    assert any(name.startswith("codes_len") for name in others)


def test_key_map_both_ways(fixture):
    again = export_codec(fixture.params, fixture.books, fixture.spec)
    assert set(again) == set(fixture.weights)
    for name, array in fixture.weights.items():
        np.testing.assert_array_equal(again[name], array, err_msg=name)


def test_encoder_and_its_modules(fixture):
    @jax.jit
    def run(wave: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        trace: list[jax.Array] = []
        return fixture.model.encoder(wave[..., None], trace), trace

    encoded, trace = run(fixture.wave)
    for name in fixture.io:
        if name.startswith("enc_trace_"):
            wanted = fixture.io[name]
            close(first(trace[int(name.removeprefix("enc_trace_"))])[..., : wanted.shape[-1]], wanted)
    close(first(encoded), fixture.io["enc"])
    assert encoded.shape[1] == -(-fixture.wave.shape[1] // fixture.spec.hop)


def test_codes(fixture):
    half = fixture.spec.n_q // 2
    np.testing.assert_array_equal(fixture.codes(fixture.wave), fixture.io["codes"])
    np.testing.assert_array_equal(fixture.codes(fixture.wave, half), fixture.io["codes_nq"])
    np.testing.assert_array_equal(fixture.codes(fixture.wave, half, 1), fixture.io["codes_st1"])


def test_codes_at_awkward_lengths(fixture):
    for name in fixture.io:
        if name.startswith("codes_len"):
            length = int(name.removeprefix("codes_len"))
            np.testing.assert_array_equal(fixture.codes(fixture.wave[:, :length]), fixture.io[name], err_msg=name)


def test_decoding_some_or_all_layers(fixture):
    half = fixture.spec.n_q // 2
    codes = jnp.asarray(fixture.io["codes"])
    decode = jax.jit(lambda features: fixture.model.synthesize(features, features).wave)
    close(first(rvq.lookup(fixture.books, codes)), fixture.io["quantized"])
    for name, picked, start in (
        ("dec_all", codes, 0),
        ("dec_half", codes[:half], 0),
        ("dec_first", codes[:1], 0),
        ("dec_st1", codes[1:half], 1),
    ):
        close(decode(rvq.decode(fixture.books, picked, start))[:, None], fixture.io[name])


def test_forward_pass(fixture):
    @jax.jit
    def run(wave: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        quantized = rvq.quantize(fixture.books, fixture.model.features(wave))
        made = fixture.model.synthesize(quantized.quantized, quantized.quantized).wave
        return made[:, None], quantized.commitment, fixture.model.semantic(quantized.layers[0])

    made, commitment, semantic = run(fixture.wave)
    close(made, fixture.io["forward_wav"])
    close(commitment, fixture.io["forward_commit"])
    close(semantic, fixture.io["forward_feature"])
