"""Histories of a sample, earlier pictures and earlier sound, as the arrays of a training row (specification, 5.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mio_jax.recipes.unified_io2 import preprocessing as pre
from mio_jax.recipes.unified_io2.patch_choice import PatchChoice, choose

Arrays = dict[str, np.ndarray]


def picture_history(
    pictures: Sequence[np.ndarray], media: pre.Sizes, full: pre.Sizes, choice: PatchChoice | None
) -> Arrays:
    """uint8 pictures in their order -> `input` [frames, slots, patch values], `mask`, `pos_ids`.

    `full` are the same sizes with a slot for every patch; `choice` draws those that have one, anew in every frame.
    Raises MioError on more frames than there are places.
    """
    return _chosen(pre.history_features(pictures, full), choice, media.samples("history"))


def sound_history(sounds: Sequence[Any], media: pre.Sizes, full: pre.Sizes, choice: PatchChoice | None) -> Arrays:
    """`Audio` of one segment each, in their order -> arrays as those of `picture_history`. A silent one has mask 0."""
    powers = [pre.centred_sound(sound, full) for sound in sounds]
    return _chosen(pre.audio_history_features(powers, full), choice, media.samples("audio_history"))


def _chosen(features: Arrays, choice: PatchChoice | None, slots: int) -> Arrays:
    frames = len(features["mask"])
    if choice is None and slots >= features["mask"].shape[1]:
        return features
    out = {name: np.zeros((frames, slots, *array.shape[2:]), array.dtype) for name, array in features.items()}
    for number in range(frames):
        drawn = None if choice is None else replace(choice, seed=choice.seed + number + 1, rate=0.0)
        kept, _ = choose({name: array[number] for name, array in features.items()}, drawn, slots)
        for name, array in kept.items():
            out[name][number, : len(array)] = array
    return out
