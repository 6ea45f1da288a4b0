"""AudioCaps from a folder of yours: ten-second sounds of YouTube videos with captions.

FOLDER/
  train.csv, val.csv, test.csv   columns audiocap_id, youtube_id, start_time, caption, as published
  train/, val/, test/            the clips, which are not published: one WAV (or FLAC) a row, named by `pattern`

Videos vanish: rows without a clip are left out, and `absent(split)` says how many they are.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mio_jax.data.sources.base import require_split
from mio_jax.errors import MioError
from mio_tokenizers.audio.io import read_audio

COLUMNS = ("audiocap_id", "youtube_id", "start_time", "caption")


class Clip(NamedTuple):
    path: str
    captions: tuple[str, ...]  # one in train, five in val and test


@functools.lru_cache(maxsize=8)
def clips(folder: str, split: str, pattern: str) -> tuple[tuple[Clip, ...], int]:
    """(clips that are there in the file's order, how many are not). Raises MioError on a file that is not as said."""
    path = Path(folder) / f"{split}.csv"
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise MioError(f"audiocaps: there is no {path}; put the published CSV files there") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MioError(f"audiocaps: {path} cannot be read ({error}); fetch it again") from error
    wrong = [column for column in COLUMNS if not rows or rows[0].get(column) is None]
    if wrong:
        raise MioError(f"audiocaps: {path} has no rows with a column {wrong[0]!r}; it is not the published file")
    captions: dict[str, list[str]] = {}
    for row in rows:
        try:
            name = pattern.format(youtube_id=row["youtube_id"], start_time=row["start_time"])
        except (KeyError, IndexError, ValueError) as error:
            raise MioError(
                f"audiocaps: pattern {pattern!r} ({error}); its names are {{youtube_id}} and {{start_time}}"
            ) from error
        captions.setdefault(name, []).append(" ".join(row["caption"].split()))
    there = {entry.name for entry in (Path(folder) / split).iterdir()} if (Path(folder) / split).is_dir() else set()
    found = tuple(Clip(str(Path(folder) / split / n), tuple(c)) for n, c in captions.items() if n in there)
    if not found:
        raise MioError(f"audiocaps: none of the {len(captions)} clips of {path} is in {Path(folder) / split}")
    return found, len(captions) - len(found)


class AudioCaps:
    """Sounds of up to ten seconds at their own rate, with their captions."""

    name = "audiocaps"
    version = "1"
    licence = "captions MIT; the sounds are of YouTube's users, under their own terms"
    attribution = "AudioCaps by Kim et al., audiocaps.github.io"
    media: tuple[str, ...] = ("audio",)
    splits: tuple[str, ...] = ("train", "val", "test")

    def __init__(self, folder: str | Path, pattern: str = "Y{youtube_id}.wav") -> None:
        self.folder = str(folder)
        self.pattern = pattern

    def count(self, split: str) -> int:
        require_split(self, split)
        return len(clips(self.folder, split, self.pattern)[0])

    def absent(self, split: str) -> int:
        """Clips of the published list that are not in the folder."""
        require_split(self, split)
        return clips(self.folder, split, self.pattern)[1]

    def examples(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
        """id, audio, captions [str]. Raises MioError on a clip that is damaged or silent."""
        require_split(self, split)
        for clip in clips(self.folder, split, self.pattern)[0][start:stop]:
            yield {
                "id": f"audiocaps/{split}/{Path(clip.path).stem}",
                "audio": read_audio(clip.path),
                "captions": list(clip.captions),
            }
