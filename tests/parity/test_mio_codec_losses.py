"""Losses of codec training against the published ones: every array of `losses_io.npz`."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mio_tokenizers.audio.spectral import log_mel
from mio_tokenizers.training import audio_losses as losses

FILES = ["losses_config.json", "losses_io.npz"]
pytestmark = pytest.mark.golden_row("mio", "losses", files=FILES)
TOLERANCE = 1e-4
CHECKED = {
    *("x", "x_hat", "recon", "mel", "feature", "target", "distill_d", "distill_t_intended", "feature_matching"),
    *("fr0", "fr1", "fr2", "fg0", "fg1", "fg2", "dr0", "dr1", "dg0", "dg1", "disc", "adv"),
}


@pytest.fixture(scope="module")
def io(golden) -> dict[str, np.ndarray]:
    return dict(np.load(golden("mio") / "losses_io.npz"))


@pytest.fixture(scope="module")
def mels(golden) -> list[dict[str, int]]:
    return json.loads((golden("mio") / "losses_config.json").read_text())["mel"]


def close(ours, theirs: np.ndarray) -> None:
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=TOLERANCE * np.abs(theirs).max())


def test_every_array_is_checked(io):
    assert {name for name in io if not name.startswith("mel_spec_")} == CHECKED
    assert any(name.startswith("mel_spec_") for name in io)


def test_mel_spectrograms(io, mels):
    for name in io:
        if name.startswith("mel_spec_"):
            c = mels[int(name.removeprefix("mel_spec_"))]
            assert (c["win_size"], c["fmin"]) == (c["n_fft"], 0)
            ours = log_mel(io["x"][:, 0], c["n_fft"], c["hop_size"], c["num_mels"], c["sample_rate"], c["fmax"])
            close(ours.swapaxes(1, 2), io[name])


def test_mel_distances_of_waveforms_of_different_length(io, mels):
    assert len(mels) == len(io["mel"])
    assert len({(c["num_mels"], c["sample_rate"], c["fmax"]) for c in mels}) == 1
    c = mels[0]
    sizes, hops = [c["n_fft"] for c in mels], [c["hop_size"] for c in mels]
    ours = losses.mel_distances(
        io["x"][:, 0], io["x_hat"][:, 0], sizes, hops, c["num_mels"], c["sample_rate"], c["fmax"]
    )
    close(np.stack(ours), io["mel"])


def test_waveform_loss(io):
    close(losses.wave_l1(io["x"][:, 0], io["x_hat"][:, 0]), io["recon"])


def test_distillation_losses(io):
    close(losses.distill_by_dimension(io["feature"], io["target"]), io["distill_d"])
    close(losses.distill_by_frame(io["feature"], io["target"]), io["distill_t_intended"])


def test_adversarial_losses(io):
    real, made = [[io["fr0"], io["fr1"]], [io["fr2"]]], [[io["fg0"], io["fg1"]], [io["fg2"]]]
    close(losses.feature_matching(real, made), io["feature_matching"])
    close(losses.discriminator_loss([io["dr0"], io["dr1"]], [io["dg0"], io["dg1"]]), io["disc"])
    close(losses.adversarial_loss([io["dg0"], io["dg1"]]), io["adv"])
