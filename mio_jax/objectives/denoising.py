"""The multimodal mixture of denoisers: what is to be restored in an example, from what, and how it is corrupted.

Unified-IO 2, section 3.3: pick the target among the modalities present, pick the other inputs to keep, pick the
paradigm, then draw the mask. These are the picks; `span_corruption` draws masks of text, `patch_masking` those of
images and sounds. Nothing here knows a recipe, a vocabulary or an architecture: an encoder-decoder gives the corrupted
inputs to its encoder, a decoder-only model gets them in front of the target (`mio_jax.data.denoised_examples`).

It runs on the host, for one example at a time, in the loader: corruption changes shapes. Every pick comes from the
example's own generator, so it depends neither on the number of processes nor on what was read before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mio_jax.config_denoising import DenoiserConfig, DenoisingConfig
from mio_jax.errors import MioError


def pick_target(present: Sequence[str], config: DenoisingConfig, rng: np.random.Generator) -> int:
    """The index in `present` (modalities of the parts of an example, repetitions allowed) of the part to restore.

    First a modality is drawn by its weight, then one of its parts, all alike: an example with five pictures does not
    become a picture example five times as often.

    Raises:
      MioError: no part has a modality with a weight above 0.
    """
    names = sorted(set(present))
    weights = np.asarray([config.target_weight(name) for name in names])
    if not weights.sum() > 0:
        raise MioError(f"none of the modalities {names} of an example is a denoising target: their weights are all 0")
    name = names[int(rng.choice(len(names), p=weights / weights.sum()))]
    places = [i for i, modality in enumerate(present) if modality == name]
    return places[int(rng.integers(len(places)))]


def pick_inputs(parts: int, target: int, config: DenoisingConfig, rng: np.random.Generator) -> np.ndarray:
    """Which parts of an example stay as inputs, bool [parts]; the target is not one of them."""
    kept = rng.random(parts) < config.keep_inputs
    kept[target] = False
    return kept


def pick_denoiser(modality: str, config: DenoisingConfig, rng: np.random.Generator) -> DenoiserConfig:
    """The denoiser of a target. For images and sounds, S hides all of it and R hides `rate` of single patches."""
    if modality == "text":
        weights = np.asarray([denoiser.weight for denoiser in config.text])
        return config.text[int(rng.choice(len(config.text), p=weights / weights.sum()))]
    rate = {"image": config.image_rate, "audio": config.audio_rate}
    if modality not in rate:
        raise MioError(f"the mixture of denoisers knows text, image and audio, not {modality!r}")
    if rng.random() < config.reconstruct:
        return DenoiserConfig(f"{modality}_r", "R", 1.0, rate[modality])
    return DenoiserConfig(f"{modality}_s", "S", 0.0, rate[modality])
