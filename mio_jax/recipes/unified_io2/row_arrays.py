"""Samples -> the arrays of a row of a training batch, and those of a batch of prompts."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mio_jax.config import RunConfig
from mio_jax.data.packing import require_fit
from mio_jax.errors import MioError
from mio_jax.recipes.unified_io2 import preprocessing as pre
from mio_jax.recipes.unified_io2.batching import schema
from mio_jax.recipes.unified_io2.features import Sample
from mio_jax.recipes.unified_io2.histories import history_arrays
from mio_jax.recipes.unified_io2.model import resolve_model
from mio_jax.recipes.unified_io2.patch_choice import choose, count, task_mask
from mio_jax.recipes.unified_io2.spec import INPUTS, TARGETS, UnifiedIO2Spec
from mio_jax.recipes.unified_io2.tokens import published_space
from mio_tokenizers.audio.mel import MEL
from mio_tokenizers.text.features import input_features, target_features

Arrays = dict[str, np.ndarray]
Shapes = Mapping[str, tuple[tuple[int, ...], Any]]


def media_sizes(spec: UnifiedIO2Spec, text_length: int, share: float = 1.0) -> pre.Sizes:
    """Pixels and seconds that a model's grids of patches stand for; texts of at most `text_length` tokens.

    `share`: of the patches of every medium, what the encoder has slots for.
    """

    def slots(grid: tuple[int, int]) -> int:
        return max(int(share * math.prod(grid)), 1)

    patch, audio_patch = math.isqrt(spec.image_vit.patch_dim // 3), math.isqrt(spec.audio_vit.patch_dim)
    frames, mels = (edge * audio_patch for edge in spec.audio_grid)
    return pre.Sizes(
        image=spec.image_grid[0] * patch,
        history=spec.image_history_grid[0] * patch,
        patch=patch,
        audio_patch=audio_patch,
        audio_code=audio_patch // 2,
        segment_seconds=(frames - 1) * MEL.hop / MEL.rate,
        mel=MEL if mels == MEL.mels else pre.MelSpec(mels=mels),
        image_samples=slots(spec.image_grid),
        history_samples=slots(spec.image_history_grid),
        audio_samples=slots(spec.audio_grid),
        audio_history_samples=slots(spec.audio_grid),
        text_inputs=text_length,
        text_targets=text_length,
    )


def sample_arrays(sample: Sample, spec: UnifiedIO2Spec, media: pre.Sizes) -> Arrays:
    """Arrays of one sample, keyed as in `batching.schema`; lengths are its own.

    Raises:
      MioError: media that cannot be read, codes of another number than the model says, or a sample that asks for
        nothing yet.
    """
    if sample.whole:
        raise MioError(
            f"an example with a whole {' and '.join(sample.whole)} asks for nothing: its task is for stages with "
            "objective='denoising'"
        )
    out: dict[str, Arrays] = {"inputs/text": input_features(sample.text, media.text_inputs)}
    unseen: dict[str, np.ndarray] = {}
    full = _all_patches(media)
    if sample.image is not None:
        placement = pre.place(sample.image, media.image)
        patches = pre.image_features(sample.image, placement, full, hidden=sample.hidden)
        out["inputs/image"], unseen["image"] = choose(patches, sample.image_choice, media.samples("image"))
    if sample.sound is not None and not sample.sound_history:
        patches = pre.audio_features(pre.sound_segments(sample.sound, media)[-1], full)
        out["inputs/audio"], unseen["audio"] = choose(patches, sample.sound_choice, media.samples("audio"))
    out |= history_arrays(sample, media, full)
    if sample.target_text is not None:
        out["targets/text"] = target_features([sample.target_text], media.text_targets)
    for kind, codes in (("image", sample.target_image), ("audio", sample.target_audio)):
        if codes is not None:
            if len(codes) != spec.tokens_of(kind):
                grid = " x ".join(map(str, spec.target_grid(kind)))
                raise MioError(f"an example has {len(codes)} {kind} codes; preset {spec.published!r} says {grid}")
            ones = np.ones(len(codes), np.int32)
            made = {"codes": codes, "mask": ones, "loss_mask": ones.astype(np.float32)}
            if kind == "image" and sample.hidden is not None and sample.image is not None:
                made["loss_mask"] = _hidden_codes(sample.image, sample.hidden, media.image, spec.target_grid("image"))
            if sample.restores == kind:
                layers = sample.layers if kind == "audio" else 1
                hidden = task_mask(unseen[kind], spec.grid(kind), spec.target_grid(kind), layers)
                made["loss_mask"] = np.where(hidden, 1, sample.seen_weight).astype(np.float32)
                made |= {"task_mask": hidden} if spec.dynamic_mask else {}
            out[f"targets/{kind}"] = made
    return {f"{place}/{name}": array for place, part in out.items() for name, array in part.items()}


def _hidden_codes(image: np.ndarray, hidden: np.ndarray, edge: int, grid: tuple[int, int]) -> np.ndarray:
    """float32 [codes]: 1 where the middle of a target code lies in what is hidden of the picture.

    Where what is hidden lies between all middles, every code is learned.
    """
    square = pre.place(image, edge).dense(np.asarray(hidden, bool))
    rows, columns = ((np.arange(n) * edge + edge // 2) // n for n in grid)
    mask = square[rows][:, columns].reshape(-1).astype(np.float32)
    return mask if mask.any() else np.ones_like(mask)


@functools.lru_cache(maxsize=8)
def _all_patches(media: pre.Sizes) -> pre.Sizes:
    """The same sizes with a slot for every patch."""
    every: dict[str, Any] = {f"{name}_samples": total for name, total in media.patches.items()}
    return dataclasses.replace(media, **every)


@functools.lru_cache(maxsize=8)
def shapes_of(spec: UnifiedIO2Spec, media: pre.Sizes) -> Shapes:
    """Key -> (shape, dtype) of everything that the model's modalities take, for one example."""
    known = {k: v for k, v in schema(media).items() if k.startswith(("inputs/", "targets/text/"))}
    wanted = {k: v for k, v in known.items() if spec.has(k.split("/")[0], k.split("/")[1])}
    for kind in ("image", "audio"):
        if spec.has("targets", kind):
            shape = (spec.tokens_of(kind),)
            wanted |= {f"targets/{kind}/{name}": (shape, np.int32) for name in ("codes", "mask")}
            wanted[f"targets/{kind}/loss_mask"] = (shape, np.float32)
            if spec.dynamic_mask:
                wanted[f"targets/{kind}/task_mask"] = (shape, np.int32)
    return wanted


def stack(samples: Sequence[Arrays], slots: int, shapes: Shapes) -> Arrays:
    """[slots, ...] of every array, zeros where a sample has nothing and behind the last sample.

    Raises MioError if a sample has a modality that the model was built without.
    """
    out: Arrays = {key: np.zeros((slots, *shape), dtype) for key, (shape, dtype) in shapes.items()}
    for number, sample in enumerate(samples):
        for key, array in sample.items():
            if key not in out:
                raise MioError(f"an example has {key}, but the model was built without it; enable that modality")
            place: tuple[Any, ...] = (number, *(slice(0, edge) for edge in array.shape))
            out[key][place] = array
    return out


def lengths(arrays: Arrays, latents: Mapping[str, int] | None = None) -> tuple[int, int]:
    """Tokens of the trunk's two sequences, inputs and targets; each item of a history counts `latents` of its name."""
    inputs = targets = 0
    for name in INPUTS:
        if (key := f"inputs/{name}/mask") in arrays:
            history = name.endswith("_history")
            inputs += int(arrays[key].any(-1).sum()) * (latents or {})[name] if history else int(arrays[key].sum())
    for name in TARGETS:
        targets += int(arrays[key].sum()) if (key := f"targets/{name}/mask") in arrays else 0
    return inputs, targets


def segments_of(counts: Sequence[int] | np.ndarray, length: int) -> np.ndarray:
    """int32 [length]: the number, from 1, of the example that a packed place belongs to; 0 is padding."""
    ids = np.repeat(np.arange(1, len(counts) + 1), counts)
    return np.pad(ids, (0, length - len(ids))).astype(np.int32)


@dataclass(frozen=True)
class Rows:
    """Rows of several examples: the front ends see [examples, ...] of each row, the trunk sees them packed.

    `budgets` are tokens of the encoder, tokens of the decoder, and examples.
    """

    spec: UnifiedIO2Spec
    media: pre.Sizes
    budgets: tuple[int, int, int]

    @property
    def latents(self) -> dict[str, int]:
        """Tokens of the trunk that one item of a history becomes."""
        return {name: self.spec.resampler(name).latents for name in ("image_history", "audio_history")}

    def sizes(self, example: Sample) -> tuple[int, int, int]:
        """The trunk's tokens of a sample, at most: every patch that its encoder has a slot for counts, padding too."""
        media = self.media
        inputs = min(len(example.text) + 1, media.text_inputs)
        for name, medium, choice in (
            ("image", example.image, example.image_choice),
            ("audio", example.sound, example.sound_choice),
        ):
            if medium is not None:
                inputs += count(media.patches[name], choice, media.samples(name))
        for name, items in (("image_history", example.image_history), ("audio_history", example.sound_history)):
            inputs += len(items) * self.latents[name]
        targets = 0 if example.target_text is None else min(len(example.target_text) + 1, media.text_targets)
        targets += sum(len(codes) for codes in (example.target_image, example.target_audio) if codes is not None)
        return inputs, targets, 1

    def row(self, examples: Sequence[Sample]) -> Arrays:
        """Arrays [examples, ...] as in `batching.schema`; `rows/inputs` and `rows/targets`, int32 [tokens], say which
        example a packed place belongs to."""
        made = [sample_arrays(example, self.spec, self.media) for example in examples]
        counts = np.asarray([lengths(arrays, self.latents) for arrays in made], np.int64).reshape(-1, 2)
        require_fit((*counts.sum(0).tolist(), len(made)), self.budgets)
        inputs, targets, slots = self.budgets
        segments = segments_of(counts[:, 0], inputs), segments_of(counts[:, 1], targets)
        out = stack(made, slots, shapes_of(self.spec, self.media))
        return {**out, "rows/inputs": segments[0], "rows/targets": segments[1], "segment_ids": np.concatenate(segments)}


def spec_of(config: RunConfig) -> UnifiedIO2Spec:
    """The config's model as far as shapes of examples go: all but the rows of its tables."""
    return resolve_model(config.model, published_space())


def rows(config: RunConfig) -> Rows:
    """Rows of `data.budgets` tokens of the encoder and of the decoder, of at most `data.row_examples` examples.

    Raises MioError where these budgets are not two.
    """
    budgets = config.data.budgets
    if len(budgets) != 2:
        raise MioError(
            f"data.budgets are {budgets}; Unified-IO 2 needs two: tokens of the encoder and of the decoder in a row, "
            "such as (864, 1280)"
        )
    spec = spec_of(config)
    media = media_sizes(spec, config.data.text_length, config.data.patch_share)
    return Rows(spec, media, (budgets[0], budgets[1], config.data.row_examples))


def prompt_batch(prompts: Sequence[Sample], config: RunConfig) -> Arrays:
    """The inputs of prompts, [prompts, ...] each; targets that they may have are left out."""
    spec = spec_of(config)
    media = media_sizes(spec, config.data.text_length)
    shapes = {key: value for key, value in shapes_of(spec, media).items() if key.startswith("inputs/")}
    made = [sample_arrays(prompt, spec, media) for prompt in prompts]
    inputs = [{key: array for key, array in arrays.items() if key.startswith("inputs/")} for arrays in made]
    return stack(inputs, len(prompts), shapes)
