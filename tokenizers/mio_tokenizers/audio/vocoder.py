"""A trained HiFi-GAN as a file: log-mel spectrograms to sound. It makes no tokens, but is kept like a tokenizer."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mio_jax.config_loading import from_dict, to_dict
from mio_jax.errors import MioError
from mio_jax.nn.base import Params, apply, split_model
from mio_tokenizers.audio.hifigan import HiFiGAN, HiFiGANSettings
from mio_tokenizers.audio.layers import fold
from mio_tokenizers.base import Audio, fingerprint_of
from mio_tokenizers.weights_file import flat_arrays, nested_arrays, read_weights, write_weights

KIND = "hifigan"
BLOCK = 8


def import_hifigan(published: Mapping[str, np.ndarray], settings: HiFiGANSettings, prefix: str = "") -> Params:
    """Parameters of a published checkpoint (`weight_g`, `weight_v`, or plain `weight`), with its weights folded.

    Raises:
      MioError: arrays that are missing, unexpected or of another shape, which are named.
    """
    named = {n.removeprefix(prefix): np.asarray(a) for n, a in published.items() if n.startswith(prefix)}
    normalised = any(name.endswith(".weight_g") for name in named)
    _, abstract = split_model(functools.partial(HiFiGAN, dataclasses.replace(settings, weight_norm=normalised)))
    return fold(nested_arrays(named, abstract, "published hifigan"))


class Vocoder:
    """Natural-log power mel [mels, frames] -> `Audio` of frames * hop samples."""

    modality = "vocoder"

    def __init__(self, settings: HiFiGANSettings, arrays: dict[str, np.ndarray]) -> None:
        """`arrays`: the flat names of the generator's parameters, with folded weights."""
        self.settings = dataclasses.replace(settings, weight_norm=False)
        self._arrays = arrays
        self._fingerprint = fingerprint_of(KIND, to_dict(self.settings), arrays)
        graphdef, abstract = split_model(functools.partial(HiFiGAN, self.settings))
        floats = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
        self._params = nested_arrays(floats, abstract, KIND)

        @jax.jit
        def run(params: Params, log_mels: jax.Array) -> jax.Array:
            return apply(graphdef, params)(log_mels.swapaxes(1, 2))

        self._run = run

    @classmethod
    def from_params(cls, settings: HiFiGANSettings, params: Params, dtype: Any = np.float16) -> Vocoder:
        """From folded parameters, rounded to `dtype` as they are stored."""
        return cls(settings, {name: np.asarray(array).astype(dtype) for name, array in flat_arrays(params).items()})

    @classmethod
    def load(cls, path: str | Path) -> Vocoder:
        """Raises MioError if the file is absent, damaged or of another kind."""
        arrays, settings = read_weights(path, KIND)
        return cls(from_dict(HiFiGANSettings, settings, str(path)), arrays)

    def save(self, path: str | Path, data: dict[str, str]) -> None:
        """`data`: name, licence and attribution of what it was trained on."""
        write_weights(path, KIND, to_dict(self.settings), data, self._arrays)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The parameters by their flat names, as they are stored."""
        return dict(self._arrays)

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def decode(self, log_mel: np.ndarray) -> Audio:
        """float [mels, frames] -> `Audio`. Raises MioError on another shape or values that are not finite."""
        return self.decode_batch(np.asarray(log_mel)[None])[0]

    def decode_batch(self, log_mels: np.ndarray) -> list[Audio]:
        """float [n, mels, frames] -> n sounds."""
        log_mels = np.asarray(log_mels, np.float32)
        if log_mels.ndim != 3 or log_mels.shape[1] != self.settings.mels or not log_mels.shape[2]:
            raise MioError(
                f"spectrograms for this vocoder are [n, {self.settings.mels}, frames], not an array {log_mels.shape}"
            )
        if not np.isfinite(log_mels).all():
            raise MioError("a spectrogram holds NaN or infinite values")
        sounds: list[Audio] = []
        for start in range(0, len(log_mels), BLOCK):
            block = log_mels[start : start + BLOCK]
            padded = np.concatenate([block, np.repeat(block[-1:], BLOCK - len(block), axis=0)])
            waves = np.asarray(self._run(self._params, padded))[: len(block)]
            sounds += [Audio(wave, self.settings.rate) for wave in waves]
        return sounds
