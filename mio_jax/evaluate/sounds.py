"""Metrics of generated sounds: which note they play, and features that tell instruments apart."""

from __future__ import annotations

import numpy as np

from mio_tokenizers.audio.pitch import CLEAR, track

A4_MIDI, A4_HZ = 69, 440.0
HOP, WINDOW = 1280, 2048  # samples at 16 kHz
QUIET = 1e-3  # frames below this share of the loudest one's power have no say in the pitch
HARMONICS, SEGMENTS, ENVELOPE = 16, 4, 40
TRANSFORM = 16384


def hz_of(midi: float) -> float:
    return float(A4_HZ * 2.0 ** ((midi - A4_MIDI) / 12))


def midi_of(hz: float) -> float:
    return float(A4_MIDI + 12 * np.log2(hz / A4_HZ))


def pitch(samples: np.ndarray, rate: int) -> float:
    """The note that sounds, as a MIDI number with decimals; nan where nothing periodic does.

    The median over frames of the tracked pitch, weighted by clarity and amplitude.
    """
    samples = np.asarray(samples, np.float32)
    hop, window = round(HOP * rate / 16000), round(WINDOW * rate / 16000)
    f0, clarity = track(samples, rate, hop, window)
    power = (np.pad(samples, (0, -samples.size % hop)).reshape(-1, hop) ** 2).mean(1)
    heard = (f0 > 0) & (clarity >= CLEAR) & (power > QUIET * max(power.max(), 1e-12))
    if not heard.any():
        return float("nan")
    order = np.argsort(f0[heard])
    weight = np.cumsum((clarity[heard] * np.sqrt(power[heard]))[order])
    return midi_of(float(f0[heard][order][np.searchsorted(weight, weight[-1] / 2)]))


def within_cents(found: float, wanted: float, cents: float = 50.0) -> float:
    """1 if the found note (MIDI number) is at most `cents` from the wanted one, else 0; 0 for nan."""
    return float(abs(found - wanted) * 100.0 <= cents)


def timbre(samples: np.ndarray, rate: int, midi: float) -> np.ndarray:
    """What is left of a note without its pitch: float64 [SEGMENTS * HARMONICS + ENVELOPE].

    Levels of the harmonics of note `midi` (MIDI number) in each part of the sound relative to the strongest, and the
    loudness over time, both in bels. A note that is nan is taken as A4.
    """
    samples = np.asarray(samples, np.float64)
    f0 = hz_of(midi if np.isfinite(midi) else A4_MIDI)
    positions = np.arange(1, HARMONICS + 1) * f0 * TRANSFORM / rate
    reach = max(2, int(0.25 * f0 * TRANSFORM / rate))
    harmonics = np.zeros((SEGMENTS, HARMONICS))
    for row, part in zip(harmonics, np.array_split(samples, SEGMENTS), strict=True):
        power = np.abs(np.fft.rfft(part * np.hanning(part.size), TRANSFORM)) ** 2
        for h, position in enumerate(positions):
            middle = round(position)
            if middle + reach < power.size:
                row[h] = power[max(middle - reach, 0) : middle + reach + 1].max()
    envelope = np.asarray([np.sqrt((part**2).mean()) for part in np.array_split(samples, ENVELOPE)])
    return np.concatenate(
        [
            np.log10(harmonics / max(harmonics.max(), 1e-12) + 1e-5).reshape(-1),
            np.log10(envelope / max(envelope.max(), 1e-6) + 1e-3),
        ]
    )
