"""Files of made-up sets."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mio_tokenizers.audio.io import write_wav
from mio_tokenizers.base import Audio


def pixels(number: int, height: int = 40, width: int = 52) -> np.ndarray:
    """A picture that tells its number and has a gradient."""
    out = np.zeros((height, width, 3), np.uint8)
    out[..., 0] = np.linspace(0, 255, width).astype(np.uint8)
    out[..., 1] = np.linspace(0, 255, height).astype(np.uint8)[:, None]
    out[..., 2] = number % 256
    return out


def picture(path: Path, number: int = 0, height: int = 40, width: int = 52) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(number, height, width)).save(path)


def picture_bytes(number: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(number)).save(file, "PNG")
    return file.getvalue()


def write(path: Path, value: Any) -> None:
    """JSON, or a text as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def write_lines(path: Path, values: Iterable[Any]) -> None:
    """JSON lines, compressed where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(value) + "\n" for value in values)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    elif path.suffix == ".zst":
        import pyarrow as pa

        path.write_bytes(pa.Codec("zstd").compress(text.encode(), asbytes=True))
    else:
        path.write_text(text, encoding="utf-8")


def write_parquet(path: Path, columns: dict[str, Sequence[Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: list(values) for name, values in columns.items()}), path)


def sound(path: Path, seconds: float = 1.0, rate: int = 16000, pitch: float = 440.0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(int(seconds * rate)) / rate
    write_wav(path, Audio((0.3 * np.sin(2 * np.pi * pitch * times)).astype(np.float32), rate))
