"""Features of examples of any media -> one batch of static shapes (specification section 13.4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mio_jax.errors import MioError
from mio_jax.recipes.unified_io2.preprocessing import FULL, Features, Sizes

INPUTS = ("text", "image", "image_history", "audio", "audio_history")
TARGETS = ("text", "image", "audio")


def schema(sizes: Sizes = FULL) -> dict[str, tuple[tuple[int, ...], type]]:
    """Key -> (shape without the batch axis, dtype) of everything a batch may hold."""
    pixels, power = sizes.patch**2 * 3, sizes.audio_patch**2
    inputs = {
        "image": ((sizes.samples("image"),), pixels),
        "image_history": ((sizes.frames, sizes.samples("history")), pixels),
        "audio": ((sizes.samples("audio"),), power),
        "audio_history": ((sizes.frames, sizes.samples("audio_history")), power),
    }
    table: dict[str, tuple[tuple[int, ...], type]] = {}
    for name in ("tokens", "mask", "pos_ids"):
        table[f"inputs/text/{name}"] = ((sizes.text_inputs,), np.int32)
    for kind, (shape, width) in inputs.items():
        table[f"inputs/{kind}/input"] = ((*shape, width), np.float32)
        table |= {f"inputs/{kind}/{name}": (shape, np.int32) for name in ("mask", "pos_ids")}
    for name in ("inputs", "targets", "mask", "pos_ids", "segment_ids"):
        table[f"targets/text/{name}"] = ((sizes.text_targets,), np.int32)
    table["targets/image/image"] = ((sizes.target, sizes.target, 3), np.float32)
    table["targets/audio/audio"] = ((*sizes.spectrogram, 1), np.float32)
    for kind in ("image", "audio"):
        table |= {f"targets/{kind}/{n}": ((sizes.codes[kind],), np.int32) for n in ("mask", "loss_mask", "task_mask")}
    return table


def batch(
    examples: Sequence[Features],
    sizes: Sizes = FULL,
    inputs: Sequence[str] = INPUTS,
    targets: Sequence[str] = TARGETS,
) -> dict[str, np.ndarray]:
    """Stacks features, zeros where an example has nothing: missing media, short texts, few frames.

    `inputs` and `targets`: the media that the model was built with; others have no place in the batch. Keys that are in
    no schema (ids, `meta/...`) are left out.

    Raises:
      MioError: no examples, a medium the model was not built with, or an array that does not fit its place.
    """
    if not examples:
        raise MioError("a batch needs at least one example")
    known = schema(sizes)
    wanted = {k: v for k, v in known.items() if k.split("/")[1] in (inputs if k.startswith("inputs/") else targets)}
    for number, example in enumerate(examples):
        for key, array in example.items():
            if key in known and key not in wanted:
                raise MioError(f"example {number} has {key}, but the model was built without it; enable that modality")
            if key in wanted and (
                array.ndim != len(wanted[key][0])
                or any(a > b for a, b in zip(array.shape, wanted[key][0], strict=True))
            ):
                raise MioError(f"example {number}: {key} is {array.shape}, which does not fit {wanted[key][0]}")
    out: dict[str, np.ndarray] = {
        key: np.zeros((len(examples), *shape), dtype) for key, (shape, dtype) in wanted.items()
    }
    for number, example in enumerate(examples):
        for key, array in example.items():
            if key in out:
                out[key][number][tuple(slice(0, edge) for edge in array.shape)] = array
    return out
