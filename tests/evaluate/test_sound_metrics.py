"""Pitch and timbre of sounds made here."""

from __future__ import annotations

import numpy as np
import pytest

from mio_jax.evaluate import probes, sounds

RATE = 16000
INSTRUMENTS = {
    "bright": [1.0, 0.9, 0.8, 0.7, 0.6],
    "dull": [1.0, 0.1, 0.03],
    "odd": [1.0, 0.0, 0.6, 0.0, 0.4],
}


def tone(midi: float, levels: list[float], decay: float = 2.0, seed: int = 0) -> np.ndarray:
    t = np.arange(RATE) / RATE
    rng = np.random.default_rng(seed)
    waves = [a * np.sin(2 * np.pi * (h + 1) * sounds.hz_of(midi) * t + rng.uniform(0, 6)) for h, a in enumerate(levels)]
    sound = np.sum(waves, 0) * np.exp(-decay * t) + rng.normal(0, 0.002, RATE)
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


def test_midi_and_hertz() -> None:
    assert sounds.hz_of(69) == pytest.approx(440)
    assert sounds.hz_of(81) == pytest.approx(880)
    assert sounds.midi_of(sounds.hz_of(61.3)) == pytest.approx(61.3)


@pytest.mark.parametrize("levels", INSTRUMENTS.values(), ids=INSTRUMENTS.keys())
@pytest.mark.parametrize("midi", [36.0, 47.0, 60.25, 72.0, 84.0])
def test_pitch(midi: float, levels: list[float]) -> None:
    found = sounds.pitch(tone(midi, levels), RATE)
    assert found == pytest.approx(midi, abs=0.2)
    assert sounds.within_cents(found, midi) == 1
    assert sounds.within_cents(found, midi + 1) == 0
    assert sounds.within_cents(found, midi + 12) == 0


def test_pitch_of_nothing() -> None:
    silence = sounds.pitch(np.zeros(RATE, np.float32), RATE)
    assert np.isnan(silence)
    assert sounds.within_cents(silence, 60) == 0


def test_within_cents_is_inclusive() -> None:
    assert sounds.within_cents(60.5, 60) == 1
    assert sounds.within_cents(60.51, 60) == 0


def test_timbre_tells_instruments_apart_at_unheard_notes() -> None:
    train = [(name, midi) for name in INSTRUMENTS for midi in range(48, 80, 4)]
    test = [(name, midi) for name in INSTRUMENTS for midi in range(50, 78, 4)]

    def features(pairs: list[tuple[str, int]], seed: int) -> np.ndarray:
        return np.stack([sounds.timbre(tone(m, INSTRUMENTS[n], seed=seed + m), RATE, m) for n, m in pairs])

    probe = probes.NeighbourProbe.fit(features(train, 0), [name for name, _ in train])
    assert probes.accuracy(probe(features(test, 100)), [name for name, _ in test]).mean() > 0.95


def test_timbre_is_finite_for_anything() -> None:
    for samples in (np.zeros(RATE, np.float32), np.random.default_rng(0).normal(0, 1, RATE).astype(np.float32)):
        assert np.isfinite(sounds.timbre(samples, RATE, float("nan"))).all()
    assert np.isfinite(sounds.timbre(np.ones(700, np.float32), RATE, 96.0)).all()
