"""What both sides of the SpeechTokenizer benchmark share: sizes, sounds and codes. Needs nothing but numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

# MIO's SpeechTokenizer (n_filters 64, dimension 1024), three times narrower.
SETTING: dict[str, Any] = {
    "n_filters": 24,
    "strides": [8, 5, 4, 2],
    "dimension": 384,
    "bidirectional": True,
    "lstm_layers": 2,
    "n_residual_layers": 1,
    "residual_kernel_size": 3,
    "dilation_base": 2,
    "activation": "ELU",
    "n_q": 8,
    "codebook_size": 1024,
    "sample_rate": 16000,
    "semantic_dimension": 384,
    "layers": 4,
    "seconds": 5,
    "seed": 0,
}
HOP = 320


def sounds(rows: int) -> np.ndarray:
    """float32 [rows, samples]: noise with a slow swell, so that codes differ from frame to frame."""
    rng = np.random.default_rng(SETTING["seed"])
    samples = SETTING["seconds"] * SETTING["sample_rate"]
    swell = 0.1 + 0.1 * np.sin(np.arange(samples) / 3000)
    return (rng.normal(size=(rows, samples)) * swell).astype(np.float32)


def codes(rows: int) -> np.ndarray:
    """int64 [rows, layers, frames]."""
    frames = SETTING["seconds"] * SETTING["sample_rate"] // HOP
    rng = np.random.default_rng(SETTING["seed"] + 1)
    return rng.integers(0, SETTING["codebook_size"], (rows, SETTING["layers"], frames))
