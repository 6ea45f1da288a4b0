"""Sound files and checks of sound. WAV is read with SciPy; other formats need the `soundfile` package."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import scipy.io.wavfile
import scipy.signal

from mio_jax.errors import MioError
from mio_tokenizers.base import Audio

SILENCE = 1e-4  # -80 dBFS


def mono(audio: Audio) -> np.ndarray:
    """float32 [n] of a sound [n] or [n, channels].

    Raises:
      MioError: it is empty, holds NaN or infinity, stays below -80 dBFS, or has another shape.
    """
    samples = np.asarray(audio.samples)
    if samples.ndim not in (1, 2) or not np.issubdtype(samples.dtype, np.floating):
        raise MioError(
            f"a sound is float samples [n] or [n, channels] in [-1, 1], not an array {samples.dtype} {samples.shape}"
        )
    if audio.rate <= 0:
        raise MioError(f"a sound has a sampling rate of {audio.rate} Hz; it must be positive")
    if samples.size == 0:
        raise MioError("the sound is empty: it has no samples")
    if not np.isfinite(samples).all():
        raise MioError("the sound holds NaN or infinite samples; it is damaged")
    samples = samples.astype(np.float32)
    if samples.ndim == 2:
        samples = samples.mean(axis=1)
    if np.abs(samples).max() < SILENCE:
        raise MioError("the sound is silent: every sample is below -80 dBFS")
    return samples


def read_audio(path: str | Path) -> Audio:
    """A sound file, mixed down to mono float32 in [-1, 1] at its own rate.

    Raises:
      MioError: the file is absent, damaged, empty or silent, or its format needs a package that is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise MioError(f"there is no sound file {path}")
    if path.stat().st_size == 0:
        raise MioError(f"{path} is empty (0 bytes)")
    try:
        audio = _read_wav(path) if path.suffix.lower() == ".wav" else _read_other(path)
        return Audio(mono(audio), audio.rate)
    except MioError as error:
        raise MioError(f"{path}: {error}") from error


def sound_length(path: str | Path) -> float:
    """Seconds of a sound file, by its head alone. Raises MioError as `read_audio` does for what cannot be read."""
    path = Path(path)
    if not path.is_file():
        raise MioError(f"there is no sound file {path}")
    try:
        import soundfile
    except ImportError:
        audio = read_audio(path)  # WAV, or a line that says what to install
        return len(audio.samples) / audio.rate
    try:
        head = soundfile.info(path)
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        raise MioError(f"{path}: this is no readable sound file ({error})") from error
    return float(head.frames / head.samplerate)


class SoundReader:
    """A sound file of any length as mono samples at `rate`, read piece by piece: `samples` of them in all.

    Resampling is band-limited as for whole sounds: each piece is read with what its filter reaches on both sides.
    A piece of a file may be silent or anything else; the whole is not looked at. Needs the package soundfile.
    """

    def __init__(self, path: str | Path, rate: int) -> None:
        """Raises MioError on a file that is absent, unreadable or empty."""
        try:
            import soundfile
        except ImportError as error:
            raise MioError(
                "sounds are read piece by piece with the package soundfile: pip install soundfile"
            ) from error
        sound_length(path)  # one line about a file that is not there
        self._path = path
        self._file = soundfile.SoundFile(path)
        common = math.gcd(self._file.samplerate, rate)
        self._up, self._down = rate // common, self._file.samplerate // common
        self.samples = -(-self._file.frames * self._up // self._down)
        if not self.samples:
            self.close()
            raise MioError(f"{path}: the sound is empty: it has no samples")

    def __enter__(self) -> SoundReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def read(self, start: int, stop: int) -> np.ndarray:
        """float32 [stop - start]. Raises MioError where the file is damaged."""
        if self._up == self._down:
            return self._mixed(start, stop)
        # SciPy's filter spans ten samples of the slower rate on each side; pieces begin where both rates have a sample.
        reach = 2 * (10 * max(self._up, self._down) // self._up + 1)
        first = max(0, (start * self._down // self._up - reach) // self._down) * self._down
        last = min(self._file.frames, -(-stop * self._down // self._up) + reach)
        made = scipy.signal.resample_poly(self._mixed(first, last), self._up, self._down).astype(np.float32)
        skip = start - first * self._up // self._down
        return made[skip : skip + stop - start]

    def _mixed(self, first: int, last: int) -> np.ndarray:
        self._file.seek(first)
        read = self._file.read(last - first, dtype="float32", always_2d=True)
        if len(read) != last - first or not np.isfinite(read).all():
            raise MioError(f"{self._path} is damaged between samples {first} and {last}")
        return np.asarray(read.mean(axis=1), np.float32)


def _read_wav(path: Path) -> Audio:
    try:
        with warnings.catch_warnings():
            # SciPy warns of chunks that it skips, which is harmless.
            warnings.simplefilter("ignore", scipy.io.wavfile.WavFileWarning)
            rate, samples = scipy.io.wavfile.read(path)
    except (ValueError, EOFError, OSError, KeyError, UnboundLocalError, ZeroDivisionError) as error:
        raise MioError(f"this is no readable WAV file ({error})") from error
    except Exception as error:  # struct.error and whatever else a damaged header leads SciPy into
        raise MioError(f"this is no readable WAV file ({type(error).__name__}: {error})") from error
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif np.issubdtype(samples.dtype, np.integer):
        samples = samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    return Audio(samples.astype(np.float32), int(rate))


def _read_other(path: Path) -> Audio:
    try:
        import soundfile
    except ImportError as error:
        raise MioError(
            "only WAV can be read without the package soundfile; convert it, or install soundfile"
        ) from error
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=False)
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        raise MioError(f"this is no readable sound file ({error})") from error
    return Audio(samples, int(rate))


def write_wav(path: str | Path, audio: Audio) -> None:
    """16-bit WAV; samples beyond [-1, 1] are clipped. Raises MioError if it cannot be written or holds NaN."""
    samples = np.asarray(audio.samples, np.float32)
    if not np.isfinite(samples).all():
        raise MioError(f"cannot write {path}: the sound holds NaN or infinite samples")
    pcm = np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        scipy.io.wavfile.write(path, audio.rate, pcm)
    except OSError as error:
        raise MioError(f"cannot write {path}: {error}") from error
