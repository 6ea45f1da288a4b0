"""Pictures of the web with their texts, in shards as img2dataset writes them, which is how these lists are fetched.

FOLDER/00000.tar, 00000_stats.json, 00001.tar, ...   in a shard 000000000.jpg, 000000000.txt, 000000000.json, ...

One shard of fifty, at least one where there are two, is "test". Shards are read from beginning to end.
"""

from __future__ import annotations

import functools
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from mio_jax.data.sources.base import require_split
from mio_jax.data.sources.choices import one_size
from mio_jax.data.sources.files import one_space, published, read_json
from mio_jax.data.sources.pictures import picture_of, small
from mio_jax.errors import MioError

TEST_EVERY = 50
PICTURES = (".jpg", ".jpeg", ".png", ".webp")


def _count(tar: Path) -> int:
    """How many pairs a shard holds: what its statistics say, or its own list."""
    stats = tar.with_name(f"{tar.stem}_stats.json")
    if stats.is_file():
        return int(read_json(stats)["successes"])
    with tarfile.open(tar) as file:
        return sum(Path(member.name).suffix == ".txt" for member in file)


@functools.lru_cache(maxsize=16)
def shards_of(folder: str, name: str) -> tuple[tuple[Path, int], ...]:
    """(shard, how many pairs) of a folder. Raises MioError where there is none."""
    with published(name, Path(folder)):
        found = tuple((path, _count(path)) for path in sorted(Path(folder).glob("*.tar")))
    if not found:
        raise MioError(f"{name}: there are no shards (00000.tar, ...) in {folder}; fetch the list with img2dataset")
    return found


class Pair(NamedTuple):
    """One member of a shard; `told` is the JSON beside it, b"" where there is none."""

    key: str
    picture: bytes
    text: str
    told: bytes = b""


def pairs_in(tar: Path) -> Iterator[Pair]:
    """The pairs of a shard, in its order. Raises MioError on a shard that is cut short."""
    try:
        with tarfile.open(tar) as file:
            key, held = "", dict[str, bytes]()
            for member in file:
                stem, ending = Path(member.name).stem, Path(member.name).suffix.lower()
                if stem != key:
                    yield from _whole(key, held)
                    key, held = stem, {}
                kind = "picture" if ending in PICTURES else ending
                opened = file.extractfile(member) if kind in ("picture", ".txt", ".json") else None
                if opened is not None:
                    held[kind] = opened.read()
            yield from _whole(key, held)
    except tarfile.TarError as error:
        raise MioError(f"{tar} is damaged ({error}); fetch this shard again") from error


def _whole(key: str, held: dict[str, bytes]) -> Iterator[Pair]:
    if held.get("picture") and ".txt" in held:
        text = one_space(held[".txt"].decode("utf-8", "replace"))
        yield Pair(key, held["picture"], text, held.get(".json", b""))


class PairShards:
    """id, image, captions [one text]."""

    name: ClassVar[str] = "laion_aesthetics"
    version: ClassVar[str] = "1"
    licence: ClassVar[str] = "the list's own, see its page; the pictures are their authors'"
    attribution: ClassVar[str] = "LAION Aesthetics by Schuhmann et al."
    media: ClassVar[tuple[str, ...]] = ("image",)
    seen: ClassVar[tuple[str, ...]] = ()
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    folder_name: ClassVar[str] = ""
    group: ClassVar[int] = 1  # pairs that make up one example

    def __init__(self, folder: str | Path) -> None:
        self.folder = str(folder)

    def _shards(self, split: str) -> list[tuple[Path, int]]:
        require_split(self, split)
        found = shards_of(self.folder, self.name)
        if len(found) == 1:
            return list(found) if split == "train" else []
        every = min(TEST_EVERY, len(found))
        held = [number % every == every - 1 for number in range(len(found))]
        return [shard for shard, test in zip(found, held, strict=True) if test == (split == "test")]

    def count(self, split: str) -> int:
        return sum(count // self.group for _, count in self._shards(split))

    def examples(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
        """Raises MioError on a shard that is damaged or holds another number of pairs than it says."""
        at, stop = 0, self.count(split) if stop is None else stop
        for tar, pairs in self._shards(split):
            here = pairs // self.group
            if at + here > start and at < stop:
                first, last = max(start - at, 0), min(stop - at, here)
                yield from self._of_shard(split, tar, first, last)
            at += here

    def _of_shard(self, split: str, tar: Path, first: int, last: int) -> Iterator[dict[str, Any]]:
        held: list[Pair] = []
        made = 0
        for pair in pairs_in(tar):
            held.append(pair)
            if len(held) < self.group:
                continue
            if made >= first:
                yield self.example(split, tar, held)
            held, made = [], made + 1
            if made == last:
                return
        raise MioError(f"{tar} holds {made} examples where its statistics say {last} or more; fetch this shard again")

    def example(self, split: str, tar: Path, pairs: list[Pair]) -> dict[str, Any]:
        [pair] = pairs
        image = picture_of(pair.picture, f"{pair.key} in {tar}")
        return {"id": f"{self.name}/{split}/{tar.stem}/{pair.key}", "image": image, "captions": [pair.text]}


class LaionAesthetics(PairShards):
    name = "laion_aesthetics"


class Laion400M(PairShards):
    name = "laion_400m"
    licence = "list CC BY 4.0; the pictures are their authors'"
    attribution = "LAION-400M by Schuhmann et al."
    seen = ("image",)  # no pictures are made after this set


class Cc12M(PairShards):
    name = "cc12m"
    attribution = "Conceptual 12M by Changpinyo et al., Google"


class Cc3M(PairShards):
    name = "cc3m"
    attribution = "Conceptual Captions by Sharma et al., Google"


class Cc12MInterleaved(PairShards):
    """id, frames uint8 [pictures, height, width, 3] padded to one size, captions [a text for each]."""

    name = "cc12m_interleaved"
    folder_name = "cc12m"
    attribution = Cc12M.attribution
    media = ("frames",)
    seen = ("frames",)
    group = 4

    def example(self, split: str, tar: Path, pairs: list[Pair]) -> dict[str, Any]:
        pictures = [small(picture_of(picture, f"{key} in {tar}")) for key, picture, _, _ in pairs]
        return {
            "id": f"{self.name}/{split}/{tar.stem}/{pairs[0].key}",
            "frames": one_size(pictures),
            "captions": [pair.text for pair in pairs],
        }


class Cc3MInterleaved(Cc12MInterleaved):
    name = "cc3m_interleaved"
    folder_name = "cc3m"
    attribution = Cc3M.attribution
