"""VIMA-Data: what an arm does on a table, asked for with pictures among the words.

FOLDER/rearrange_then_restore/000000/rgb_top/0.jpg, ..., action.pkl, trajectory.pkl   and the other tasks

The pickles are read without calling anything that they name: arrays are made, and what else they ask for is left out.
"""

from __future__ import annotations

import importlib
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mio_jax.data.sources.choices import one_size
from mio_jax.data.sources.files import one_space
from mio_jax.data.sources.folder import FolderSource
from mio_tokenizers.image.io import read_image
from mio_tokenizers.structured.actions import VIMA_HIGH, VIMA_LOW

MOVES = {"suction": "pick", "spatula": "push"}  # by what the arm holds
_PLACE = re.compile(r"\{([^{}]*)\}")
_ARRAYS = ("_reconstruct", "scalar")


class _LeftOut:
    """Stands for whatever a pickle asks for that is no array."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _LeftOut:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


class ArrayUnpickler(pickle.Unpickler):
    """Lists, dicts, strings, numbers and numpy's arrays; nothing else is imported."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name in _ARRAYS:
            return getattr(importlib.import_module("numpy._core.multiarray"), name)
        return _LeftOut


def read_pickle(path: Path) -> Any:
    """Raises ValueError with the file's name where it is no pickle."""
    with open(path, "rb") as file:
        try:
            return ArrayUnpickler(file).load()
        except (pickle.UnpicklingError, EOFError, ImportError) as error:
            raise ValueError(f"{path.name}: {error}") from error


class Vima(FolderSource):
    """id, frames: the pictures of the instruction and behind them the table seen from above; instruction, in which {1}
    stands for the first of those pictures; steps [{"kind", "start", "start_turn", "end", "end_turn"}, ...].

    Places are (x, y) in metres, turns in degrees. 2 % of the trajectories are "test".
    """

    name = "vima"
    licence = "CC BY 4.0"
    attribution = "VIMA-Data by Jiang et al."
    media = ("frames",)
    seen = ("frames",)

    def items(self, split: str) -> Sequence[str]:
        found = sorted(path.parent for path in self.folder.glob("*/*/action.pkl"))
        keys = (f"{path.parent.name}/{path.name}" for path in found)
        return [key for key in keys if self.kept(split, key)]

    def example(self, split: str, item: str) -> dict[str, Any]:
        folder = self.folder / item
        told, done = read_pickle(folder / "trajectory.pkl"), read_pickle(folder / "action.pkl")
        names: list[str] = []  # in the order of the words; one that stands there twice is one picture
        for name in _PLACE.findall(told["prompt"]):
            if name not in names:
                names.append(name)
        # Pictures in pickles are [3, height, width], from above as the table is.
        asked = [np.asarray(told["prompt_assets"][name]["rgb"]["top"], np.uint8).transpose(1, 2, 0) for name in names]
        return {
            "id": self.id(split, item),
            "frames": one_size([*asked, read_image(folder / "rgb_top" / "0.jpg")]),
            "instruction": one_space(_PLACE.sub(lambda m: f" {{{names.index(m[1]) + 1}}} ", told["prompt"])),
            "steps": _steps(done, MOVES[told["end_effector_type"]]),
        }


def _steps(done: dict[str, np.ndarray], kind: str) -> list[dict[str, Any]]:
    ends = []
    for pose in ("pose0", "pose1"):
        # The published limits, which rounding may have passed.
        places = np.clip(np.asarray(done[f"{pose}_position"], np.float64)[:, :2], VIMA_LOW, VIMA_HIGH)
        turns = [_turn(quaternion) for quaternion in np.asarray(done[f"{pose}_rotation"], np.float64)]
        ends.append(list(zip(places.round(6).tolist(), turns, strict=True)))
    return [
        {"kind": kind, "start": a, "start_turn": a_turn, "end": b, "end_turn": b_turn}
        for (a, a_turn), (b, b_turn) in zip(*ends, strict=True)
    ]


def _turn(quaternion: np.ndarray) -> float:
    """Degrees in [0, 360) about the upright axis, of a quaternion (x, y, z, w)."""
    x, y, z, w = quaternion
    angle = np.degrees(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))
    return float(round(angle % 360.0, 3) % 360.0)
