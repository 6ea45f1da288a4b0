"""Random segments of sounds and of their teacher's features, by the number of the step alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mio_jax.errors import MioError
from mio_tokenizers.audio.io import SILENCE
from mio_tokenizers.training.speech_teacher import as_float

ROWS = 256  # looked at together


def check_sounds(array: np.ndarray, samples: int, name: str) -> np.ndarray:
    """Sounds [n, at least `samples`], int16 or float in [-1, 1], as they are: a SpeechTokenizer hears levels.

    Raises:
      MioError: another shape or type, sounds shorter than `samples`, or NaN.
    """
    kinds = np.issubdtype(array.dtype, np.floating) or array.dtype == np.int16
    if array.ndim != 2 or not kinds or not len(array):
        raise MioError(f"media {name} are {array.dtype} {array.shape}; sounds are float or int16 [n, samples]")
    if array.shape[1] < samples:
        raise MioError(f"media {name} have {array.shape[1]} samples a sound; training segments have {samples}")
    for at in range(0, len(array), ROWS):
        if not np.isfinite(array[at : at + ROWS]).all():
            raise MioError(f"media {name}: a sound of rows {at} to {at + ROWS} holds NaN or infinity")
    return array


def sounding(array: np.ndarray) -> np.ndarray:
    """int64 [n]: samples of each sound up to where it stays silent (pieces of a window's length end in silence)."""
    ends = []
    for at in range(0, len(array), ROWS):
        loud = np.abs(as_float(array[at : at + ROWS])) >= SILENCE
        ends.append(np.where(loud.any(1), array.shape[1] - np.argmax(loud[:, ::-1], 1), 0))
    return np.concatenate(ends)


class Segments:
    """Calling it with the index of a step gives its batch: {"wave" [B, samples], "teacher" [B, frames or fewer, dim]}.

    As published, a segment begins anywhere and its features at the frame that begins before it, but so early that all
    of them are there. It begins where something is still heard.
    """

    def __init__(
        self,
        arrays: Sequence[np.ndarray],
        features: Sequence[np.ndarray] | None,
        *,
        hop: int,
        frames: int,
        batch: int,
        seed: int,
    ) -> None:
        self._arrays, self._features = arrays, features
        self._hop, self._frames, self._batch, self._seed = hop, frames, batch, seed
        self._ends = [sounding(array) for array in arrays]
        # A sound as short as a segment may have fewer features than frames; the loss cuts both to the shorter.
        self._taught = min([frames, *(item.shape[1] for item in features or ())])
        self._bounds = np.cumsum([0, *map(len, arrays)])

    def __call__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng((self._seed, index))
        rows = rng.integers(self._bounds[-1], size=self._batch)
        return self.cut(rows, rng.random(self._batch))

    def cut(self, rows: np.ndarray, where: np.ndarray) -> dict[str, Any]:
        """Segments of these rows of all arrays together, each at a share [0, 1) of where it may begin."""
        length, waves, taught = self._hop * self._frames, [], []
        for row, share in zip(rows, where, strict=True):
            which = int(np.searchsorted(self._bounds, row, "right")) - 1
            at = int(row - self._bounds[which])
            start = int(share * (max(self._ends[which][at] - length, 0) + 1))
            waves.append(self._arrays[which][at, start : start + length])
            if self._features is not None:
                features = self._features[which]
                first = min(start // self._hop, features.shape[1] - self._taught)
                taught.append(features[at, first : first + self._taught])
        batch = {"wave": np.stack(waves)}
        if self._features is not None:
            batch["teacher"] = np.stack(taught)
            if not np.isfinite(batch["teacher"]).all():
                raise MioError("the teacher's features hold NaN or infinity; make them again")
        return batch
