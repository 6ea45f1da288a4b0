"""Codec2, a ready-made speech codec, behind the tokenizer protocol: four numbers every 40 ms.

Mode 700C describes a frame by two stages of spectral shape (a residual vector quantiser), its energy and its pitch. It
was made for speech: music comes out as a voice would hum it. Its decoder draws the phases of unvoiced frames at random,
so decoding twice gives two waveforms that sound alike and differ in their samples; compare spectra, or codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mio_jax.errors import MioError
from mio_tokenizers.audio.io import mono
from mio_tokenizers.audio.metrics import resample
from mio_tokenizers.base import Audio, fingerprint_of

MODES = {"700C": (700, (9, 9, 4, 6))}  # mode -> bits a second as the library names it, bits of each number in order


class Codec2Tokenizer:
    """`Audio` <-> int32 [4, frames of 40 ms]; what fills no whole frame at the end is completed with silence.

    Needs the package pycodec2 (LGPL-2.1 library). Encoding mixes down and resamples to 8 kHz; decoding gives 8 kHz.
    """

    modality = "audio"
    partial_layers = False  # a frame needs all its numbers
    rate = 8000

    def __init__(self, mode: str = "700C") -> None:
        """Raises MioError on an unknown mode, or if pycodec2 is not installed."""
        if mode not in MODES:
            raise MioError(f"unknown Codec2 mode {mode!r}; there are: {', '.join(MODES)}")
        try:
            import pycodec2
        except ImportError as error:
            raise MioError("Codec2 needs the package pycodec2: pip install pycodec2") from error
        self.mode = mode
        bits_per_second, self._bits = MODES[mode]
        self._new: Any = lambda: pycodec2.Codec2(bits_per_second)
        codec = self._new()
        self.hop = int(codec.samples_per_frame())
        self.layer_sizes = tuple(2**bits for bits in self._bits)
        self.vocab_size = max(self.layer_sizes)
        self.n_q = len(self.layer_sizes)
        self._bytes = (sum(self._bits) + 7) // 8
        self._fingerprint = fingerprint_of("codec2", {"mode": mode, "layer_sizes": list(self.layer_sizes)})

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def encode(self, media: Audio) -> np.ndarray:
        """`Audio` -> int32 [4, frames]. Raises MioError on empty, silent or damaged sound."""
        samples = resample(mono(media), media.rate, self.rate)
        pcm = np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
        pcm = np.pad(pcm, (0, -len(pcm) % self.hop))
        codec = self._new()  # the encoder remembers the frames before: a new one for every sound
        packed = [
            np.frombuffer(codec.encode(np.ascontiguousarray(frame)), np.uint8) for frame in pcm.reshape(-1, self.hop)
        ]
        bits = np.unpackbits(np.stack(packed), axis=1)[:, : sum(self._bits)].astype(np.int32)
        parts = np.split(bits, np.cumsum(self._bits)[:-1], axis=1)
        return np.stack([part @ (1 << np.arange(part.shape[1])[::-1]) for part in parts]).astype(np.int32)

    def decode(self, tokens: np.ndarray) -> Audio:
        """int32 [4, frames] -> `Audio` at 8 kHz. Raises MioError on another shape or a number too large."""
        codes = np.asarray(tokens)
        if codes.ndim != 2 or len(codes) != self.n_q or not np.issubdtype(codes.dtype, np.integer) or not codes.size:
            raise MioError(
                f"Codec2 needs whole-number codes [{self.n_q}, frames], not an array {codes.dtype} {codes.shape}"
            )
        for layer, (row, size) in enumerate(zip(codes, self.layer_sizes, strict=True)):
            if row.min() < 0 or row.max() >= size:
                bad = row[(row < 0) | (row >= size)][0]
                raise MioError(f"Codec2 code {bad} of layer {layer} is outside 0..{size - 1}")
        rows = [(row[:, None] >> np.arange(bits)[::-1]) & 1 for row, bits in zip(codes, self._bits, strict=True)]
        bits = np.pad(np.concatenate(rows, axis=1), ((0, 0), (0, 8 * self._bytes - sum(self._bits))))
        codec = self._new()
        pcm = np.concatenate([codec.decode(frame.tobytes()) for frame in np.packbits(bits.astype(np.uint8), axis=1)])
        return Audio(pcm.astype(np.float32) / 32768, self.rate)

    def encode_batch(self, sounds: Sequence[Audio]) -> list[np.ndarray]:
        return [self.encode(sound) for sound in sounds]

    def decode_batch(self, tokens: Sequence[np.ndarray]) -> list[Audio]:
        return [self.decode(item) for item in tokens]
