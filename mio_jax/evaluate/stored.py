"""Predictions as lines of a file, so that an interrupted evaluation goes on: {"id": ..., "prediction": ...}.

Arrays are lists, masks run lengths, pictures and sounds files beside the lines.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from mio_jax.errors import MioError
from mio_jax.evaluate.rle import decode_mask, encode_mask
from mio_tokenizers.base import Audio
from mio_tokenizers.image.io import read_image


class Predictions:
    """Those of one part of a suite, in FOLDER/NAME.jsonl, whose first line says of what; others are not taken over."""

    def __init__(self, folder: Path, name: str, key: str) -> None:
        self.folder, self.path = folder, folder / f"{name}.jsonl"
        self.media = folder / name
        self.found: dict[str, Any] = {}
        if not self._read(key):
            folder.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps({"key": key}) + "\n", encoding="utf-8")

    def _read(self, key: str) -> bool:
        if not self.path.is_file():
            return False
        text = self.path.read_text(encoding="utf-8")
        lines = text.splitlines()
        if not lines or json.loads(lines[0]).get("key") != key:
            return False
        if not text.endswith("\n"):  # the last line was being written when the process ended
            lines.pop()
            self.path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        for line in lines[1:]:
            row = json.loads(line)
            self.found[row["id"]] = self._unpack(row["prediction"])
        return True

    def put(self, name: str, value: Any) -> None:
        row = {"id": name, "prediction": self._pack(name, value)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self.found[name] = value

    def _pack(self, name: str, value: Any) -> Any:
        if isinstance(value, str):
            return value
        if isinstance(value, Audio):
            file = self._file(name, "npz")
            np.savez(file, samples=value.samples, rate=value.rate)
            return {"sound": file.name}
        if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 3:
            from PIL import Image

            file = self._file(name, "png")
            Image.fromarray(value).save(file)
            return {"picture": file.name}
        if isinstance(value, np.ndarray) and value.dtype == np.float32 and value.ndim == 2 and value.size > 4096:
            file = self._file(name, "npz")
            np.savez_compressed(file, values=value)
            return {"map": file.name}
        if isinstance(value, np.ndarray):
            return {"array": value.tolist(), "shape": list(value.shape)}
        if isinstance(value, dict):
            return {"parts": {key: self._pack(f"{name}_{key}", part) for key, part in value.items()}}
        if isinstance(value, list) and all(isinstance(part, str) for part in value) and value:
            return {"words": value}
        if isinstance(value, list):
            return {"masks": [encode_mask(mask) for mask in value]}
        raise MioError(f"a prediction of type {type(value).__name__} cannot be stored")

    def _unpack(self, stored: Any) -> Any:
        if isinstance(stored, str):
            return stored
        [(kind, value)] = [(k, v) for k, v in stored.items() if k != "shape"]
        if kind == "picture":
            return read_image(self.media / value)
        if kind in ("sound", "map"):
            with np.load(self.media / value) as arrays:
                return arrays["values"] if kind == "map" else Audio(arrays["samples"], int(arrays["rate"]))
        if kind == "array":
            return np.asarray(value, np.float64).reshape(stored["shape"])
        if kind == "parts":
            return {key: self._unpack(part) for key, part in value.items()}
        return value if kind == "words" else [decode_mask(mask) for mask in value]

    def _file(self, name: str, ending: str) -> Path:
        """A name that any file system takes, and that no other example has."""
        self.media.mkdir(parents=True, exist_ok=True)
        plain = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[-60:]
        return self.media / f"{plain}_{hashlib.sha256(name.encode()).hexdigest()[:8]}.{ending}"
