"""`mio tokenizer import`, `encode`, `decode`, `export` of a tiny published speech tokenizer, there and back."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io.wavfile

from mio_jax.cli.main import main
from mio_jax.nn.base import init_params
from mio_tokenizers.audio import write_wav
from mio_tokenizers.audio.checkpoint import config_of, export_codec, spec_from_config
from mio_tokenizers.audio.codec import Codec, CodecSpec
from mio_tokenizers.audio.rvq import RVQState
from mio_tokenizers.audio.seanet import SEANetSpec
from mio_tokenizers.base import Audio
from mio_tokenizers.training.checkpoint import read_safetensors, write_safetensors

SPEC = CodecSpec(SEANetSpec(n_filters=2, strides=(4, 2), dimension=4, lstm_layers=0), 2, 8, 800, 4)


def test_there_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("soundfile")
    monkeypatch.chdir(tmp_path)
    assert spec_from_config(config_of(SPEC)) == SPEC
    params = jax.jit(functools.partial(init_params, functools.partial(Codec, SPEC)))(jax.random.key(0))
    books = jax.random.normal(jax.random.key(1), (2, 8, 4))
    arrays = export_codec(params, RVQState(books, books, jnp.ones((2, 8))), SPEC)
    write_safetensors("published/model.safetensors", arrays, {})
    assert main(["tokenizer", "import", "--from", "published", "--out", "s.safetensors"]) == 2
    assert "no readable codec config" in capsys.readouterr().err
    (tmp_path / "published" / "config.json").write_text(json.dumps(config_of(SPEC)))
    assert main(["tokenizer", "import", "--from", "published", "--out", "s.safetensors", "--layers", "2"]) == 0
    write_wav("a.wav", Audio(np.random.default_rng(0).normal(0, 0.2, (1000, 2)).astype(np.float32), 1600))
    own = ["--tokenizer", "s.safetensors"]
    assert main(["tokenizer", "encode", *own, "--audio", "a.wav", "--out", "a.npy"]) == 0
    assert np.load("a.npy").shape == (2, 63)
    assert main(["tokenizer", "decode", *own, "--codes", "a.npy", "--out", "b.wav"]) == 0
    assert scipy.io.wavfile.read("b.wav")[1].shape == (63 * 8,)
    assert main(["tokenizer", "export", *own, "--out", "again"]) == 0
    again, _ = read_safetensors("again/SpeechTokenizer.safetensors")
    assert set(again) == set(arrays)
    assert all(np.array_equal(again[name], arrays[name]) for name in arrays)
    assert json.loads((tmp_path / "again" / "config.json").read_text()) == json.loads(json.dumps(config_of(SPEC)))
    capsys.readouterr()
    for wrong, told in (
        (["encode", *own, "--audio", "none.wav", "--out", "x.npy"], "there is no sound file"),
        (["encode", *own, "--out", "x.npy"], "needs --audio FILE"),
        (["decode", *own, "--codes", "a.wav", "--out", "x.wav"], "no readable codes"),
        (
            ["encode", "--tokenizer", "bundled:audio_rvq_tiny", "--audio", "a.wav", "--out", "x.npy"],
            "no speech tokenizer",
        ),
    ):
        assert main(["tokenizer", *wrong]) == 2
        assert told in capsys.readouterr().err
