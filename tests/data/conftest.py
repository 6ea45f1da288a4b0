"""A prepared toy set, with tasks over it in the registry."""

from __future__ import annotations

import pathlib

import pytest

from mio_jax.data import prepare, registry
from mio_jax.data.sources.base import SOURCES
from mio_jax.protocols import Segment
from tests.data import toys


@pytest.fixture
def toy_source(monkeypatch: pytest.MonkeyPatch) -> type[toys.Toy]:
    """The toy set among the sources, and nothing else; returns its class, whose attributes a test may patch."""
    for name in list(SOURCES):
        monkeypatch.delitem(SOURCES, name)
    monkeypatch.setitem(SOURCES, "toy", "tests.data.toys:Toy")
    monkeypatch.setattr(toys.Toy, "made", [])
    return toys.Toy


@pytest.fixture
def records_dir(tmp_path: pathlib.Path, toy_source: type[toys.Toy], monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Records of the toy set in shards of 50; the tasks toy_picture, toy_sound, toy_words; the mixture toy_mix."""
    monkeypatch.setattr(prepare, "SHARD_EXAMPLES", 50)
    prepare.prepare(toys.config(tmp_path), toys.tokenizers())

    def picture(record, rng, style):
        return [Segment("text", record["caption"]), Segment("image", record["image"], True)]

    def sound(record, rng, style):
        return [Segment("audio", record["audio"]), Segment("text", record["caption"], True)]

    def words(record, rng, style):
        return [Segment("text", f"{style} " + "w" * int(rng.integers(5, 90)), True)]

    for name, formatter in (("toy_picture", picture), ("toy_sound", sound), ("toy_words", words)):
        registry.add_task(registry.Task(name, "toy", formatter, f"{name}.", ("text",), ("image",)), str(tmp_path))
    registry.add_mixture("toy_mix", [("toy_picture", 3.0), ("toy_sound", 1.0)])
    return tmp_path
