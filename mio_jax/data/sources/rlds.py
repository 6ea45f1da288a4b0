"""Robots' episodes in the RLDS layout, which TensorFlow Datasets reads: any set of Open X-Embodiment.

FOLDER (or FOLDER/0.0.1, ...: of several versions the newest)
  dataset_info.json, features.json, language_table-train.tfrecord-00000-of-01024, ...

An episode is {"steps": [{"observation": {...}, "action": ..., ...}, ...]}; what its parts are called differs from set
to set, so a set is a subclass that says so (paths such as "observation/rgb"). Of an episode one moment is an example:
the pictures up to it, and what the robot does next. Which moment it is follows from the episode's place.

  Language-Table  gs://gresearch/robotics/language_table/0.0.1, the pictures and actions of the real robot
  BridgeData V2   bridge_dataset/1.0.0 of rail.eecs.berkeley.edu, or TFDS's "bridge" 0.1.0
"""

from __future__ import annotations

import abc
import contextlib
import functools
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mio_jax.data.sources.base import hash_share, require_split
from mio_jax.data.sources.files import one_space, published
from mio_jax.data.sources.folder import TEST_SHARE
from mio_jax.data.sources.pictures import picture_of
from mio_jax.errors import MioError

FRAMES = 5  # of an example: the last is the moment itself


class Rlds(abc.ABC):
    """id, frames uint8 [5, height, width, 3], instruction, action [n], action_low [n], action_high [n].

    Attributes:
      picture, instruction, action: paths within a step. An instruction is a string, or its bytes as numbers; episodes
        without one have "".
      low, high: of each number of the action; one that lies beyond is moved to the end of the range.
      stride: steps between two of the pictures.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    licence: ClassVar[str]
    attribution: ClassVar[str]
    media: ClassVar[tuple[str, ...]] = ("frames",)
    seen: ClassVar[tuple[str, ...]] = ("frames",)
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    folder_name: ClassVar[str] = ""
    picture: ClassVar[str]
    instruction: ClassVar[str]
    action: ClassVar[str] = "action"
    low: ClassVar[tuple[float, ...]]
    high: ClassVar[tuple[float, ...]]
    stride: ClassVar[int] = 1

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def count(self, split: str) -> int:
        require_split(self, split)
        with _told(self.name, self.folder):
            start, stop = self._range(split)[1:]
        return stop - start

    def examples(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
        """Raises MioError on files that are absent, damaged or of another layout, and on paths that no step has."""
        require_split(self, split)
        with _told(self.name, self.folder):
            part, first, last = self._range(split)
            last = last if stop is None else min(last, first + stop)
            if first + start >= last:
                return
            episodes = self._episodes(part, first + start, last)
        for number in range(first + start, last):
            with _told(self.name, self.folder):
                made = self._example(f"{self.name}/{part}/{number}", list(next(episodes)["steps"].as_numpy_iterator()))
            yield made

    def _range(self, split: str) -> tuple[str, int, int]:
        """Published split, first episode, the one behind the last. Without a test split, the last 2 % are "test"."""
        counts = {name: int(one.num_examples) for name, one in _builder(str(self.folder)).info.splits.items()}
        held = next((name for name in ("test", "val", "validation") if name in counts), "")
        if "train" not in counts:
            raise ValueError(f"its splits are {sorted(counts)}, and 'train' is not among them")
        if held:
            return (held, 0, counts[held]) if split == "test" else ("train", 0, counts["train"])
        cut = counts["train"] - math.ceil(TEST_SHARE * counts["train"])
        return ("train", cut, counts["train"]) if split == "test" else ("train", 0, cut)

    def _episodes(self, part: str, start: int, stop: int) -> Iterator[Any]:
        """Their pictures stay as they are stored: a few of each are looked at."""
        import tensorflow_datasets as tfds

        decoders: Any = tfds.decode.SkipDecoding()
        for key in reversed(self.picture.split("/")):
            decoders = {key: decoders}
        return iter(
            _builder(str(self.folder)).as_dataset(
                split=tfds.core.ReadInstruction(part, from_=start, to=stop, unit="abs"),
                shuffle_files=False,
                decoders={"steps": decoders},
                read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
            )
        )

    def _example(self, key: str, steps: list[dict[str, Any]]) -> dict[str, Any]:
        if not steps:
            raise ValueError(f"the episode {key} has no steps")
        moment = int(hash_share(key, self.name) * len(steps))
        # What is before the first step looks like the first step.
        shown = [steps[max(moment - k * self.stride, 0)] for k in reversed(range(FRAMES))]
        action = np.asarray(_at(steps[moment], self.action), np.float64).reshape(-1)
        if action.size != len(self.low) or not np.isfinite(action).all():
            raise ValueError(f"the episode {key} has an action {action.tolist()}, not {len(self.low)} numbers")
        return {
            "id": key,
            "frames": np.stack([picture_of(_at(step, self.picture), key) for step in shown]),
            "instruction": one_space(_text(_at(steps[moment], self.instruction))),
            "action": np.clip(action, self.low, self.high).round(6).tolist(),
            "action_low": list(self.low),
            "action_high": list(self.high),
        }


def _at(step: dict[str, Any], path: str) -> Any:
    """Raises KeyError naming the whole path."""
    value: Any = step
    for key in path.split("/"):
        if not isinstance(value, dict) or key not in value:
            raise KeyError(f"a step has no {path!r}")
        value = value[key]
    return value


def _text(value: Any) -> str:
    """A string, or its bytes as an array that zeros fill up."""
    data = value if isinstance(value, bytes) else np.asarray(value).astype(np.uint8).tobytes().rstrip(b"\0")
    return data.decode("utf-8")


@functools.lru_cache(maxsize=4)
def _builder(folder: str) -> Any:
    import tensorflow_datasets as tfds

    root = Path(folder)
    if not root.is_dir():
        raise MioError(f"there is no folder {folder}; put the set there, as it is published")
    held = [path.parent for path in (root / "dataset_info.json", *root.glob("*/dataset_info.json")) if path.is_file()]
    if not held:
        raise FileNotFoundError(2, "", str(root / "dataset_info.json"))
    newest = max(held, key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)] if path != root else [])
    for name in ("dataset_info.json", "features.json"):
        (newest / name).read_bytes()  # TFDS's own errors are not one line
    return tfds.builder_from_directory(newest)


@contextlib.contextmanager
def _told(name: str, folder: Path) -> Iterator[None]:
    """As `published`, with what TensorFlow raises."""
    import tensorflow as tf

    with published(name, folder):
        try:
            yield
        except MioError as error:
            raise error if str(error).startswith(name) else MioError(f"{name}: {error}") from error
        except (tf.errors.OpError, AssertionError, StopIteration) as error:
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise MioError(f"{name}: an episode in {folder} cannot be read ({line}); fetch it again") from error


class LanguageTable(Rlds):
    """Blocks on a table that are pushed as somebody asks; an action moves the stick by (x, y), in metres."""

    name = "language_table"
    licence = "Apache-2.0"
    attribution = "Language-Table by Lynch et al., Google"
    picture = "observation/rgb"
    instruction = "observation/instruction"
    low, high = (-0.1, -0.1), (0.1, 0.1)  # of the published environment


class BridgeV2(Rlds):
    """An arm in toy kitchens; an action moves its hand (x, y, z in metres, three turns in radians) and its gripper.

    No ranges are published: these hold all but the fastest moves.
    """

    name = "bridge_v2"
    licence = "CC BY 4.0"
    attribution = "BridgeData V2 by Walke et al."
    picture = "observation/image_0"
    instruction = "language_instruction"
    low, high = (-0.1, -0.1, -0.1, -0.5, -0.5, -0.5, 0.0), (0.1, 0.1, 0.1, 0.5, 0.5, 0.5, 1.0)
