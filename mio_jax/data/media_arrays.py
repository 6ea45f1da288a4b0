"""Media of whole data sets as arrays, to train tokenizers on: here, or through a file on a machine without the sets."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mio_jax.errors import MioError
from mio_tokenizers.audio.io import SILENCE, mono
from mio_tokenizers.audio.metrics import resample

SEPARATOR = "\x1e"  # between texts in a uint8 blob of UTF-8


def pack_texts(texts: Iterable[str]) -> np.ndarray:
    """Texts -> one uint8 array (an array of str would take four bytes for every character of the longest)."""
    return np.frombuffer(SEPARATOR.join(texts).encode(), np.uint8)


def unpack_texts(blob: np.ndarray) -> list[str]:
    """Inverse of `pack_texts` for texts without the separator; an empty blob holds none."""
    return blob.tobytes().decode().split(SEPARATOR) if blob.size else []


def _strings(value: Any) -> list[str] | None:
    """The strings of a text field (a string, language -> string, or a list of question and answer); None: no text."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [str(v) for v in value.values()]
    if isinstance(value, list):
        return [item if isinstance(item, str) else " ".join(item) for item in value]
    return None


def _stack(name: str, values: list[Any]) -> np.ndarray:
    if not values:
        raise MioError(f"the media {name} are empty")
    if _strings(values[0]) is not None:
        return pack_texts(text for value in values for text in _strings(value) or ())
    if hasattr(values[0], "samples"):  # Audio
        values = [value.samples for value in values]
    arrays = [np.asarray(value) for value in values]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise MioError(
            f"the media {name} have different shapes, e.g. {sorted(shapes)[:2]}; a tokenizer trains on equal ones"
        )
    return np.stack(arrays)


def windows(audio: Any, rate: int, samples: int) -> np.ndarray:
    """A sound as pieces at a rate, int16 [n, samples]: evenly spread, so as to cover it; a short one ends in silence.

    Pieces that hold nothing but silence are left out. Raises MioError on a sound that is empty, silent or damaged.
    """
    wave = resample(mono(audio), audio.rate, rate)
    wave = np.pad(wave, (0, max(0, samples - len(wave))))
    count = -(-len(wave) // samples)
    starts = np.linspace(0, len(wave) - samples, count).round().astype(int)
    pieces = np.stack([wave[start : start + samples] for start in starts])
    pieces = pieces[np.abs(pieces).max(1) >= SILENCE]
    return np.round(np.clip(pieces, -1, 1) * 32767).astype(np.int16)


def collect_media(
    names: Sequence[str],
    splits: Sequence[str] = ("train", "test"),
    *,
    raw_dir: str = "",
    window: tuple[int, int] | None = None,
) -> dict[str, np.ndarray]:
    """{"train/source.field": array [n, ...]} for "source.field" names, reading every source once a split.

    Audio becomes its samples; texts become one blob (`unpack_texts`). `raw_dir` holds the folders of sources that read
    one; `window`: the (rate, samples) that sounds are cut into (see `windows`).

    Raises MioError on an unknown source or field.
    """
    from mio_jax.config import DataConfig
    from mio_jax.data.sources import open_place, place_of
    from mio_jax.data.sources.places import readable_examples

    fields: dict[str, list[str]] = {}
    for name in names:
        source_name, _, field = name.partition(".")
        fields.setdefault(source_name, []).append(field)
    media: dict[str, np.ndarray] = {}
    for source_name, wanted in fields.items():
        reader = open_place(place_of(source_name, DataConfig(raw_dir=raw_dir) if raw_dir else DataConfig()))
        for split in splits:
            values: dict[str, list[Any]] = {field: [] for field in wanted}
            bad: list[str] = []
            for example in readable_examples(reader, split, bad):
                for field in wanted:
                    if field not in example:
                        raise MioError(
                            f"examples of {source_name!r} have no field {field!r}; they have {', '.join(example)}"
                        )
                    value = example[field]
                    if window is not None and hasattr(value, "samples"):
                        values[field].extend(windows(value, *window))
                    else:
                        values[field].append(value)
            if bad:
                told = f"{len(bad)} of {reader.count(split)} left out; the first because {bad[0]}"
                print(f"{source_name}, {split}: {told}", flush=True)
            for field, items in values.items():
                key = f"{split}/{source_name}.{field}"
                media[key] = _stack(key, items)
    return media


def save_media(path: str | Path, media: dict[str, np.ndarray]) -> None:
    """Writes a compressed npz atomically."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".tmp")
    with open(partial, "wb") as file:
        np.savez_compressed(file, **media)  # type: ignore[arg-type]
    os.replace(partial, path)


def load_media(path: str | Path) -> dict[str, np.ndarray]:
    """Reads what `save_media` wrote. Raises MioError if the file is absent or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise MioError(f"there is no media file {path}; write it with `mio tokenizer export-media`") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise MioError(f"{path} is not a whole media file ({error}); export it again") from error
