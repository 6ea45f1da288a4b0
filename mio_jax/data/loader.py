"""Token records -> batches of packed rows, without end, and resumable to the bit.

Every row of the global batch is a stream of its own. For row r of the R rows that a stage gives to a source, each task
of the source is shuffled as a whole, repeated without end with a new order every epoch, formatted with a generator
keyed by the place in that order, and thinned to places r, r + R, r + 2R, ...; the tasks are then mixed by their rates
and packed. So what a row holds depends on the seed and the row alone, not on how many processes there are,
and a fixed composition (so many rows from each source) is nothing special.

Grain's datasets give any of these examples by its number. The state of a row is therefore its next number and the
numbers of the examples that are not handed out yet (first-fit: those in the rows that are still open; window: those
that wait): a few integers, from which everything is read again.
"""

from __future__ import annotations

import queue
import threading
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import grain
import numpy as np

from mio_jax.config import DataConfig, RunConfig, StageConfig
from mio_jax.data.availability import Entries, usable
from mio_jax.data.packing import FirstFit, SequenceRows, shown
from mio_jax.data.pairing import StreamingPairer
from mio_jax.data.records import Record, RecordReader, check_manifest, read_manifest
from mio_jax.data.registry import Task, lookup, records_dir_of
from mio_jax.data.window_packing import WindowPacker
from mio_jax.errors import MioError
from mio_jax.protocols import RowFormat, Segment

Encode = Callable[[list[Segment]], Any]  # -> an example, as the row format takes it
# An encoded example and its own generator -> what the objective trains; None: nothing of it.
Corrupt = Callable[[Any, np.random.Generator], Any]
State = dict[str, Any]

# A task of which not one of so many examples fits in a row (or passes its own `where`) will never feed a batch.
PATIENCE = 256
STATE_VERSION = 1


def make_loader(
    config: RunConfig,
    stage: StageConfig,
    encode: Encode,
    *,
    seed: int,
    row_format: RowFormat | None = None,
    mine: Collection[int] | None = None,
    fingerprints: Mapping[str, str] | None = None,
    corrupt: Corrupt | None = None,
) -> BatchIterator:
    """Rows `mine` (default: all) of every batch of a stage: dicts of [rows, ...], see `row_format`.

    Only the records of these rows are read. `encode` turns segments into one example; `row_format` puts examples into
    rows, by default sequences of `data.length` tokens (`packing.ROW_DTYPES`); `fingerprints` (by modality) are those of
    the tokenizers in use, by default of those that the config names; `corrupt` makes of every encoded example what the
    stage's objective trains, and leaves it out with None.

    Raises:
      MioError: records missing (see `availability.usable`), damaged, empty or of other tokenizers; an unknown task or
        mixture.
        While iterating: no example of a task fits in a row.
    """
    if fingerprints is None:
        from mio_tokenizers import load_set

        fingerprints = load_set(config.tokenizers).fingerprints
    row_format = row_format or SequenceRows(config.data.length)
    parts = [(p.source, p.rows) for p in stage.composition if p.rows] or [(stage.mixture, stage.rows)]
    wanted = set(range(stage.rows) if mine is None else mine)
    rows: dict[int, RowStream] = {}
    counts: dict[str, TaskCount] = {}
    at = 0
    for number, (name, share) in enumerate(parts):
        entries, left_out = usable(name, lookup(name), config.data)
        if left_out and 0 in wanted:  # one of several processes says so
            print(left_out, flush=True)
        salt = f"{seed}/{number}"
        streams = _task_streams(stage, entries, encode, row_format, salt, fingerprints, counts, corrupt)
        for row in range(share):
            if at in wanted:
                rows[at] = RowStream(_mix_row(streams, row, share), config.data, row_format)
            at += 1
    return BatchIterator(rows, counts, config.data.prefetch)


def make_packer(data: DataConfig, row_format: RowFormat) -> FirstFit[int] | WindowPacker[int] | StreamingPairer[int]:
    """An empty packer of the kind that the config names."""
    if data.packing == "window":
        return WindowPacker(row_format.budgets, data.packing_window, row_format.sizes)
    if data.packing == "pairs":
        return StreamingPairer(row_format.budgets, data.packing_pool, row_format.sizes)
    return FirstFit(row_format.budgets, data.packing_bins, row_format.sizes)


class TaskCount:
    """How many of a task's examples were taken, were too long for a row, or did not pass its `where`."""

    def __init__(self, task: str, size: int, budgets: tuple[int, ...]) -> None:
        self.taken = self.too_long = self.not_for_it = 0
        self._task, self._patience, self._budgets = task, min(size, PATIENCE), budgets

    def drop(self, sizes: tuple[int, ...]) -> None:
        self.too_long += 1
        if not self.taken and self.too_long >= self._patience:
            raise MioError(
                f"task {self._task!r}: none of {self.too_long} examples fits in a row of {shown(self._budgets)} tokens "
                f"(the last has {shown(sizes)}); raise data.length"
            )

    def skip(self) -> None:
        self.not_for_it += 1
        if not self.taken and not self.too_long and self.not_for_it >= 16 * self._patience:
            raise MioError(f"task {self._task!r}: none of {self.not_for_it} records is one that it can use")


def _seed_of(text: str) -> int:
    return zlib.crc32(text.encode())


def _task_streams(
    stage: StageConfig,
    entries: Entries,
    encode: Encode,
    row_format: RowFormat,
    salt: str,
    fingerprints: Mapping[str, str],
    counts: dict[str, TaskCount],
    corrupt: Corrupt | None,
) -> list[tuple[Any, float]]:
    """An endless, shuffled, formatted dataset for every task of a source, with its rate."""
    streams = []
    for task, rate in entries:
        folder = records_dir_of(task.name)
        check_manifest(read_manifest(folder, task.record_set), fingerprints, folder)
        reader = RecordReader(folder, task.record_set, "train")
        if not len(reader):
            raise MioError(f"task {task.name!r}: the {task.record_set!r} records in {folder} have no training examples")
        count = counts.setdefault(task.name, TaskCount(task.name, len(reader), row_format.budgets))
        seed = _seed_of(f"{salt}/{task.name}")
        dataset = (
            grain.MapDataset.source(reader)
            .shuffle(seed=seed)
            .repeat()
            .random_map(_formatter(task, stage.style, encode, row_format, count, corrupt), seed=seed ^ 1)
        )
        streams.append((dataset, rate))
    return streams


def _formatter(
    task: Task, style: str, encode: Encode, row_format: RowFormat, count: TaskCount, corrupt: Corrupt | None
) -> Callable[[Record, np.random.Generator], Any]:
    def format_record(record: Record, rng: np.random.Generator) -> Any:
        if task.where is not None and not task.where(record):
            count.skip()
            return None
        example = encode(task.formatter(record, rng, style))
        if corrupt is not None:
            example = corrupt(example, rng)
            if example is None:
                count.skip()
                return None
        sizes = row_format.sizes(example)
        if any(size > budget for size, budget in zip(sizes, row_format.budgets, strict=True)):
            count.drop(sizes)
            return None
        count.taken += 1
        return example

    return format_record


def _mix_row(streams: list[tuple[Any, float]], row: int, rows: int) -> Any:
    """The examples of one row slot. Thinned before mixing: thinning a mixture could leave a row a single task."""
    datasets = [dataset[row::rows] for dataset, _ in streams]
    if len(datasets) == 1:
        return datasets[0]
    return grain.MapDataset.mix(datasets, weights=[rate for _, rate in streams])


class RowStream:
    """The rows of one row slot, packed from a random-access dataset of examples (None: dropped)."""

    def __init__(self, examples: Any, data: DataConfig, row_format: RowFormat) -> None:
        self._examples, self._data, self._format = examples, data, row_format
        self._next = 0
        self._packer = make_packer(data, row_format)

    def next_row(self) -> dict[str, np.ndarray]:
        while True:
            index, self._next = self._next, self._next + 1
            example = self._examples[index]
            if example is None:
                continue
            row = self._packer.add(index, example)
            if row is not None:
                return self._format.row([held for _, held in row])

    def get_state(self) -> State:
        state = {"next": self._next, "open": self._packer.open_rows()}
        # First-fit is not named: positions that were saved before there was another kind are read alike.
        return state if self._data.packing == "first_fit" else {"packing": self._data.packing, **state}

    def set_state(self, state: State) -> None:
        """Raises MioError if the state was saved under another kind of packing."""
        packing = state.get("packing", "first_fit")
        if packing != self._data.packing:
            raise MioError(
                f"this data position was saved with data.packing {packing!r}, and the config says "
                f"{self._data.packing!r}; go on with {packing!r}, or begin a new run"
            )
        self._next = int(state["next"])
        self._packer = make_packer(self._data, self._format)
        self._packer.restore([[(int(i), self._examples[int(i)]) for i in row] for row in state["open"]])


class BatchIterator(grain.DatasetIterator):
    """Batches of this process's rows, made ahead by a thread; a Grain iterator, so Orbax can save it as it is.

    `get_state()` is a JSON-able dict that stands for the batches handed out so far, whatever was made ahead;
    `set_state` continues from there with exactly the batches that would have followed.
    """

    def __init__(self, rows: dict[int, RowStream], counts: dict[str, TaskCount], prefetch: int) -> None:
        super().__init__()
        self._rows, self._counts, self._prefetch = rows, counts, prefetch
        self._state = self._snapshot(0)
        self._ahead: _Ahead | None = None

    @property
    def dropped(self) -> dict[str, int]:
        """Examples left out so far because they are longer than a row, by task; what was made ahead included."""
        return {task: count.too_long for task, count in self._counts.items() if count.too_long}

    def _snapshot(self, batches: int) -> State:
        rows = {str(number): stream.get_state() for number, stream in self._rows.items()}
        return {"version": STATE_VERSION, "batches": batches, "rows": rows}

    def _make(self, batches: int) -> tuple[dict[str, np.ndarray], State]:
        rows = [stream.next_row() for stream in self._rows.values()]
        batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        return batch, self._snapshot(batches + 1)

    def __next__(self) -> dict[str, np.ndarray]:
        self._assert_not_closed()
        if self._prefetch and self._ahead is None:
            self._ahead = _Ahead(self._make, self._state["batches"], self._prefetch)
        batch, self._state = self._ahead.get() if self._ahead else self._make(self._state["batches"])
        return batch

    def get_state(self) -> State:
        return self._state

    def set_state(self, state: State) -> None:
        """Raises MioError if the state is of another version or of other rows than this loader's."""
        self._stop()
        if state.get("version") != STATE_VERSION:
            raise MioError(f"this data position has version {state.get('version')}; this loader reads {STATE_VERSION}")
        missing = sorted(set(map(str, self._rows)) - set(state["rows"]), key=int)
        if missing:
            raise MioError(
                f"this data position has no row {missing[0]}: it was saved for {len(state['rows'])} rows a batch "
                "of another stage or process"
            )
        for number, stream in self._rows.items():
            stream.set_state(state["rows"][str(number)])
        self._state = self._snapshot(int(state["batches"]))

    def _stop(self) -> None:
        if self._ahead is not None:
            self._ahead.stop()
            self._ahead = None

    def close(self) -> None:
        self._stop()
        super().close()


class _Ahead:
    """A thread that calls `make` until it is stopped or fails, at most `depth` results ahead of the reader."""

    def __init__(self, make: Callable[[int], tuple[Any, State]], batches: int, depth: int) -> None:
        self._made: queue.Queue[Any] = queue.Queue(depth)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(make, batches), name="mio-loader", daemon=True)
        self._thread.start()

    def _run(self, make: Callable[[int], tuple[Any, State]], batches: int) -> None:
        while not self._stopped.is_set():
            try:
                made: Any = make(batches)
                batches = made[1]["batches"]
            except BaseException as error:  # handed to the reader, who raises it
                made = error
            while not self._stopped.is_set():
                try:
                    self._made.put(made, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if isinstance(made, BaseException):
                return

    def get(self) -> Any:
        made = self._made.get()
        if isinstance(made, BaseException):
            self._made.put(made)  # a reader that tries again gets the same answer and does not wait for ever
            raise made
        return made

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()


def held_out(
    task_name: str, records_dir: str, n: int, seed: int, split: str = "test", at_least: int | None = None
) -> list[Record]:
    """`n` records of the task's held-out split, drawn without repetition; the same for the same seed.

    Raises MioError if there are fewer than `at_least` (default: `n`) that the task can use.
    """
    at_least = n if at_least is None else at_least
    task = lookup(task_name)[0][0]
    if task.name != task_name:
        raise MioError(f"{task_name!r} is a mixture; held-out examples belong to a task, such as {task.name!r}")
    reader = RecordReader(records_dir, task.record_set, split)
    found: list[Record] = []
    for index in np.random.default_rng(seed).permutation(len(reader)):
        if len(found) == n:
            break
        record = reader[index]
        if task.where is None or task.where(record):
            found.append(record)
    if len(found) < at_least:
        raise MioError(
            f"task {task_name!r} has {len(found)} held-out examples in {split!r}, not {at_least}; ask for fewer"
        )
    return found
