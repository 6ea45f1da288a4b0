"""The log-mel spectrogram against the published preprocessing: the mel arrays of `preprocess.npz`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mio_tokenizers.audio.mel import MEL, log_power, normalise_mel, power_mel, segment_count, segments_of

pytestmark = pytest.mark.golden_row("unified-io-2", "preprocess", files=["preprocess.npz", "preprocess.json"])
# The fixture is float32 throughout; its README asks for 1e-4 of each value, which is met for all but the faintest.
TOLERANCE = 1e-4


class Fixture:
    def __init__(self, folder: Path) -> None:
        self.arrays = dict(np.load(folder / "preprocess.npz"))
        self.json = json.loads((folder / "preprocess.json").read_text())
        count = int(re.search(r"n<(\d+)", self.json["wave_formula"])[1])
        t = np.arange(count) / MEL.rate
        wave = 0.4 * np.sin(2 * np.pi * 440 * t) + 0.25 * np.sin(2 * np.pi * (200 * t + 350 * t**2))
        wave = (wave + 0.05 * np.sin(2 * np.pi * 6100 * t + 1)) * np.clip(t / 0.1, 0, 1)
        self.wave = np.where(t >= 6.2, 0, wave).astype(np.float32)


@pytest.fixture(scope="module")
def fixture(golden: Callable[[str], Path]) -> Fixture:
    return Fixture(golden("unified-io-2"))


def close(ours: Any, theirs: np.ndarray) -> None:
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=TOLERANCE, atol=1e-6 * np.abs(theirs).max())


@pytest.mark.parametrize("kind", ["numpy", "jax"])
def test_mel_of_segments(fixture: Fixture, kind: str) -> None:
    segments = segments_of(fixture.wave)
    assert len(segments) == fixture.json["num_spectrogram_segments_6.5s"]
    power = power_mel(segments) if kind == "numpy" else jax.jit(power_mel)(jnp.asarray(segments))
    close(power[0], fixture.arrays["mel_segment0"])
    every = power.shape[-1] // fixture.arrays["mel_segment1_every8th_frame"].shape[-1]
    close(power[1][:, ::every], fixture.arrays["mel_segment1_every8th_frame"])
    logs = np.asarray(log_power(power))
    assert (logs[1][np.asarray(power)[1] == 0] == 0).all()
    assert (np.asarray(power)[1] == 0).any(), "the padding at the end is exactly zero"
    close(logs.swapaxes(1, 2)[:, ::every], fixture.arrays["log_mel_every8th"])


def test_normalised_target(fixture: Fixture) -> None:
    target = normalise_mel(log_power(power_mel(segments_of(fixture.wave))))[0].T
    wanted = fixture.arrays["audio_target_every16th_frame"][..., 0]
    close(target[:: len(target) // len(wanted)], wanted)


def test_segment_counts(fixture: Fixture) -> None:
    counts = fixture.json["num_segments"]
    assert {seconds: segment_count(float(seconds)) for seconds in counts} == counts
