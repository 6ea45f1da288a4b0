"""Instrument notes: recordings of real instruments inside pretty-midi's SoundFont, played at named notes.

Every (instrument, note) pair is one sound of one second; the training split has two takes of it, which differ by a few
cents of tuning, the onset and how long the key is held. `test` holds out whole pairs: its instruments and its notes
have been heard, never together.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mio_jax.data.sources.base import hash_share, package_folder, require_split
from mio_jax.data.sources.soundfont import SoundFont
from mio_tokenizers.base import Audio

RATE = 16000
SECONDS = 1.0
PEAK = 0.9
FADE = 0.03  # seconds at the end
TEST_SHARE = 0.15
TAKES = 2
NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

# Name, General MIDI program, lowest and highest note: presets that a listener can name, in the registers where their
# recordings measure as the named pitch (the test of this source measures them again).
INSTRUMENTS: tuple[tuple[str, int, int, int], ...] = (
    ("piano", 0, 36, 84),
    ("honky-tonk piano", 3, 36, 84),
    ("electric piano", 4, 36, 84),
    ("harpsichord", 6, 36, 84),
    ("clavinet", 7, 36, 84),
    ("celesta", 8, 60, 84),
    ("glockenspiel", 9, 60, 84),
    ("music box", 10, 60, 84),
    ("vibraphone", 11, 48, 84),
    ("marimba", 12, 48, 84),
    ("xylophone", 13, 60, 84),
    ("tubular bells", 14, 60, 84),
    ("dulcimer", 15, 48, 84),
    ("drawbar organ", 16, 48, 84),
    ("church organ", 19, 48, 84),
    ("reed organ", 20, 48, 84),
    ("accordion", 21, 48, 72),
    ("harmonica", 22, 60, 84),
    ("nylon guitar", 24, 40, 76),
    ("steel guitar", 25, 40, 76),
    ("jazz guitar", 26, 40, 76),
    ("clean guitar", 27, 40, 76),
    ("muted guitar", 28, 40, 76),
    ("overdriven guitar", 29, 40, 76),
    ("distorted guitar", 30, 40, 76),
    ("double bass", 32, 28, 60),
    ("fingered bass", 33, 28, 60),
    ("picked bass", 34, 28, 60),
    ("fretless bass", 35, 28, 60),
    ("slap bass", 36, 28, 60),
    ("violin", 40, 55, 84),
    ("viola", 41, 48, 79),
    ("cello", 42, 36, 72),
    ("contrabass", 43, 28, 60),
    ("pizzicato strings", 45, 48, 84),
    ("harp", 46, 48, 84),
    ("timpani", 47, 36, 57),
    ("string ensemble", 48, 48, 84),
    ("synth strings", 50, 48, 84),
    ("choir", 52, 48, 79),
    ("trumpet", 56, 54, 84),
    ("trombone", 57, 40, 72),
    ("tuba", 58, 28, 60),
    ("muted trumpet", 59, 54, 84),
    ("french horn", 60, 41, 77),
    ("brass section", 61, 48, 79),
    ("soprano saxophone", 64, 56, 84),
    ("alto saxophone", 65, 65, 84),
    ("tenor saxophone", 66, 44, 75),
    ("baritone saxophone", 67, 36, 69),
    ("oboe", 68, 58, 84),
    ("english horn", 69, 52, 81),
    ("bassoon", 70, 34, 72),
    ("clarinet", 71, 50, 84),
    ("piccolo", 72, 72, 84),
    ("flute", 73, 60, 84),
    ("recorder", 74, 60, 84),
    ("pan flute", 75, 60, 84),
    ("ocarina", 79, 60, 84),
    ("sitar", 104, 48, 77),
    ("banjo", 105, 48, 84),
    ("shamisen", 106, 48, 79),
    ("koto", 107, 48, 84),
    ("kalimba", 108, 48, 79),
    ("bagpipe", 109, 48, 77),
    ("steel drum", 114, 52, 84),
)


class Note(NamedTuple):
    instrument: str
    program: int
    midi: int

    @property
    def name(self) -> str:
        return note_name(self.midi)


def note_name(midi: int) -> str:
    """60 -> "C4"."""
    return f"{NOTES[midi % 12]}{midi // 12 - 1}"


def notes(split: str) -> tuple[Note, ...]:
    """The (instrument, note) pairs of a split."""
    return tuple(
        Note(name, program, midi)
        for name, program, low, high in INSTRUMENTS
        for midi in range(low, high + 1)
        if (hash_share(f"{name}/{midi}", "instruments") < TEST_SHARE) == (split == "test")
    )


@functools.cache
def soundfont() -> SoundFont:
    return SoundFont(package_folder("pretty_midi", "pretty-midi") / "TimGM6mb.sf2")


def play(note: Note, take: int = 0) -> Audio:
    """One second, peak-normalised. Take 0 is exactly in tune and on time; others vary, each always in the same way."""
    cents, onset, held = 0.0, 0.0, 0.9
    if take:
        rng = np.random.default_rng([note.program, note.midi, take])
        cents, onset, held = rng.uniform(-8, 8), rng.uniform(0, 0.04), rng.uniform(0.55, 0.95)
    silence = round(onset * RATE)
    sound = soundfont().note(note.program, note.midi, seconds=SECONDS, held=held - onset, rate=RATE, cents=cents)
    sound = np.concatenate([np.zeros(silence, np.float32), sound])[: round(SECONDS * RATE)]
    fade = round(FADE * RATE)
    sound[-fade:] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
    return Audio((sound * (PEAK / np.abs(sound).max())).astype(np.float32), RATE)


class Instruments:
    """Sounds of one second at 16 kHz."""

    name = "instruments"
    version = "1"
    licence = "GPL-2.0 (the recordings: not to be redistributed with this project), MIT (pretty-midi)"
    attribution = "TimGM6mb.sf2 by Tim Brechbill, as shipped in pretty-midi; recordings played at other pitches"
    media: tuple[str, ...] = ("audio",)
    splits: tuple[str, ...] = ("train", "test")

    def count(self, split: str) -> int:
        require_split(self, split)
        return len(self._sounds(split))

    def examples(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
        """id, audio, caption ("violin playing C4"), meta/instrument, meta/note, meta/midi."""
        require_split(self, split)
        for note, take in self._sounds(split)[start:stop]:
            yield {
                "id": f"instruments/{note.instrument.replace(' ', '_')}/{note.midi}/{take}",
                "audio": play(note, take),
                "caption": f"{note.instrument} playing {note.name}",
                "meta/instrument": note.instrument,
                "meta/note": note.name,
                "meta/midi": str(note.midi),
            }

    def _sounds(self, split: str) -> list[tuple[Note, int]]:
        # One take in the test split: its examples are then independent pairs.
        return [(note, take) for note in notes(split) for take in range(TAKES if split == "train" else 1)]
