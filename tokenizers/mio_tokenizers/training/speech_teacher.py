"""What the first codebook of a SpeechTokenizer is distilled from: features of the training sounds, made beforehand.

A folder of features, as `mio tokenizer features` writes it and anybody may:

    FOLDER/features.json             {"teacher": "a name", "frame_rate": 50.0}
    FOLDER/train/SOURCE.FIELD.npy    float [n, frames, dim]; row i is of row i of `mio tokenizer export-media`
    FOLDER/test/SOURCE.FIELD.npy

The arrays are mapped, never read whole. `log_mel` needs no folder and is no semantic teacher: a spectrum knows no
phonemes. It is there so that all of the training runs where there is no HuBERT.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.errors import MioError
from mio_tokenizers.audio.codec import CodecSpec
from mio_tokenizers.audio.spectral import log_mel

LOG_MEL = "log_mel"
HUBERT = "hubert"
INDEX = "features.json"
BANDS, WINDOW, LOUDEST_SPAN = 40, 1024, 7.0  # of `log_mel`: bands, samples, natural logarithms below the loudest
BATCH = 16
MISSING = 2  # frames that a teacher may have fewer than the codec: HuBERT's first window is longer than its step


def as_float(waves: Any) -> Any:
    """Sounds as they are stored, int16 or float, -> float32 in [-1, 1]; numpy or JAX."""
    scale = np.float32(32767 if waves.dtype == np.int16 else 1)
    return waves.astype(np.float32) / scale


def _log_mel(waves: np.ndarray, spec: CodecSpec) -> Iterator[np.ndarray]:
    """float16 [n, frames, 2 * 40] a batch: log-mels without their mean over time, and their slope."""

    @jax.jit
    def features(x: jax.Array) -> jax.Array:
        mel = log_mel(x, max(WINDOW, spec.hop), spec.hop, BANDS, spec.sample_rate)
        mel = jnp.maximum(mel, jnp.max(mel, (1, 2), keepdims=True) - LOUDEST_SPAN)
        mel -= jnp.mean(mel, 1, keepdims=True)
        edged = jnp.pad(mel, ((0, 0), (1, 1), (0, 0)), mode="edge")
        return jnp.concatenate([mel, edged[:, 2:] - edged[:, :-2]], -1)

    for at in range(0, len(waves), BATCH):
        yield np.asarray(features(as_float(waves[at : at + BATCH])), np.float16)


def _hubert(waves: np.ndarray, folder: str, layer: str) -> tuple[float, Iterator[np.ndarray]]:
    """(samples a frame, batches) of a HuBERT in Hugging Face's layout, on sounds of no mean and variance 1."""
    try:
        import torch
        from transformers import HubertModel
    except ImportError as error:
        raise MioError(f"a HuBERT runs with torch and transformers ({error}): pip install -e .[teacher]") from error
    if not Path(folder).is_dir():
        raise MioError(f"there is no folder {folder}; save a HuBERT there in Hugging Face's layout")
    try:
        model = HubertModel.from_pretrained(folder, local_files_only=True).eval()
    except (OSError, ValueError) as error:
        raise MioError(f"{folder} holds no HuBERT in Hugging Face's layout: {error}") from error
    depth = model.config.num_hidden_layers
    if layer != "mean" and not (layer.isdecimal() and int(layer) <= depth):
        raise MioError(f"teacher layer {layer!r}: it must be mean, or one of 0 (the embedding) to {depth}")

    def batches() -> Iterator[np.ndarray]:
        for at in range(0, len(waves), BATCH):
            x = as_float(waves[at : at + BATCH])
            x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-7)
            with torch.no_grad():
                states = model(torch.from_numpy(x), output_hidden_states=True).hidden_states
                chosen = torch.stack(states).mean(0) if layer == "mean" else states[int(layer)]
            yield chosen.numpy().astype(np.float16)

    return float(np.prod(model.config.conv_stride)), batches()


def batches_of(teacher: str, waves: np.ndarray, spec: CodecSpec) -> Iterator[np.ndarray]:
    """Features of sounds [n, samples] at the codec's rate, float16 [b, frames, dim] a batch.

    Args:
      teacher: "log_mel", "hubert:FOLDER" (the mean of all hidden states, as for the released checkpoint) or
        "hubert:FOLDER:LAYER" (one of them; 0 is the embedding).

    Raises:
      MioError: another teacher, no such weights, or one whose frames are not the codec's.
    """
    kind, _, rest = teacher.partition(":")
    if kind == LOG_MEL and not rest:
        return _log_mel(waves, spec)
    if kind != HUBERT or not rest:
        raise MioError(
            f"teacher {teacher!r} is unknown; it must be {LOG_MEL}, {HUBERT}:FOLDER or {HUBERT}:FOLDER:LAYER"
        )
    folder, colon, layer = rest.rpartition(":")
    folder, layer = (folder, layer) if colon and not Path(rest).is_dir() else (rest, "mean")
    step, made = _hubert(waves, folder, layer)
    if step != spec.hop:
        raise MioError(f"this HuBERT has a frame every {step:g} samples, the codec one every {spec.hop}; set strides")
    return made


def write_features(folder: str | Path, teacher: str, media: Mapping[str, np.ndarray], spec: CodecSpec) -> list[str]:
    """Writes the features of `media` ("train/SOURCE.FIELD": sounds [n, samples]); what was written, a line each."""
    folder, told = Path(folder), []
    for name, waves in sorted(media.items()):
        path, at = folder / f"{name}.npy", 0
        out: np.memmap | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        for made in batches_of(teacher, waves, spec):
            if out is None:
                out = np.lib.format.open_memmap(path, "w+", np.float16, (len(waves), *made.shape[1:]))
            out[at : at + len(made)] = made
            at += len(made)
        if out is None:
            raise MioError(f"the media {name} are empty")
        out.flush()
        told.append(f"{path}: {list(out.shape)}")
    # The last: a folder without it is not whole.
    index = {"teacher": teacher, "frame_rate": spec.sample_rate / spec.hop}
    (folder / INDEX).write_text(json.dumps(index) + "\n", encoding="utf-8")
    return told


def read_features(folder: str, names: Sequence[str], waves: Sequence[np.ndarray], spec: CodecSpec) -> list[np.ndarray]:
    """The mapped features of sounds; `names` as in the folder ("train/SOURCE.FIELD").

    Raises:
      MioError: the folder is not whole, or its features are not of these sounds, this frame rate and this width.
    """
    index = Path(folder) / INDEX
    try:
        rate = float(json.loads(index.read_text(encoding="utf-8"))["frame_rate"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MioError(
            f"teacher {folder} has no readable {INDEX} with a frame_rate ({error}); write the folder with "
            "`mio tokenizer features`"
        ) from error
    if abs(rate - spec.sample_rate / spec.hop) > 1e-3:
        raise MioError(f"teacher {folder} has {rate:g} frames a second, the codec {spec.sample_rate / spec.hop:g}")
    found = []
    for name, array in zip(names, waves, strict=True):
        path = Path(folder) / f"{name}.npy"
        try:
            features = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise MioError(f"teacher {path} cannot be read: {error}") from error
        frames, width = -(-array.shape[1] // spec.hop), spec.semantic_dimension or spec.seanet.dimension
        fits = features.ndim == 3 and len(features) == len(array) and np.issubdtype(features.dtype, np.floating)
        if not fits or not frames - MISSING <= features.shape[1] <= frames or features.shape[2] != width:
            wanted = f"[{len(array)}, {frames}, {width}]"
            raise MioError(
                f"teacher {path} is {features.dtype} {features.shape}; these sounds need float {wanted}, or up to "
                f"{MISSING} frames fewer; the last is settings.semantic_dimension"
            )
        found.append(features)
    return found


def features_of(teacher: str, names: Sequence[str], waves: Sequence[np.ndarray], spec: CodecSpec) -> list[np.ndarray]:
    """Features of the sounds of a training, [n, frames, dim] each: read from a folder, or `log_mel` made here."""
    if teacher != LOG_MEL:
        return read_features(teacher, names, waves, spec)
    width = spec.semantic_dimension or spec.seanet.dimension
    if width != 2 * BANDS:
        raise MioError(f"teacher {LOG_MEL!r} has {2 * BANDS} dimensions; settings.semantic_dimension is {width}")
    return [np.concatenate(list(_log_mel(array, spec))) for array in waves]
