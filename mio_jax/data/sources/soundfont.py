"""A small SoundFont 2 player: one note of one preset, from the recordings inside the file, in numpy.

Covers what a single melodic note needs: key and velocity zones with their global zones, root key and tuning, loops,
the volume envelope, attenuation and the static low-pass. Not covered: modulators, low-frequency oscillators, panning
(left and right are mixed), chorus and reverb, which the recordings do not need to be recognised.
"""

from __future__ import annotations

import itertools
import pathlib
import struct
from typing import NamedTuple

import numpy as np

from mio_jax.errors import MioError

# Generator numbers of the SoundFont 2.01 specification, section 8.1.2.
START, END, LOOP_START, LOOP_END = 0, 1, 2, 3
START_COARSE, END_COARSE, LOOP_START_COARSE, LOOP_END_COARSE = 4, 12, 45, 50
FILTER_CUTOFF, ENVELOPE_TO_FILTER = 8, 11
DELAY, ATTACK, HOLD, DECAY, SUSTAIN, RELEASE = 33, 34, 35, 36, 37, 38
INSTRUMENT, KEY_RANGE, VELOCITY_RANGE, ATTENUATION = 41, 43, 44, 48
COARSE_TUNE, FINE_TUNE, SAMPLE, SAMPLE_MODES, SCALE_TUNING, ROOT_KEY = 51, 52, 53, 54, 56, 58

_DEFAULTS = dict.fromkeys((DELAY, ATTACK, HOLD, DECAY, RELEASE), -12000) | {
    FILTER_CUTOFF: 13500,
    SCALE_TUNING: 100,
    ROOT_KEY: -1,
}
# These say where and when a zone sounds; in a preset's zone they select, every other generator there is added.
_SELECTORS = (KEY_RANGE, VELOCITY_RANGE, INSTRUMENT, SAMPLE)
OVERSAMPLE = 2  # the recordings are read at this multiple of the output rate and then band-limited


class Sample(NamedTuple):
    start: int
    end: int
    loop_start: int
    loop_end: int
    rate: int
    root: int  # MIDI key at which it sounds at its own rate
    correction: int  # cents


Zone = dict[int, int]  # generator -> amount; ranges as (high << 8) | low


class SoundFont:
    """A parsed file. Raises MioError where it is not a whole SoundFont 2."""

    def __init__(self, path: pathlib.Path) -> None:
        data = path.read_bytes()
        try:
            chunks = dict(_chunks(data, 0, len(data)))
            self.pcm = np.frombuffer(chunks["smpl"], "<i2")
            self.samples = [Sample(*s[1:8]) for s in struct.iter_unpack("<20sIIIIIBbHH", chunks["shdr"])][:-1]
            presets = list(struct.iter_unpack("<20sHHHIII", chunks["phdr"]))
            instruments = list(struct.iter_unpack("<20sH", chunks["inst"]))
            preset_zones = _zones(chunks["pbag"], chunks["pgen"], INSTRUMENT, [p[3] for p in presets])
            self._instruments = _zones(chunks["ibag"], chunks["igen"], SAMPLE, [i[1] for i in instruments])
            self._presets = {(p[2], p[1]): z for p, z in zip(presets[:-1], preset_zones, strict=True)}
        except (KeyError, struct.error, IndexError, ValueError) as error:
            raise MioError(f"{path} is not a whole SoundFont 2 file ({error})") from error

    def zones(self, program: int, key: int, velocity: int, bank: int = 0) -> list[Zone]:
        """The instrument zones that sound for this key, with the preset's amounts added; none if it has none."""
        if (bank, program) not in self._presets:
            raise MioError(f"the SoundFont has no preset {program} in bank {bank}")
        found = []
        for outer in self._presets[bank, program]:
            if not _sounds(outer, key, velocity):
                continue
            for inner in self._instruments[outer[INSTRUMENT]]:
                if _sounds(inner, key, velocity):
                    zone = dict(inner)
                    for generator, amount in outer.items():
                        if generator not in _SELECTORS:
                            zone[generator] = zone.get(generator, _DEFAULTS.get(generator, 0)) + amount
                    found.append(zone)
        return found

    def note(
        self, program: int, key: int, *, seconds: float, held: float, rate: int, velocity: int = 100, cents: float = 0.0
    ) -> np.ndarray:
        """float32 [seconds * rate]: the key pressed at 0 and let go after `held` seconds, not normalised.

        Raises MioError where the preset has no recording for the key.
        """
        zones = self.zones(program, key, velocity)
        if not zones:
            raise MioError(f"preset {program} of the SoundFont has no recording for MIDI key {key}")
        kept, fast = round(seconds * rate), rate * OVERSAMPLE
        spectrum = np.zeros(kept // 2 + 1, np.complex128)
        for zone in zones:
            # Filter, band-limit to the output rate, and keep every OVERSAMPLE-th sample, all in the frequency domain.
            voice = np.fft.rfft(self._voice(zone, key, cents, kept * OVERSAMPLE, fast, held))[: len(spectrum)]
            spectrum += voice * _low_pass(zone, np.fft.rfftfreq(kept, 1 / rate))
        return (np.fft.irfft(spectrum, kept) / OVERSAMPLE).astype(np.float32)

    def _voice(self, zone: Zone, key: int, cents: float, length: int, rate: int, held: float) -> np.ndarray:
        def value(generator: int) -> int:
            return zone.get(generator, _DEFAULTS.get(generator, 0))

        sample = self.samples[zone[SAMPLE]]
        start = sample.start + value(START) + 32768 * value(START_COARSE)
        end = sample.end + value(END) + 32768 * value(END_COARSE)
        loop_start = sample.loop_start + value(LOOP_START) + 32768 * value(LOOP_START_COARSE) - start
        loop_end = sample.loop_end + value(LOOP_END) + 32768 * value(LOOP_END_COARSE) - start
        root = value(ROOT_KEY) if value(ROOT_KEY) >= 0 else sample.root
        tuning = 100 * value(COARSE_TUNE) + value(FINE_TUNE) + sample.correction + cents
        shift = (key - root) * value(SCALE_TUNING) + tuning
        recording = self.pcm[start:end] / 32768.0

        at = np.arange(length) * (sample.rate / rate * 2.0 ** (shift / 1200))
        if value(SAMPLE_MODES) in (1, 3) and loop_end > loop_start + 1:
            at = np.where(at < loop_end, at, loop_start + (at - loop_start) % (loop_end - loop_start))
        # Linear interpolation; a recording that does not loop is followed by silence.
        recording = np.append(recording, [0.0, 0.0])
        before = np.minimum(at.astype(np.int64), len(recording) - 2)
        sound = recording[before] + (recording[before + 1] - recording[before]) * np.minimum(at - before, 1.0)
        gain = 10.0 ** (-0.4 * value(ATTENUATION) / 200)  # the 0.4 is how the makers' hardware read this amount
        times = [2.0 ** (value(stage) / 1200) for stage in (DELAY, ATTACK, HOLD, DECAY, RELEASE)]
        return sound * gain * _envelope(length, rate, held, times, value(SUSTAIN))


def _chunks(data: bytes, start: int, end: int) -> list[tuple[str, bytes]]:
    found = []
    while start + 8 <= end:
        kind, size = data[start : start + 4], struct.unpack_from("<I", data, start + 4)[0]
        if start + 8 + size > end:
            raise ValueError(f"chunk {kind!r} ends beyond the file")
        if kind in (b"RIFF", b"LIST"):
            found += _chunks(data, start + 12, start + 8 + size)
        else:
            found.append((kind.decode("latin1"), data[start + 8 : start + 8 + size]))
        start += 8 + size + size % 2
    return found


def _zones(bags: bytes, generators: bytes, target: int, starts: list[int]) -> list[list[Zone]]:
    """Zones of every preset or instrument; a first zone without a target holds defaults for the others."""
    offsets = [bag[0] for bag in struct.iter_unpack("<HH", bags)]
    amounts = list(struct.iter_unpack("<Hh", generators))
    result = []
    for first, last in itertools.pairwise(starts):
        common: Zone = {}
        zones: list[Zone] = []
        for bag in range(first, last):
            zone = dict(amounts[offsets[bag] : offsets[bag + 1]])
            if target in zone:
                zones.append(common | zone)
            elif bag == first:
                common = zone
        result.append(zones)
    return result


def _sounds(zone: Zone, key: int, velocity: int) -> bool:
    for generator, played in ((KEY_RANGE, key), (VELOCITY_RANGE, velocity)):
        if generator in zone:
            packed = zone[generator] & 0xFFFF
            if not packed & 0xFF <= played <= packed >> 8:
                return False
    return True


def _low_pass(zone: Zone, frequencies: np.ndarray) -> np.ndarray:
    """Gain at each frequency of a second-order filter, held where the modulation envelope opens it widest."""
    cutoff = zone.get(FILTER_CUTOFF, _DEFAULTS[FILTER_CUTOFF]) + max(0, zone.get(ENVELOPE_TO_FILTER, 0))
    if cutoff >= 13500:  # absolute cents: fully open
        return np.ones_like(frequencies)
    return 1 / np.sqrt(1 + (frequencies / (8.176 * 2.0 ** (cutoff / 1200))) ** 4)


def _envelope(length: int, rate: int, held: float, times: list[float], sustain: int) -> np.ndarray:
    """Linear attack, then straight lines in decibels; `sustain` in centibels below the peak."""
    delay, attack, hold, decay, release = times
    t = np.arange(length) / rate
    rise = np.clip((t - delay) / attack, 0.0, 1.0)
    fall = np.minimum(np.maximum(t - delay - attack - hold, 0.0) / decay * 100.0, sustain / 10)
    fall += np.maximum(t - held, 0.0) / max(release, 0.02) * 100.0  # an instant release would click
    return np.where(fall < 100.0, rise * 10.0 ** (-fall / 20), 0.0)
