"""From media to Unified-IO 2's features, example by example (specification sections 11 and 13); `batching` pads them.

Keys are those of the batch schema of section 13.4 ("inputs/image/input", ...), without the batch axis. Every function
takes an optional generator: without it the evaluation geometry, with it the training augmentation. The same example and
the same state of the generator give the same features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mio_jax.config import require
from mio_jax.data.media.patches import choose_patches, patch_count, patch_mask, to_patches
from mio_jax.data.media.placement import Placement, fit, random_placement
from mio_jax.data.media.resize import resize, resize_nearest
from mio_jax.errors import MioError
from mio_tokenizers.audio.io import SILENCE, mono
from mio_tokenizers.audio.mel import (
    CODE_SCALE,
    INPUT_SCALE,
    MEL,
    SEGMENT_SECONDS,
    MelSpec,
    centred,
    log_power,
    normalise_mel,
    power_mel,
    segments_of,
)
from mio_tokenizers.audio.metrics import resample
from mio_tokenizers.base import Audio

Features = dict[str, np.ndarray]
# Statistics of CLIP's pictures, by which inputs are normalised; padding is normalised with them, so it is not zero.
CLIP_MEAN = np.asarray([0.48145466, 0.4578275, 0.40821073], np.float32)
CLIP_STD = np.asarray([0.26862954, 0.26130258, 0.27577711], np.float32)


@dataclass(frozen=True)
class Sizes:
    """Pixels of the squares, and how much of each medium a model sees. Samples: patches, or a fraction of all."""

    image: int = 384
    history: int = 256
    target: int = 256
    patch: int = 16  # of inputs
    image_code: int = 8  # pixels of a target picture that one code stands for
    audio_patch: int = 16
    audio_code: int = 8
    segment_seconds: float = SEGMENT_SECONDS
    mel: MelSpec = MEL
    frames: int = 4  # of each history
    image_samples: int | float = 576
    history_samples: int | float = 256
    audio_samples: int | float = 128
    audio_history_samples: int | float = 128
    text_inputs: int = 512
    text_targets: int = 512

    def __post_init__(self) -> None:
        for name, patch in (("image", self.patch), ("history", self.patch), ("target", self.image_code)):
            edge = getattr(self, name)
            require(
                edge > 0 and edge % patch == 0, f"sizes.{name} is {edge}; it must be a positive multiple of {patch}"
            )
        for patch in (self.audio_patch, self.audio_code):
            require(
                not any(edge % patch for edge in self.spectrogram),
                f"a segment of {self.segment_seconds} s gives a spectrogram of {self.spectrogram}, which does not "
                f"divide by {patch}; change sizes.segment_seconds or sizes.mel",
            )
        require(1 <= self.frames <= 8, f"sizes.frames is {self.frames}; there are marks for 1 to 8")
        for name, total in self.patches.items():
            patch_count(getattr(self, f"{name}_samples"), total)

    @property
    def segment(self) -> int:
        """Sound samples of a segment."""
        return round(self.segment_seconds * self.mel.rate)

    @property
    def spectrogram(self) -> tuple[int, int]:
        """Frames and mels of a segment."""
        return self.mel.frames(self.segment), self.mel.mels

    @property
    def codes(self) -> dict[str, int]:
        """How many codes a target picture and a target sound have."""
        frames, mels = self.spectrogram
        return {"image": (self.target // self.image_code) ** 2, "audio": frames * mels // self.audio_code**2}

    @property
    def patches(self) -> dict[str, int]:
        """How many patches each input has."""
        frames, mels = self.spectrogram
        sound = frames * mels // self.audio_patch**2
        return {
            "image": (self.image // self.patch) ** 2,
            "history": (self.history // self.patch) ** 2,
            "audio": sound,
            "audio_history": sound,
        }

    def samples(self, name: str) -> int:
        """How many patches of an input are given to the model."""
        return patch_count(getattr(self, f"{name}_samples"), self.patches[name])


FULL = Sizes()
# Section 18: half of the patches in pre-training, seven eighths in instruction tuning.
PRETRAINING = Sizes(image_samples=288, history_samples=128, audio_samples=64, audio_history_samples=64)
INSTRUCTION = Sizes(image_samples=0.875, history_samples=0.875, audio_samples=0.875, audio_history_samples=0.875)


def as_float(picture: np.ndarray) -> np.ndarray:
    """uint8 or float [..., height, width, 3] -> float32 in [0, 1]. MioError on another shape, NaN or values outside."""
    picture = np.asarray(picture)
    if picture.ndim < 3 or picture.shape[-1] != 3 or not picture.size:
        raise MioError(f"a picture must be [height, width, 3] with at least one pixel, not {list(picture.shape)}")
    if picture.dtype == np.uint8:
        return picture.astype(np.float32) / np.float32(255)
    if not np.issubdtype(picture.dtype, np.floating) or not ((picture >= 0) & (picture <= 1)).all():
        raise MioError(f"a picture of {picture.dtype} must hold numbers in [0, 1] (or be uint8)")
    return picture.astype(np.float32)


def place(picture: np.ndarray, size: int, rng: np.random.Generator | None = None) -> Placement:
    height, width = np.shape(picture)[-3:-1]
    return fit(height, width, size) if rng is None else random_placement(height, width, size, rng)


def image_patches(
    square: np.ndarray, mask: np.ndarray, sizes: Sizes, name: str, rng: np.random.Generator | None
) -> Features:
    """A square [n, n, 3] in [0, 1] and its mask [n, n] -> `input` [samples, patch * patch * 3], `mask`, `pos_ids`."""
    patches = to_patches((square - CLIP_MEAN) / CLIP_STD, sizes.patch)
    return _chosen(patches, patch_mask(mask, sizes.patch), sizes.samples(name), rng)


def _chosen(patches: np.ndarray, mask: np.ndarray, count: int, rng: np.random.Generator | None) -> Features:
    ids = choose_patches(mask, count, rng)
    return {"input": patches[ids], "mask": mask[ids], "pos_ids": ids}


def image_features(
    picture: np.ndarray,
    placement: Placement,
    sizes: Sizes = FULL,
    rng: np.random.Generator | None = None,
    hidden: np.ndarray | None = None,
) -> Features:
    """The picture as the image input. `hidden` bool [height, width]: what the model is not to see (inpainting)."""
    mask = placement.mask
    if hidden is not None:
        mask = mask * ~placement.dense(np.asarray(hidden, bool))
    return image_patches(placement.image(as_float(picture)), mask, sizes, "image", rng)


def history_features(
    pictures: Sequence[np.ndarray],
    sizes: Sizes = FULL,
    rng: np.random.Generator | None = None,
    shared: Placement | None = None,
) -> Features:
    """Earlier frames, each with its own choice of patches: arrays of `image_features` stacked [frames, ...].

    `shared`: the placement of the image input; frames of the same size are then cropped as it is and scaled down, so
    that a video stays one. Raises MioError on more frames than there are places.
    """
    if not 1 <= len(pictures) <= sizes.frames:
        raise MioError(f"{len(pictures)} history frames; the model takes 1 to {sizes.frames}: leave some out")
    frames = []
    for picture in pictures:
        pixels = as_float(picture)
        if rng is not None and shared is not None and shared.source == pixels.shape[:2]:
            square = np.clip(resize(shared.image(pixels), (sizes.history, sizes.history), "bicubic"), 0, 1)
            mask = resize_nearest(shared.mask, (sizes.history, sizes.history))
        else:
            placement = place(pixels, sizes.history, rng)
            square, mask = placement.image(pixels), placement.mask
        frames.append(image_patches(square, mask, sizes, "history", rng))
    return {name: np.stack([frame[name] for frame in frames]) for name in frames[0]}


def target_image_features(
    square: np.ndarray, mask: np.ndarray, sizes: Sizes = FULL, learned: np.ndarray | None = None
) -> Features:
    """A square in [0, 1] and its mask -> `image` in [-1, 1], `mask`, `loss_mask`, `task_mask` [codes].

    `learned` bool [n, n]: where there is a loss (default: on the mask). The task mask says what of the target the
    dynamic mask hides; it is 0 unless an objective sets it.
    """
    codes = patch_mask(mask, sizes.image_code)
    wanted = codes if learned is None else codes * patch_mask(learned, sizes.image_code)
    return {
        "image": (square * 2 - 1).astype(np.float32),
        "mask": codes,
        "loss_mask": wanted,
        "task_mask": np.zeros_like(codes),
    }


def target_image(
    picture: np.ndarray,
    sizes: Sizes = FULL,
    rng: np.random.Generator | None = None,
    learned: np.ndarray | None = None,
) -> Features:
    """A picture of its own as the target; `learned` bool [height, width] as in `target_image_features`."""
    placement = place(picture, sizes.target, rng)
    kept = None if learned is None else placement.dense(np.asarray(learned, bool))
    return target_image_features(placement.image(as_float(picture)), placement.mask, sizes, kept)


def aligned_target_image(
    picture: np.ndarray, placement: Placement, sizes: Sizes = FULL, learned: np.ndarray | None = None
) -> Features:
    """A target that answers the input pixel by pixel (a mask, depth, an edit): it goes through the input's geometry.

    `picture` [height, width, 3] has the size of the input picture; values are those of the nearest pixels.
    """

    def small(values: np.ndarray) -> np.ndarray:
        return resize_nearest(placement.dense(values), (sizes.target, sizes.target))

    mask = resize_nearest(placement.mask, (sizes.target, sizes.target))
    kept = None if learned is None else small(np.asarray(learned, bool))
    return target_image_features(small(as_float(picture)), mask, sizes, kept)


# ------------------------------------------------------------------------------------------------------------ sound


def sound_segments(audio: Audio, sizes: Sizes = FULL) -> np.ndarray:
    """A sound at any rate -> float32 power spectrograms [segments, frames, mels], zeros behind the end.

    Raises MioError on an empty, silent or damaged sound.
    """
    waves = resample(mono(audio), audio.rate, sizes.mel.rate)
    return _spectrogram(segments_of(waves, sizes.mel.rate, sizes.segment_seconds), sizes)


def centred_sound(audio: Audio, sizes: Sizes = FULL) -> np.ndarray:
    """The sound around one video frame -> [frames, mels]: the middle segment of it, or all of it amid zeros.

    Silence is allowed here, for a part of a video may be silent: its spectrogram is 0 and so is its mask.
    """
    samples = np.asarray(audio.samples)
    silent = bool(samples.size) and bool((np.abs(samples) < SILENCE).all())
    waves = np.zeros(1, np.float32) if silent else resample(mono(audio), audio.rate, sizes.mel.rate)
    return _spectrogram(centred(waves, sizes.segment), sizes)


def _spectrogram(waves: np.ndarray, sizes: Sizes) -> np.ndarray:
    return np.ascontiguousarray(power_mel(waves, sizes.mel).swapaxes(-1, -2))


def _normal(power: np.ndarray, scale: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    return normalise_mel(log_power(power), scale).astype(np.float32), (power != 0).astype(np.int32)


def audio_features(power: np.ndarray, sizes: Sizes = FULL, rng: np.random.Generator | None = None) -> Features:
    """A power spectrogram [frames, mels] as the audio input: `input` [samples, 256], `mask`, `pos_ids`."""
    return _audio_patches(power, sizes, "audio", rng)


def _audio_patches(power: np.ndarray, sizes: Sizes, name: str, rng: np.random.Generator | None) -> Features:
    values, mask = _normal(power, INPUT_SCALE)
    patches = to_patches(values[..., None], sizes.audio_patch)
    return _chosen(patches, patch_mask(mask, sizes.audio_patch), sizes.samples(name), rng)


def audio_history_features(
    powers: Sequence[np.ndarray] | np.ndarray, sizes: Sizes = FULL, rng: np.random.Generator | None = None
) -> Features:
    """Earlier segments, stacked [segments, ...]. Raises MioError on more than there are places."""
    if not 1 <= len(powers) <= sizes.frames:
        raise MioError(f"{len(powers)} segments of earlier sound; the model takes 1 to {sizes.frames}: cut it")
    made = [_audio_patches(power, sizes, "audio_history", rng) for power in powers]
    return {name: np.stack([segment[name] for segment in made]) for name in made[0]}


def target_audio(power: np.ndarray, sizes: Sizes = FULL) -> Features:
    """A power spectrogram -> `audio` [frames, mels, 1], `mask`, `loss_mask`, `task_mask` [codes]."""
    values, mask = _normal(power, CODE_SCALE)
    codes = patch_mask(mask, sizes.audio_code)
    return {"audio": values[..., None], "mask": codes, "loss_mask": codes.copy(), "task_mask": np.zeros_like(codes)}
