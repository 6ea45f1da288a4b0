"""Checkpoints of one stage: parameters, optimizer state, data position and a note of what wrote them.

The only file that knows Orbax (its v1 interface). A checkpoint exists once Orbax has committed it: a process killed
while saving leaves a temporary folder that the next one removes. In a job of several processes each of them calls the
same methods in the same order; each writes what its devices hold, and the first one all that is not arrays.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import operator
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path
from orbax.checkpoint import v1 as ocp

from mio_jax.config import CheckpointConfig
from mio_jax.errors import MioError
from mio_jax.parallel.distributed import lost_peer
from mio_jax.train.frozen_base import NOTE as BASE
from mio_jax.train.frozen_base import FrozenBase
from mio_jax.train.state import State

ARRAYS = (
    "params",
    "opt_state",
    "ema",
    "guard",
)  # the parts of a checkpoint that are trees of arrays; `data` and `note` are JSON


def latest_step(directory: Path) -> int | None:
    """The newest committed step under `directory`, without opening anything for writing; None if there is none."""
    if not directory.is_dir():
        return None
    with Checkpoints(directory) as reader:
        return reader.latest


class Saved(NamedTuple):
    """A committed checkpoint: when it was committed (UTC), and the figure that it is ranked by, by name."""

    step: int
    path: Path
    time: datetime.datetime
    metrics: dict[str, float]


class Checkpoints:
    """The checkpoints in one folder. Use as a context manager, from one thread.

    Saving is asynchronous: `save` returns once the arrays have been copied, so that the step may donate them.
    """

    def __init__(
        self,
        directory: Path,
        keep: CheckpointConfig | None = None,
        padding: Mapping[int, int] | None = None,
        base: FrozenBase | None = None,
    ) -> None:
        """Opens the folder.

        Args:
          keep: which stay when a newer one is saved. None: for reading; nothing is removed.
          padding: sizes that the mesh pads, each with the size that the model knows (`Plan.padding`). It is stored with
            every save, so that a checkpoint of another mesh is filled up or cut to this one.
          base: parameters that are left out of what is saved, and put back into what is restored.
        """
        self._base = base
        self._directory = directory.absolute()
        self._padding = dict(padding or {})
        self._orbax = ocp.training.Checkpointer(
            self._directory,
            context=_context(),
            cleanup_tmp_directories=keep is not None,  # what a killed process left half written
            preservation_policy=_policy(keep),
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not lost_peer(error):  # a save that needs a process which is gone would be waited for in vain
            self.close()

    @property
    def latest(self) -> int | None:
        """The newest committed step."""
        return None if self._orbax.latest is None else self._orbax.latest.step

    @property
    def saved(self) -> list[Saved]:
        """All committed checkpoints, oldest step first."""
        return [
            Saved(
                found.step,
                self._directory / str(found.step),
                datetime.datetime.fromtimestamp(found.commit_timestamp_nsecs / 1e9, datetime.UTC),
                dict(found.metrics or {}),
            )
            for found in self._orbax.checkpoints
        ]

    def save(
        self,
        step: int,
        state: State,
        data: dict[str, Any],
        note: dict[str, Any],
        metrics: dict[str, float] | None = None,
    ) -> None:
        """Starts saving; waits for the save before it. `data` (the loader's position) and `note` must be JSON.

        `metrics`: what the checkpoint may be kept for; None if there is no such figure.

        Raises:
          MioError: this or the save before could not be written.
        """
        note = {**note, "padding": {str(size): own for size, own in self._padding.items()}}
        if self._base:
            state, note = {**state, "params": self._base.part(state["params"])}, {**note, BASE: self._base.note}
        items = {**state, "data": _json(data), "note": _json(note)}
        with _writing(self._directory):
            self._orbax.save_checkpointables_async(step, items, force=True, metrics=metrics or None)

    def wait(self) -> None:
        """Returns when the last save is committed. Raises MioError if it could not be written."""
        with _writing(self._directory):
            self._orbax.wait()

    def restore(self, step: int, abstract: State) -> tuple[State, dict[str, Any]]:
        """The state of `step` laid out as `abstract` says (any mesh), and the loader's position.

        Raises:
          MioError: the checkpoint is of another model or another frozen base, or cannot be read.
        """
        loaded = self._load(step, {**self._stored(step, abstract), "data": None})
        state = {name: loaded[name] for name in abstract}
        return self._filled(state), loaded["data"]

    def read_note(self, step: int) -> dict[str, Any]:
        """The note of `step`. Raises MioError as `restore` does."""
        note: dict[str, Any] = self._load(step, {"note": None})["note"]
        return note

    def read_data(self, step: int) -> dict[str, Any]:
        """The data position of `step`. Raises MioError as `restore` does."""
        data: dict[str, Any] = self._load(step, {"data": None})["data"]
        return data

    def describe(self, step: int) -> dict[str, tuple[tuple[int, ...], str]]:
        """(shape, dtype) of every array of `step` by its name, such as `params/embed`, without reading any."""
        arrays = self._load_metadata(step)
        return {
            f"{part}/{name}": (tuple(leaf.shape), str(leaf.dtype))
            for part in ARRAYS
            if part in arrays
            for name, leaf in _leaves(arrays[part]).items()
        }

    def read_arrays(self, step: int, names: Collection[str]) -> dict[str, np.ndarray]:
        """Some of the arrays that `describe` lists, in this host's memory. Raises MioError as `restore` does."""
        whole = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        arrays = self._load_metadata(step)
        out: dict[str, np.ndarray] = {}
        for part in {name.partition("/")[0] for name in names}:
            target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), arrays[part])
            loaded = self._load(step, {part: target})[part]
            out |= {f"{part}/{name}": np.asarray(leaf) for name, leaf in _leaves(loaded).items()}
        return {name: out[name] for name in names}

    def restore_params(self, step: int, abstract: Any) -> Any:
        """Only the parameters of `step`, laid out as `abstract` says. Raises MioError as `restore` does."""
        return self._filled(self._load(step, self._stored(step, {"params": abstract})))["params"]

    def _stored(self, step: int, abstract: State) -> State:
        """What a checkpoint holds of a state. Raises MioError if `step` was made over another base."""
        if not self._base:
            return abstract
        self._base.check(self.read_note(step), f"checkpoint {self._directory / str(step)}")
        return {**abstract, "params": self._base.part(abstract["params"])}

    def _filled(self, state: State) -> State:
        """The inverse of `_stored`, for arrays."""
        return {**state, "params": self._base.whole(state["params"])} if self._base else state

    def restore_ema(self, step: int, abstract: Any) -> Any:
        """Only the moving average of `step`, laid out as `abstract` says. Raises MioError as `restore` does."""
        return self._load(step, {"ema": abstract})["ema"]

    def _load(self, step: int, abstract: dict[str, Any]) -> dict[str, Any]:
        where = self._directory / str(step)
        saved = self._load_metadata(step)
        for part in ARRAYS:
            if part in abstract:
                if part not in saved:
                    raise _unreadable(where, f"it holds no {part}")
                check_shapes(saved[part], abstract[part], f"checkpoint {where}", part, self._same_size(step))
        try:
            return self._orbax.load_checkpointables(step, abstract)
        except (OSError, ValueError, KeyError) as error:
            raise _unreadable(where, error) from error

    def _same_size(self, step: int) -> SameSize:
        """Whether a dimension of the checkpoint and one of this model differ by their padding only."""

        @functools.cache
        def stored() -> dict[int, int]:
            note = self._orbax.load_checkpointables(step, {"note": None})["note"]
            return {int(size): own for size, own in note.get("padding", {}).items()}

        def same(has: int, needs: int) -> bool:
            if has == needs and needs not in self._padding:
                return True
            if stored().get(has, has) == self._padding.get(needs, needs):
                return True
            return has == needs and has not in stored()  # a size that only happens to be one of padding

        return same

    def _load_metadata(self, step: int) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self._orbax.checkpointables_metadata(step).metadata
        except (OSError, ValueError, KeyError) as error:
            raise _unreadable(self._directory / str(step), error) from error
        return found

    def close(self) -> None:
        """Waits for what is being saved."""
        with _writing(self._directory):
            self._orbax.close()


SameSize = Callable[[int, int], bool]  # (size in the checkpoint, size that this model needs)


def check_shapes(saved: Any, wanted: Any, where: str, part: str, same: SameSize = operator.eq) -> None:
    """Raises MioError naming the first array that `saved` lacks, has in another shape, or has too much."""
    has, needs = _shapes(saved), _shapes(wanted)
    for name, shape in needs.items():
        if name not in has:
            raise MioError(f"{where} is of another model: it has no {part}/{name}, which this model needs")
        if len(has[name]) != len(shape) or not all(map(same, has[name], shape)):
            raise MioError(f"{where} is of another model: {part}/{name} is {has[name]}, this model's is {shape}")
    extra = sorted(has.keys() - needs.keys())
    if extra:
        raise MioError(f"{where} is of another model: it has {part}/{extra[0]}, which this model does not have")


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(leaf.shape) for name, leaf in _leaves(tree).items()}


def _leaves(tree: Any) -> dict[str, Any]:
    leaves = tree_flatten_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))[0]
    return {keystr(k, simple=True, separator="/"): x for k, x in leaves if hasattr(x, "shape")}


def _policy(keep: CheckpointConfig | None) -> Any:
    """Orbax's rule for what stays."""
    policies = ocp.training.preservation_policies
    if keep is None:
        return policies.PreserveAll()
    rules = [policies.LatestN(keep.keep_last)]
    if keep.keep_every:
        rules.append(policies.EveryNSteps(keep.keep_every))
    if keep.keep_best:
        name, lowest = keep.best_metric, keep.best_mode == "min"
        rules.append(
            policies.BestN(
                get_metric_fn=lambda metrics: metrics[name],
                reverse=lowest,  # the last in this order are the best
                n=keep.keep_best,
                keep_checkpoints_without_metrics=False,
            )
        )
    return policies.AnyPreservationPolicy(rules)


def _context() -> Any:
    """Plain dicts of numbers would be taken for arrays: `data` and `note` are named as JSON."""
    registry = ocp.handlers.local_registry()
    for name in ("data", "note"):
        registry.add(ocp.handlers.JsonHandler, checkpointable_name=name)
    context = ocp.Context()
    context.array.loading.enable_padding_and_truncation = True  # between meshes; `check_shapes` says what may differ
    context.checkpointables.registry = registry
    return context


def _json(value: dict[str, Any]) -> dict[str, Any]:
    """A copy of `value`, which its owner may go on changing while it is saved."""
    return json.loads(json.dumps(value))


def _unreadable(where: Path, error: object) -> MioError:
    return MioError(f"checkpoint {where} cannot be read ({error}); delete that folder to go on from the one before it")


@contextlib.contextmanager
def _writing(directory: Path) -> Iterator[None]:
    """Turns a failed write into one line. TensorStore's is a ValueError with the system's code in its text."""
    try:
        yield
    except (OSError, ValueError) as error:
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if isinstance(error, ValueError) and not code:
            raise
        reason = os.strerror(int(code[1])) if code else error
        raise MioError(
            f"a checkpoint could not be written under {directory}: {reason}; mend that and run the same command again, "
            "it goes on from the last checkpoint"
        ) from error
