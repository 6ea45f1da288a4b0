"""The catalogue: tasks and mixtures over token records, held by SeqIO's registries.

A `Task` says which records it reads and how one becomes segments of text and media. It is registered once: the Grain
loader finds it here with `lookup`, and SeqIO users get the same examples, encoded, from
`seqio.get_mixture_or_task(name).get_dataset(...)` after `use_encoder`.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mio_jax.data.records import Record, RecordReader, read_manifest
from mio_jax.errors import MioError

if TYPE_CHECKING:
    from mio_jax.protocols import Example, Segment

FEATURES = {"tokens": "int32", "modality_ids": "int32", "loss_weights": "float32"}
_encoder: Callable[[list[Segment]], Example] | None = None


@dataclass(frozen=True)
class Task:
    """What one task teaches from one set of records.

    `formatter(record, rng, style)` -> segments, style "base" or "chat"; every choice it makes comes from `rng`.
    `inputs` and `outputs` name modalities, for the catalogue. `where`: which records it can use; None for all.
    `title` is what the set is called where it is published, for messages about its absence; `unreadable` says why
    nothing here reads it, and is empty for all others.
    """

    name: str
    record_set: str
    formatter: Callable[[Record, np.random.Generator, str], list[Segment]]
    description: str = ""
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    where: Callable[[Record], bool] | None = None
    title: str = ""
    unreadable: str = ""


@functools.cache
def _seqio() -> Any:
    with _without_greetings():
        import seqio

    return seqio


@contextlib.contextmanager
def _without_greetings() -> Iterator[None]:
    """Keeps back what TensorFlow's C++ side says on import that is neither a warning nor an error.

    It writes to file descriptor 2 before any of its log levels is in force, six lines in front of every command.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            for line in held.read().decode(errors="replace").splitlines():
                if not re.match(r"I\d{4} |WARNING: All log messages before absl", line):
                    print(line, file=sys.stderr)


def add_task(task: Task, records_dir: str) -> None:
    """Registers a task over the records in `records_dir`; again with another folder or definition replaces it."""
    seqio = _seqio()
    if task.name in seqio.MixtureRegistry.names():
        raise MioError(f"{task.name!r} is already the name of a mixture; tasks and mixtures share their names")
    if task.name in seqio.TaskRegistry.names():
        source = _source(task.name)
        # In place: mixtures hold the SeqIO task itself.
        source.mio_task, source.records_dir = task, records_dir
        return
    import tensorflow as tf

    features = {
        name: seqio.Feature(seqio.PassThroughVocabulary(size=0), add_eos=False, dtype=tf.dtypes.as_dtype(dtype))
        for name, dtype in FEATURES.items()
    }
    seqio.TaskRegistry.add(
        task.name, source=_record_source_class()(task, records_dir), output_features=features, preprocessors=[]
    )


def add_mixture(name: str, parts: Sequence[tuple[str, float]]) -> None:
    """Registers a mixture of tasks or mixtures; rates are relative numbers of examples. Registering again replaces it.

    Raises MioError on an empty mixture, a rate that is not positive, or a name that is not registered.
    """
    seqio = _seqio()
    if not parts:
        raise MioError(f"mixture {name!r} has no parts")
    if name in seqio.TaskRegistry.names():
        raise MioError(f"{name!r} is already the name of a task; tasks and mixtures share their names")
    for part, rate in parts:
        _require_known(part, f"mixture {name!r}")
        if not rate > 0:
            raise MioError(f"mixture {name!r}: the rate of {part!r} is {rate}; it must be positive")
    if name in seqio.MixtureRegistry.names():
        seqio.MixtureRegistry.remove(name)
    seqio.MixtureRegistry.add(name, [(part, float(rate)) for part, rate in parts])


def add_table(
    tasks: Mapping[str, tuple[str, Callable[..., list[Segment]], str, str, str]],
    mixtures: Mapping[str, Sequence[tuple[str, float]]],
    usable: Mapping[str, Callable[[Record], bool]],
    records_dir: str,
) -> None:
    """Registers a recipe's whole table over the records in `records_dir`; idempotent.

    Args:
      tasks: name -> (record set, formatter, what it teaches, inputs, outputs); modalities are words of one string.
      mixtures: name -> (task, rate) of each part.
      usable: name of a task -> which records it can use; all, where it is not named.
    """
    for name, (record_set, formatter, description, inputs, outputs) in tasks.items():
        ends = tuple(inputs.split()), tuple(outputs.split())
        add_task(Task(name, record_set, formatter, description, *ends, usable.get(name)), records_dir)
    for name, parts in mixtures.items():
        add_mixture(name, list(parts))


def lookup(name: str) -> list[tuple[Task, float]]:
    """The tasks of a task or mixture with their shares, which sum to 1. Raises MioError naming what comes nearest."""
    seqio = _seqio()
    _require_known(name, "data")
    if name in seqio.TaskRegistry.names():
        return [(_source(name).mio_task, 1.0)]
    mixture = seqio.MixtureRegistry.get(name)
    rates = [(_source(task.name).mio_task, float(mixture.get_rate(task))) for task in mixture.tasks]
    total = sum(rate for _, rate in rates)
    return [(task, rate / total) for task, rate in rates]


def records_dir_of(task_name: str) -> str:
    """The folder whose records the registered task reads."""
    return str(_source(task_name).records_dir)


def names() -> tuple[list[str], list[str]]:
    """Names of this project's tasks and of the mixtures made of them."""
    seqio = _seqio()
    tasks = [name for name in seqio.TaskRegistry.names() if hasattr(seqio.TaskRegistry.get(name).source, "mio_task")]
    mixtures = [
        name
        for name in seqio.MixtureRegistry.names()
        if all(task.name in tasks for task in seqio.MixtureRegistry.get(name).tasks)
    ]
    return sorted(tasks), sorted(mixtures)


def example_rates(token_rates: Mapping[str, float], mean_tokens: Mapping[str, float]) -> list[tuple[str, float]]:
    """Rates in tokens -> the rates in examples that `add_mixture` takes, by the mean length of each task's examples."""
    missing = sorted(set(token_rates) - set(mean_tokens))
    if missing:
        raise MioError(f"no mean length is known for {', '.join(missing)}: rates in tokens need one for every task")
    return [(name, rate / mean_tokens[name]) for name, rate in token_rates.items()]


def use_encoder(encode: Callable[[list[Segment]], Example] | None) -> None:
    """Sets how segments become ids when SeqIO itself reads a task: a recipe's `encode` with its tokenizers bound.

    The loader does not need it; it is given its encoder directly.
    """
    global _encoder
    _encoder = encode


def _source(name: str) -> Any:
    source = _seqio().TaskRegistry.get(name).source
    if not hasattr(source, "mio_task"):
        raise MioError(
            f"SeqIO task {name!r} does not read token records, so the loader cannot feed from it; "
            "cache it into token records and register them with mio_jax.data.registry.add_task"
        )
    return source


def _require_known(name: str, where: str) -> None:
    seqio = _seqio()
    known = [*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()]
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "`mio data list` prints what there is"
        raise MioError(f"{where}: no task or mixture is called {name!r}; {hint}")


@functools.cache
def _record_source_class() -> Any:
    seqio = _seqio()

    class RecordSource(seqio.DataSource):  # type: ignore[name-defined]
        """Token records as a SeqIO data source: base-style examples, already encoded.

        Opened on use, so that tasks can be registered before their records are made.
        """

        def __init__(self, task: Task, records_dir: str) -> None:
            self.mio_task, self.records_dir = task, records_dir
            super().__init__(splits=("train", "test"), num_input_examples=None, caching_permitted=True)

        @property
        def splits(self) -> Any:
            try:
                return tuple(read_manifest(self.records_dir, self.mio_task.record_set)["counts"])
            except MioError:
                return self._splits  # not prepared yet; reading will say so

        @property
        def supports_arbitrary_sharding(self) -> bool:
            return True

        def num_input_examples(self, split: str) -> int:
            return int(read_manifest(self.records_dir, self.mio_task.record_set)["counts"][split])

        def list_shards(self, split: str) -> list[str]:
            manifest = read_manifest(self.records_dir, self.mio_task.record_set)
            return [shard["file"] for shard in manifest["shards"][split]]

        def get_dataset(
            self,
            split: str = "train",
            shuffle: bool = True,
            seed: int | None = None,
            shard_info: Any = None,
            **unused: Any,
        ) -> Any:
            import tensorflow as tf

            reader = RecordReader(self.records_dir, self.mio_task.record_set, split)
            order = np.arange(len(reader))
            if shuffle:
                order = np.random.default_rng(seed).permutation(order)
            if shard_info is not None:
                order = order[shard_info.index :: shard_info.num_shards]
            signature = {name: tf.TensorSpec((None,), tf.dtypes.as_dtype(dtype)) for name, dtype in FEATURES.items()}
            return tf.data.Dataset.from_generator(
                lambda: _encoded(self.mio_task, reader, order, seed or 0), output_signature=signature
            )

    return RecordSource


def _encoded(task: Task, reader: RecordReader, order: np.ndarray, seed: int) -> Iterator[dict[str, np.ndarray]]:
    if _encoder is None:
        raise MioError(
            "SeqIO reads token records through an encoder and none is set: call mio_jax.data.registry.use_encoder("
            "lambda segments: recipe.encode(segments, tokenizers, space)) first"
        )
    for index in order:
        record = reader[index]
        if task.where is None or task.where(record):
            example = _encoder(task.formatter(record, np.random.default_rng([seed, int(index)]), "base"))
            yield {name: np.asarray(getattr(example, name), dtype) for name, dtype in FEATURES.items()}
