"""Reading the files that published sets are made of; what is missing or not as published is one clear line."""

from __future__ import annotations

import contextlib
import csv
import functools
import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mio_jax.errors import MioError

# What a file that is not as its set publishes it leads a reader into.
NOT_AS_PUBLISHED = (KeyError, IndexError, TypeError, ValueError, AttributeError, csv.Error, EOFError)


@contextlib.contextmanager
def published(name: str, folder: Path) -> Iterator[None]:
    """Turns what a file that is absent, damaged or of another layout raises into one line about the set `name`."""
    try:
        yield
    except FileNotFoundError as error:
        missing = error.filename or folder
        raise MioError(f"{name}: there is no {missing}; {folder} must be laid out as the set is published") from None
    except OSError as error:
        raise MioError(f"{name}: {error.filename or folder} cannot be read ({error.strerror or error})") from error
    except NOT_AS_PUBLISHED as error:
        raise MioError(
            f"{name}: a file in {folder} is not as published ({type(error).__name__}: {error}); fetch it again"
        ) from error


def read_json(path: Path) -> Any:
    """Raises ValueError with the file's name where it is not JSON."""
    text = path.read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error


def read_lines(path: Path) -> list[str]:
    """Lines of a text file (.gz too) that are not empty, without their ends."""
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as file:
        return [line.rstrip("\n") for line in file if line.strip()]


def read_json_lines(path: Path) -> list[Any]:
    """One value a line. Raises ValueError with the file and the line where one is not JSON."""
    values = []
    for number, line in enumerate(read_lines(path), 1):
        try:
            values.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{path.name}, line {number}: {error}") from error
    return values


def rows_of_table(path: Path, columns: Sequence[str] = (), delimiter: str = ",") -> Iterator[dict[str, str]]:
    """Rows of a CSV file by the names in its head, one at a time; or by `columns`, of a file that has no head.

    Lines that begin with "#" are comments. Raises KeyError on a row that is too short.
    """
    with open(path, encoding="utf-8", newline="") as file:
        lines = (line for line in file if not line.startswith("#"))
        for number, row in enumerate(
            csv.DictReader(lines, columns or None, delimiter=delimiter, skipinitialspace=True), 1
        ):
            short = [name for name, value in row.items() if value is None]
            if short:
                raise KeyError(f"{path.name}: row {number} has no {short[0]}")
            yield row


def read_table(path: Path, columns: Sequence[str] = (), delimiter: str = ",") -> list[dict[str, str]]:
    """All rows of `rows_of_table`."""
    return list(rows_of_table(path, columns, delimiter))


@functools.lru_cache(maxsize=65536)
def names_in(folder: str) -> frozenset[str]:
    """Names of the files in a folder; none, where there is no such folder."""
    path = Path(folder)
    return frozenset(entry.name for entry in path.iterdir()) if path.is_dir() else frozenset()


def one_space(text: str) -> str:
    """Words with one space between them."""
    return " ".join(text.split())


def most_common(answers: Sequence[str]) -> str:
    """The answer that most people gave; of equally common ones the first. Raises ValueError where there is none."""
    if not answers:
        raise ValueError("a question without an answer")
    return max(dict.fromkeys(answers), key=list(answers).count)
