"""Reconstruction figures of any audio tokenizer on held-out clips, with controls."""

from __future__ import annotations

from typing import Any

import numpy as np

from mio_tokenizers.audio.metrics import cents, log_spectral_distance, pitch_of, resample
from mio_tokenizers.base import Audio

IN_TUNE = 50.0  # cents


def reconstruction_figures(tokenizer: Any, clips: np.ndarray, rate: int) -> dict[str, Any]:
    """Figures of a codec on clips float32 [n, samples].

    `log_spectral_distance` in dB of what is decoded, and as controls of the codes of the next clip (`shuffled`), of its
    own frames in random order (`frames_shuffled`), and of `silence`. `in_tune`: share of clips with a pitch whose
    decoded pitch is within 50 cents (`in_tune_octave_free`: in any octave; `in_tune_shuffled`: the next clip's codes).
    `first_layers`: both figures from the first 1, 2, ... layers alone. `codes_used`: share of each layer's codebook.
    """
    originals = [Audio(clip, rate) for clip in clips]
    codes = _encode(tokenizer, originals)
    rng = np.random.default_rng(0)
    pitches = [pitch_of(audio) for audio in originals]

    def judge(made: list[Audio]) -> tuple[float, float, float]:
        made = [
            Audio(resample(m.samples, m.rate, rate)[: len(o.samples)], rate)
            for m, o in zip(made, originals, strict=True)
        ]
        distance = np.mean([log_spectral_distance(o, m) for o, m in zip(originals, made, strict=True)])
        intervals = np.array([cents(pitch_of(m), p) for m, p in zip(made, pitches, strict=True) if p > 0])
        found = intervals[np.isfinite(intervals)]  # a sound without pitch is out of tune in every octave
        folded = (found + 600) % 1200 - 600
        return (
            round(float(distance), 3),
            round(float(np.mean(np.abs(intervals) < IN_TUNE)), 4),
            round(float(np.sum(np.abs(folded) < IN_TUNE) / max(len(intervals), 1)), 4),
        )

    decoded, in_tune, octave_free = judge(_decode(tokenizer, codes))
    shuffled, in_tune_shuffled, _ = judge(_decode(tokenizer, codes[1:] + codes[:1]))
    frames, _, _ = judge(_decode(tokenizer, [c[:, rng.permutation(c.shape[1])] for c in codes]))
    silence, _, _ = judge([Audio(np.zeros_like(o.samples), rate) for o in originals])
    figures: dict[str, Any] = {
        "n": len(originals),
        "pitched": int(np.sum(np.asarray(pitches) > 0)),
        "log_spectral_distance": decoded,
        "log_spectral_distance_shuffled": shuffled,
        "log_spectral_distance_frames_shuffled": frames,
        "log_spectral_distance_silence": silence,
        "in_tune": in_tune,
        "in_tune_octave_free": octave_free,
        "in_tune_shuffled": in_tune_shuffled,
        "codes_used": [
            round(len(np.unique(np.concatenate([c[i] for c in codes]))) / size, 4)
            for i, size in enumerate(tokenizer.layer_sizes)
        ],
        "frames_per_second": round(codes[0].shape[1] / (len(originals[0].samples) / rate), 3),
    }
    if getattr(tokenizer, "partial_layers", False):
        figures["first_layers"] = {
            str(n): dict(
                zip(
                    ("log_spectral_distance", "in_tune"),
                    judge(_decode(tokenizer, [c[:n] for c in codes])),
                    strict=False,
                )
            )
            for n in range(1, len(codes[0]))
        }
    return figures


def _encode(tokenizer: Any, sounds: list[Audio]) -> list[np.ndarray]:
    batch = getattr(tokenizer, "encode_batch", None)
    return batch(sounds) if batch else [tokenizer.encode(sound) for sound in sounds]


def _decode(tokenizer: Any, codes: list[np.ndarray]) -> list[Audio]:
    batch = getattr(tokenizer, "decode_batch", None)
    return batch(codes) if batch else [tokenizer.decode(item) for item in codes]
