"""Sound that is heard while it is being generated: codes to samples in chunks, into a growing file or a player."""

from __future__ import annotations

import queue
import shlex
import struct
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from mio_jax.errors import MioError

CHUNK_SECONDS = 0.25  # decoded at once: less would sound sooner, and cost more in all
WAV_HEADER = 44


def pcm(samples: np.ndarray) -> bytes:
    """float32 [n] in [-1, 1] -> 16-bit little-endian."""
    return np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


class SoundDecoder(Protocol):
    """int32 [layers, frames] in, float32 [samples] out: what cannot change any more with each `push`, then the rest."""

    rate: int

    def push(self, codes: np.ndarray) -> np.ndarray: ...

    def finish(self) -> np.ndarray: ...


class WholeSound:
    """For codecs that only decode whole sounds: everything comes at the end."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer, self.rate = tokenizer, int(tokenizer.rate)
        self._codes: list[np.ndarray] = []

    def push(self, codes: np.ndarray) -> np.ndarray:
        self._codes.append(codes)
        return np.zeros(0, np.float32)

    def finish(self) -> np.ndarray:
        return np.asarray(self._tokenizer.decode(np.concatenate(self._codes, axis=1)).samples, np.float32)


def sound_decoder(tokenizer: Any) -> SoundDecoder:
    """What decodes one sound of this tokenizer: in chunks where its codec can, otherwise at the sound's end."""
    weights = getattr(tokenizer, "weights", None)
    if weights is None or weights.spec.tone is not None:  # a codec with tone branches looks at the whole sound
        return WholeSound(tokenizer)
    from mio_tokenizers.audio.streaming import StreamingDecoder

    return StreamingDecoder(tokenizer, max(4, round(CHUNK_SECONDS * tokenizer.rate / tokenizer.hop)))


class GrowingWav:
    """A 16-bit mono WAV file that is whole after every `write`: a player may open it while it grows."""

    def __init__(self, path: Path, rate: int) -> None:
        self.path, self.samples = path, 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("wb")
        self._rate = rate
        self._head()

    def write(self, samples: np.ndarray) -> None:
        self._file.seek(0, 2)
        self._file.write(pcm(samples))
        self.samples += len(samples)
        self._head()

    def close(self) -> None:
        self._file.close()

    def _head(self) -> None:
        size, rate = 2 * self.samples, self._rate
        self._file.seek(0)
        self._file.write(struct.pack("<4sI4s", b"RIFF", WAV_HEADER - 8 + size, b"WAVE"))
        self._file.write(struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16))
        self._file.write(struct.pack("<4sI", b"data", size))
        self._file.flush()


class Player:
    """A program that plays raw 16-bit mono samples from its input, fed by a thread so that it delays nobody.

    Args:
      command: such as "aplay -q -t raw -f S16_LE -r {rate}".
    """

    def __init__(self, command: str, rate: int) -> None:
        words = [word.replace("{rate}", str(rate)) for word in shlex.split(command)]
        if not words:
            raise MioError("--play is empty; give a command that reads raw 16-bit samples")
        try:
            self._process = subprocess.Popen(words, stdin=subprocess.PIPE)
        except OSError as error:
            raise MioError(f"cannot start the player {words[0]!r}: {error.strerror}") from error
        self._command = command
        self._chunks: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._lost = False
        self._thread = threading.Thread(target=self._feed, daemon=True)
        self._thread.start()

    def write(self, samples: np.ndarray) -> None:
        self._chunks.put(pcm(samples))

    def close(self) -> None:
        """Waits until all has been played. Raises MioError if the program ended early or failed."""
        self._chunks.put(b"")
        self._thread.join()
        status = self._process.wait()
        if self._lost or status:
            raise MioError(f"the player {self._command!r} ended with status {status} before it had played everything")

    def _feed(self) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        try:
            while chunk := self._chunks.get():
                pipe.write(chunk)
                pipe.flush()
            pipe.close()
        except BrokenPipeError:
            self._lost = True


@dataclass
class SoundTimes:
    """How fast the sounds of one answer came; seconds since the question."""

    began: float = field(default_factory=time.perf_counter)
    first_sound: float | None = None
    ended: float = 0.0
    sound_seconds: float = 0.0

    def heard(self, samples: int, rate: int) -> None:
        now = time.perf_counter() - self.began
        if samples and self.first_sound is None:
            self.first_sound = now
        self.ended = now
        self.sound_seconds += samples / rate

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for a second of sound: below 1 it is made faster than it is heard."""
        return self.ended / self.sound_seconds

    def __str__(self) -> str:
        if self.first_sound is None:
            return "no sound"
        return (
            f"first sound after {self.first_sound:.2f} s, {self.sound_seconds:.2f} s of sound in {self.ended:.2f} s"
            f" (real-time factor {self.real_time_factor:.2f})"
        )
