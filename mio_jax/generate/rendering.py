"""What an answer is read to be (`reading`) -> words, pixels and samples, as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from mio_jax.generate.reading import Frames, Picture, Piece, Unreadable, Words
from mio_jax.generate.voice import SoundDecoder, SoundTimes, sound_decoder


class Pixels(NamedTuple):
    """uint8 [height, width, 3]."""

    picture: np.ndarray


class Samples(NamedTuple):
    """The next float32 [n] of a sound, in [-1, 1]; `first`: it begins, `last`: it ends with them. n may be 0."""

    samples: np.ndarray
    rate: int
    first: bool
    last: bool


Shown = Words | Pixels | Samples | Unreadable


class Renderer:
    """Decodes the media of one answer. `times` says how fast its sounds came."""

    def __init__(self, tokenizers: Any) -> None:
        self._tokenizers = tokenizers
        self._decoder: SoundDecoder | None = None
        self.times = SoundTimes()

    def render(self, pieces: Iterable[Piece]) -> Iterator[Shown]:
        for piece in pieces:
            if isinstance(piece, Frames):
                yield from self._sound(piece)
            elif isinstance(piece, Picture):
                yield Pixels(self._tokenizers.image.decode(piece.codes))
            else:
                if isinstance(piece, Unreadable) and self._decoder is not None:
                    yield self._end(np.zeros(0, np.float32), first=False)  # what came of it is heard
                yield piece

    def _sound(self, frames: Frames) -> Iterator[Shown]:
        if self._decoder is None:
            self._decoder = sound_decoder(self._tokenizers.audio)
        samples = self._decoder.push(frames.codes) if frames.codes.shape[1] else np.zeros(0, np.float32)
        if frames.last:
            yield self._end(samples, frames.first)
        elif frames.first or len(samples):
            yield self._heard(Samples(samples, self._decoder.rate, frames.first, False))

    def _end(self, samples: np.ndarray, first: bool) -> Samples:
        decoder, self._decoder = self._decoder, None
        assert decoder is not None
        return self._heard(Samples(np.concatenate([samples, decoder.finish()]), decoder.rate, first, True))

    def _heard(self, sound: Samples) -> Samples:
        self.times.heard(len(sound.samples), sound.rate)
        return sound
