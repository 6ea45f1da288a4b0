"""What came before the picture or the sound of a sample: earlier frames and segments (specification section 13)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mio_jax.data.media.video import frame_times
from mio_jax.data.media.video_reader import Video
from mio_jax.errors import MioError
from mio_jax.recipes.unified_io2 import preprocessing as pre
from mio_jax.recipes.unified_io2.examples import video_fields
from mio_jax.recipes.unified_io2.features import Sample
from mio_jax.recipes.unified_io2.patch_choice import PatchChoice, choose
from mio_tokenizers.audio.io import SILENCE, mono
from mio_tokenizers.audio.mel import segments_of
from mio_tokenizers.audio.metrics import resample
from mio_tokenizers.base import Audio

Arrays = dict[str, np.ndarray]


def history_arrays(sample: Sample, media: pre.Sizes, full: pre.Sizes) -> dict[str, Arrays]:
    """Features of earlier frames and segments, and of the sound that follows those segments (cut as they are).

    `full` are the same sizes with a slot for every patch; a sample's choices draw those that have one, in every item
    anew. Raises MioError on more items than a model has places for.
    """
    out: dict[str, Arrays] = {}
    if sample.image_history:
        frames = pre.history_features(sample.image_history, full)
        out["inputs/image_history"] = _chosen(frames, sample.image_choice, media.samples("history"))
    if sample.sound_history:
        powers = [pre.centred_sound(sound, full) for sound in sample.sound_history]
        segments = pre.audio_history_features(powers, full)
        out["inputs/audio_history"] = _chosen(segments, sample.sound_choice, media.samples("audio_history"))
        if sample.sound is not None:
            patches = pre.audio_features(pre.centred_sound(sample.sound, full), full)
            out["inputs/audio"], _ = choose(patches, sample.sound_choice, media.samples("audio"))
    return out


def _chosen(features: Arrays, choice: PatchChoice | None, slots: int) -> Arrays:
    if choice is None and slots >= features["mask"].shape[1]:
        return features
    frames = len(features["mask"])
    out = {name: np.zeros((frames, slots, *array.shape[2:]), array.dtype) for name, array in features.items()}
    for number in range(frames):
        drawn = None if choice is None else dataclasses.replace(choice, seed=choice.seed + number + 1, rate=0.0)
        kept, _ = choose({name: array[number] for name, array in features.items()}, drawn, slots)
        for name, array in kept.items():
            out[name][number, : len(array)] = array
    return out


def sound_parts(audio: Audio, media: pre.Sizes) -> dict[str, Any]:
    """A sound of any length and rate -> `sound`, its last segment, and `sound_history`, those before it.

    Silence behind the last audible segment is left out. Raises MioError on an empty, silent or damaged sound, or one
    that is longer than the places for its segments.
    """
    rate = media.mel.rate
    parts = segments_of(resample(mono(audio), audio.rate, rate), rate, media.segment_seconds)
    heard = np.flatnonzero(np.abs(parts).max(axis=1) >= SILENCE)
    parts = parts[: heard[-1] + 1]
    if len(parts) > media.frames + 1:
        raise MioError(
            f"the sound has {len(parts)} segments of {media.segment_seconds:g} s; a model is shown {media.frames + 1} "
            "at most: cut it"
        )
    *before, last = (Audio(part, rate) for part in parts)
    return {"sound": last, "sound_history": tuple(before)}


def video_parts(frames: np.ndarray | Video, audio: Audio | None, media: pre.Sizes) -> dict[str, Any]:
    """Frames of a video and its sound -> fields of a `Sample`: as many frames as there are places, evenly spread.

    The last one is the picture, the others its history, each with its own part of the sound. MioError on no frames.
    """
    if not len(frames):
        raise MioError("the video has no frames")
    count = min(len(frames), media.frames + 1)
    chosen = frames[frame_times(len(frames), count).astype(int)]
    fields = video_fields(chosen, audio)
    names = {"audio": "sound", "audio_history": "sound_history"}
    return {names.get(name, name): value for name, value in fields.items()}
