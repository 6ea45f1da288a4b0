"""English text that is on every machine: the Python reference (pydoc topics) and the standard library's docstrings.

Chunks of whole paragraphs, split by topic or top-level module so that no two parts of one text fall on both sides.
The content follows the Python version that runs; the manifest of the prepared records names it.
"""

from __future__ import annotations

import ast
import functools
import pathlib
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from typing import Any

from mio_jax.data.sources.base import hash_share, require_split
from mio_jax.errors import MioError

TEST_SHARE = 0.08
SHORTEST = 80  # characters: shorter docstrings say little and mostly repeat the name
# Not prose: tests, generated tables, vendored copies and the pieces whose presence varies between builds.
SKIPPED = ("test", "tests", "site-packages", "dist-packages", "idlelib", "lib2to3", "pydoc_data", "ensurepip")
_DOCUMENTED = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def chunks(text: str, length: int) -> Iterator[str]:
    """Whole paragraphs joined up to `length` characters; a longer one is cut at line ends, a longer line at words."""
    held = ""
    for piece in _pieces(text, length):
        if held and len(held) + len(piece) > length:
            yield held.strip("\n")
            held = ""
        held += piece
    if held.strip():
        yield held.strip("\n")


def _pieces(text: str, length: int) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        if len(paragraph) + 2 <= length:
            yield paragraph + "\n\n"
            continue
        for line in paragraph.split("\n"):
            while len(line) + 1 > length:
                cut = line.rfind(" ", 1, length)
                cut = cut if cut > 0 else length - 1
                yield line[:cut] + "\n"
                line = line[cut:].lstrip()
            yield line + "\n"
        yield "\n"


def _docstrings(path: pathlib.Path) -> Iterator[tuple[str, str]]:
    """(qualified name, docstring) of a file's module, classes and functions, in order."""
    try:
        with warnings.catch_warnings():  # the library's own invalid escapes are not this program's business
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return  # a file kept broken or in another encoding on purpose holds no reference text
    # Only bodies are searched: a walk over every expression would take most of the time and find nothing.
    found: list[Any] = [tree]
    while found:
        node = found.pop(0)
        text = ast.get_docstring(node)
        if text and len(text) >= SHORTEST:
            yield getattr(node, "name", ""), text
        found += [child for child in node.body if isinstance(child, _DOCUMENTED)]


@functools.cache
def documents() -> tuple[tuple[str, str], ...]:
    """(origin, text): "topic/NAME" or "module/TOP.LEVEL", each origin's text whole and in a fixed order."""
    from pydoc_data import topics

    found = [(f"topic/{name}", text) for name, text in sorted(topics.topics.items())]
    root = pathlib.Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if any(part in SKIPPED or part.startswith("config-") for part in parts):
            continue
        origin = f"module/{parts[0]}"
        module = ".".join(part for part in parts if part != "__init__")
        found += [(origin, f"{module}.{name}".rstrip(".") + ":\n" + text) for name, text in _docstrings(path)]
    if len(found) < 1000:  # some distributions ship the library compiled, without sources
        raise MioError(f"only {len(found)} texts in {root}: this Python has no library sources; use a full CPython")
    return tuple(found)


def split_of(origin: str) -> str:
    return "test" if hash_share(origin, "text") < TEST_SHARE else "train"


@functools.cache
def _chunks_of(split: str, length: int) -> tuple[tuple[str, str], ...]:
    """Distinct chunks, those that were seen on the other side dropped from the test side (licence headers and such)."""
    seen = {text for _, text in _chunks_of("train", length)} if split == "test" else set()
    kept = []
    for origin, text in documents():
        if split_of(origin) != split:
            continue
        for piece in chunks(text, length):
            if len(piece) >= SHORTEST and piece not in seen:
                seen.add(piece)
                kept.append((origin, piece))
    return tuple(kept)


class StandardLibraryText:
    """Chunks of at most `length` characters."""

    name = "text"
    version = "1-py" + ".".join(map(str, sys.version_info[:3]))
    licence = "PSF-2.0"
    attribution = "Python documentation and standard library docstrings, Python Software Foundation"
    media: tuple[str, ...] = ()
    splits: tuple[str, ...] = ("train", "test")

    def __init__(self, length: int = 1000) -> None:
        if length < 2 * SHORTEST:
            raise MioError(f"text chunks of {length} characters are too short; at least {2 * SHORTEST}")
        self.length = length

    def count(self, split: str) -> int:
        require_split(self, split)
        return len(_chunks_of(split, self.length))

    def examples(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
        """id, text, meta/origin."""
        require_split(self, split)
        for number, (origin, text) in enumerate(_chunks_of(split, self.length)[start:stop], start):
            yield {"id": f"text/{split}/{number:06d}", "text": text, "meta/origin": origin}
