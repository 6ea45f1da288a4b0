"""Pictures and sounds inside the page itself: data URLs, and the outline of a sound."""

from __future__ import annotations

import base64
import itertools
import struct
import wave
from pathlib import Path

from mio_jax.errors import MioError

TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".wav": "audio/wav"}


def data_url(path: Path) -> str:
    """The file as a `data:` URL. Raises MioError for a kind of file that a browser does not play."""
    kind = TYPES.get(path.suffix.lower())
    if kind is None:
        raise MioError(f"{path} is no picture or sound that a page can hold ({', '.join(TYPES)})")
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def wav_peaks(path: Path, bars: int = 60) -> tuple[list[float], float]:
    """Largest magnitude in [0, 1] of each of `bars` stretches of a 16-bit WAV file, and its length in seconds."""
    try:
        with wave.open(str(path), "rb") as sound:
            if sound.getsampwidth() != 2:
                raise MioError(f"{path} has {8 * sound.getsampwidth()}-bit samples; the report reads 16-bit WAV files")
            frames, rate, channels = sound.getnframes(), sound.getframerate(), sound.getnchannels()
            raw = sound.readframes(frames)
    except (wave.Error, EOFError) as error:
        raise MioError(f"{path} is no WAV file: {error}") from None
    samples = struct.unpack(f"<{len(raw) // 2}h", raw)[::channels]
    if not samples:
        return [0.0] * bars, 0.0
    edges = [i * len(samples) // bars for i in range(bars + 1)]
    peaks = [max((abs(s) for s in samples[a:b]), default=0) / 32768 for a, b in itertools.pairwise(edges)]
    return peaks, len(samples) / rate
