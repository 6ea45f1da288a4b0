"""Spectrograms to codes with a trained ViT-VQGAN, and whole sounds through them: sound, mel, codes, mel, sound."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from mio_jax.config_loading import to_dict
from mio_jax.errors import MioError
from mio_tokenizers.audio.griffin_lim import griffin_lim
from mio_tokenizers.audio.io import mono
from mio_tokenizers.audio.mel import MelSpec, log_power, normalise_mel, power_mel, restore_mel, segments_of
from mio_tokenizers.audio.metrics import resample
from mio_tokenizers.audio.vit_vqgan import ViTVQGAN, ViTVQGANSettings
from mio_tokenizers.audio.vocoder import Vocoder
from mio_tokenizers.base import Audio, fingerprint_of
from mio_tokenizers.vq_tokenizer import VQTokenizer


class MelTokenizer(VQTokenizer):
    """Normalised log-mel float32 [mels, frames] (see `mel.normalise_mel`) <-> int32 [tokens]: low frequencies first,
    time along a row of codes."""

    kind = "vit_vqgan"
    modality = "mel"
    what = "spectrogram"
    settings_type = ViTVQGANSettings
    model_type = ViTVQGAN

    def check(self, media: object) -> np.ndarray:
        if not isinstance(media, np.ndarray) or media.shape != self.settings.size or media.dtype.kind != "f":
            got = f"{media.dtype} {media.shape}" if isinstance(media, np.ndarray) else type(media).__name__
            raise MioError(f"a spectrogram must be a float array {list(self.settings.size)} [mels, frames], not {got}")
        if not np.isfinite(media).all():
            raise MioError("the spectrogram holds NaN or infinite values")
        return media.astype(np.float32)

    def to_model(self, batch: jax.Array) -> jax.Array:
        return batch[..., None]

    def from_model(self, batch: jax.Array) -> jax.Array:
        return batch[..., 0]


def spectrograms(samples: np.ndarray, spec: MelSpec, frames: int) -> np.ndarray:
    """A sound float32 [n] at the rate of `spec` -> normalised log-mels float32 [segments, mels, frames].

    Silence lies at the floor here, not at the 0 that marks padding for the model (see `mel.log_power`).
    """
    cut = segments_of(samples, spec.rate, (frames - 1) * spec.hop / spec.rate)
    return normalise_mel(log_power(power_mel(cut, spec), keep_zeros=False)).astype(np.float32)


class WaveformTokenizer:
    """`Audio` of any rate and length <-> int32 [1, segments * tokens] through a spectrogram.

    A sound is cut into segments (4.08 s in the published sizes), the last filled with silence, or left out if less than
    half of it is there. Decoding gives whole segments, through the vocoder, or by Griffin-Lim where there is none.
    Equal fingerprints give equal tokens; the vocoder has no part in them.
    """

    modality = "audio"

    def __init__(self, mel: MelTokenizer, vocoder: Vocoder | None = None) -> None:
        if not isinstance(mel, MelTokenizer):
            raise MioError(f"a waveform tokenizer needs a tokenizer of spectrograms, not one of {mel.modality}")
        mels, frames = mel.settings.size
        self.mel, self.vocoder, self.spec = mel, vocoder, MelSpec(mels=mels)
        if vocoder is not None:
            if not isinstance(vocoder, Vocoder):
                raise MioError(f"the vocoder of a waveform tokenizer is a tokenizer of {vocoder.modality}")
            theirs = (vocoder.settings.mels, vocoder.settings.hop, vocoder.settings.rate)
            if theirs != (mels, self.spec.hop, self.spec.rate):
                raise MioError(
                    f"the vocoder takes {theirs[0]} mels every {theirs[1]} samples at {theirs[2]} Hz; this tokenizer "
                    f"makes {mels} every {self.spec.hop} at {self.spec.rate} Hz"
                )
        self.frames, self.segment = frames, (frames - 1) * self.spec.hop
        self.rate, self.vocab_size = self.spec.rate, mel.vocab_size
        self.n_q, self.layer_sizes = 1, (mel.vocab_size,)

    @property
    def fingerprint(self) -> str:
        return fingerprint_of("waveform", {"mel": self.mel.fingerprint, "spec": to_dict(self.spec)})

    def encode(self, media: Audio) -> np.ndarray:
        """`Audio` -> int32 [1, segments * tokens]. Raises MioError on sound that cannot be encoded."""
        return self.encode_batch([media])[0]

    def encode_batch(self, sounds: Sequence[Audio]) -> list[np.ndarray]:
        """One array of codes for each sound."""
        mels = [spectrograms(resample(mono(sound), sound.rate, self.rate), self.spec, self.frames) for sound in sounds]
        if not mels:
            return []
        codes = self.mel.encode_batch(np.concatenate(mels))
        ends = np.cumsum([len(mel) for mel in mels])[:-1]
        return [part.reshape(1, -1) for part in np.split(codes, ends)]

    def decode(self, tokens: np.ndarray) -> Audio:
        """int32 [1, segments * tokens] -> `Audio`. Raises MioError on other shapes or codes."""
        return self.decode_batch([tokens])[0]

    def decode_batch(self, tokens: Sequence[np.ndarray]) -> list[Audio]:
        """One sound for each array of codes."""
        arrays = [np.asarray(item) for item in tokens]
        for codes in arrays:
            if codes.ndim != 2 or len(codes) != 1 or not codes.shape[1] or codes.shape[1] % self.mel.tokens:
                raise MioError(
                    f"a sound is codes [1, segments x {self.mel.tokens}], not an array {codes.dtype} {codes.shape}"
                )
        if not arrays:
            return []
        rows = np.concatenate([codes.reshape(-1, self.mel.tokens) for codes in arrays])
        log_mels = restore_mel(self.mel.decode_batch(rows))
        if self.vocoder is None:
            waves = [griffin_lim(mel, self.spec) for mel in log_mels]
        else:
            waves = [audio.samples for audio in self.vocoder.decode_batch(log_mels)]
        ends = np.cumsum([codes.shape[1] // self.mel.tokens for codes in arrays])[:-1]
        groups = np.split(np.stack(waves)[:, : self.segment], ends)
        return [Audio(np.ascontiguousarray(group.reshape(-1), np.float32), self.rate) for group in groups]
