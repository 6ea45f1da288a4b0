"""Sets in files of many rows: JSON lines (plain, gzip, zstd) or Parquet, read from beginning to end.

Where there is no published split, one row of fifty is "test". Lines are counted by reading a file once; Parquet tells
their number.
"""

from __future__ import annotations

import abc
import functools
import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mio_jax.data.sources.base import require_split
from mio_jax.data.sources.files import published
from mio_jax.errors import MioError

TEST_EVERY = 50


def lines_of(path: Path) -> Iterator[bytes]:
    """Lines of a file that is plain, or compressed with gzip or zstd."""
    if path.suffix == ".zst":
        import io

        import pyarrow as pa

        with pa.CompressedInputStream(str(path), "zstd") as stream:
            yield from io.BufferedReader(stream)
    else:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            yield from file


@functools.lru_cache(maxsize=4096)
def _rows(path: Path) -> int:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return int(pq.read_metadata(path).num_rows)
    return sum(1 for line in lines_of(path) if line.strip())


def rows_of(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a file, in its order. Raises KeyError or ValueError on a file of another layout."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        file = pq.ParquetFile(path)
        absent = set(columns) - set(file.schema_arrow.names)
        if absent:
            raise KeyError(f"{path.name} has no column {min(absent)!r}")
        for batch in file.iter_batches(batch_size=64, columns=list(columns)):
            yield from batch.to_pylist()
        return
    for number, line in enumerate(filter(bytes.strip, lines_of(path)), 1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise ValueError(f"{path.name}, line {number}: {error}") from error


class Shards(abc.ABC):
    """A set in files of many rows, of which some may be far too large to be held.

    A set says in which files its splits are, which columns it needs, and what an example is.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    licence: ClassVar[str]
    attribution: ClassVar[str]
    media: ClassVar[tuple[str, ...]] = ()
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    seen: ClassVar[tuple[str, ...]] = ()
    folder_name: ClassVar[str] = ""
    columns: ClassVar[tuple[str, ...]] = ("text",)
    files: ClassVar[dict[str, str]]  # split -> pattern; one pattern for "train" alone: its texts are split here

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def _files(self, split: str) -> list[Path]:
        """Files with the name of another split in theirs are not of this one."""
        pattern = self.files.get(split, self.files["train"])
        held = "validation" in pattern
        found = [path for path in sorted(self.folder.glob(pattern)) if ("validation" in path.name) == held]
        if not found:
            raise MioError(f"{self.name}: there is no {pattern} in {self.folder}; lay it out as the set is published")
        return found

    def _mine(self, split: str, rows: int) -> range:
        """Which rows of a file belong to a split that is not published."""
        if len(self.files) > 1:
            return range(rows)
        held = range(TEST_EVERY - 1, rows, TEST_EVERY)
        return held if split == "test" else range(rows - len(held))  # the training texts counted without the others

    def _held(self, split: str, path: Path) -> int:
        """How many rows of a file belong to a split: as many as `_numbered` yields."""
        return len(self._mine(split, _rows(path)))

    def count(self, split: str) -> int:
        require_split(self, split)
        with published(self.name, self.folder):
            return sum(self._held(split, path) for path in self._files(split))

    def examples(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
        """Raises MioError on files that are absent, damaged or of another layout."""
        require_split(self, split)
        stop = self.count(split) if stop is None else stop
        at = 0
        for path in self._files(split):
            here = self._held(split, path)
            if at + here > start and at < stop:
                with published(self.name, self.folder):
                    for number, (row, value) in enumerate(self._numbered(split, path), at):
                        if number >= stop:
                            break
                        if number >= start:
                            yield {
                                "id": f"{self.name}/{split}/{path.relative_to(self.folder).as_posix()}/{row}",
                                **self.fields(value),
                            }
            at += here

    def _numbered(self, split: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        for row, value in enumerate(rows_of(path, self.columns)):
            held = len(self.files) == 1 and row % TEST_EVERY == TEST_EVERY - 1
            if len(self.files) > 1 or held == (split == "test"):
                yield row, value

    @abc.abstractmethod
    def fields(self, row: dict[str, Any]) -> dict[str, Any]:
        """The fields of an example, but for its id."""
