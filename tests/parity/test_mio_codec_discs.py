"""Codec discriminators against the published ones: every array of `discs_io.npz`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from mio_jax.nn.base import apply, split_model, to_pure_dict
from mio_tokenizers.training.audio_discriminators import MultiSTFTDiscriminator, STFTDiscriminatorSpec
from mio_tokenizers.training.audio_wave_discriminators import PeriodDiscriminator, ScaleDiscriminator, halve
from mio_tokenizers.weights_file import flat_arrays, nested_arrays

FILES = ["discs_config.json", "msstft_weights.safetensors", "discs_io.npz"]
pytestmark = pytest.mark.golden_row("mio", "discs", files=FILES)
TOLERANCE = 1e-4


class Fixture:
    def __init__(self, folder: Path) -> None:
        self.io = dict(np.load(folder / "discs_io.npz"))
        self.config = json.loads((folder / "discs_config.json").read_text())
        self.weights = load_file(folder / "msstft_weights.safetensors")


@pytest.fixture(scope="module")
def fixture(golden) -> Fixture:
    return Fixture(golden("mio"))


def close(ours: Any, theirs: np.ndarray) -> None:
    assert np.shape(ours) == theirs.shape
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=TOLERANCE * max(np.abs(theirs).max(), 1e-6))


def by_formula(abstract: Any, phase: float) -> Any:
    """Parameters as the fixture's README says: waves over each array, shifted by the rank of its name."""
    flat = flat_arrays(to_pure_dict(abstract))
    made = {}
    for k, name in enumerate(sorted(flat)):
        shape = flat[name].shape
        n = np.arange(np.prod(shape))
        if name.endswith("weight_g"):
            values = 0.8 + 0.2 * np.sin(0.37 * n + k + phase)
        elif name.endswith("bias"):
            values = 0.05 * np.cos(0.91 * n + k + phase)
        else:
            fan = np.prod(shape[1:])
            values = np.sin(0.013 * n * (1 + k % 3) + 0.7 * k + phase) * np.sqrt(2 / fan)
        made[name] = values.reshape(shape).astype(np.float32)
    return nested_arrays(made, abstract, "test")


def test_every_array_is_checked(fixture):
    periods = [f"mpd{p}" for p in fixture.config["mpd_periods"]]
    assert set(fixture.config["phases"]) == {*periods, "msd"}
    wave = {f"{name}_{what}" for name in (*periods, "msd") for what in ("out", "fmap_mean", "fmap_std")}
    spectral = {name for name in fixture.io if re.fullmatch(r"msstft_(logit_(real|fake)_\d|fmap_real_\d_\d)", name)}
    assert set(fixture.io) == {"y", "y_hat", "msd_meanpool"} | wave | spectral
    sizes = fixture.config["msstft"]["n_ffts"]
    for i in range(len(sizes)):
        assert {f"msstft_logit_real_{i}", f"msstft_logit_fake_{i}", f"msstft_fmap_real_{i}_4"} <= spectral


def test_stft_discriminators(fixture):
    c = fixture.config["msstft"]
    assert c["wins"] == c["n_ffts"]
    assert c["hops"] == [n // 4 for n in c["n_ffts"]]
    spec = STFTDiscriminatorSpec(filters=c["filters"], sizes=tuple(c["n_ffts"]))
    graphdef, abstract = split_model(lambda key: MultiSTFTDiscriminator(spec, key))
    plain = {re.sub(r"\.conv(?=\.\w+$)", "", name): array for name, array in fixture.weights.items()}
    params = nested_arrays(plain, abstract, "published")
    judge = jax.jit(lambda x: apply(graphdef, params)(x))
    for kind, wave in (("real", fixture.io["y"]), ("fake", fixture.io["y_hat"])):
        scores, maps = judge(jnp.asarray(wave[:, 0]))
        for i, score in enumerate(scores):
            close(np.moveaxis(score, -1, 1), fixture.io[f"msstft_logit_{kind}_{i}"])
        for i, layers in enumerate(maps):
            for j, layer in enumerate(layers):
                if kind == "real":
                    wanted = fixture.io[f"msstft_fmap_real_{i}_{j}"]
                    close(np.moveaxis(layer, -1, 1)[..., : wanted.shape[2], : wanted.shape[3]], wanted)


def test_waveform_discriminators(fixture):
    builds = {f"mpd{p}": (lambda key, p=p: PeriodDiscriminator(p, key)) for p in fixture.config["mpd_periods"]}
    for name, build in (*builds.items(), ("msd", ScaleDiscriminator)):
        graphdef, abstract = split_model(build)
        params = by_formula(abstract, fixture.config["phases"][name])
        score, maps = jax.jit(lambda x, g=graphdef, p=params: apply(g, p)(x))(jnp.asarray(fixture.io["y"][:, 0]))
        close(score, fixture.io[f"{name}_out"])
        close(np.array([np.mean(m) for m in maps]), fixture.io[f"{name}_fmap_mean"])
        close(np.array([np.std(m, ddof=1) for m in maps]), fixture.io[f"{name}_fmap_std"])


def test_pooling_between_scales(fixture):
    close(halve(jnp.asarray(fixture.io["y"][:, 0]))[:, None], fixture.io["msd_meanpool"])
