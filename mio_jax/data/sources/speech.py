"""What readers of spoken sentences share, and the one of a folder of your own.

A folder of your own holds sound files (WAV; FLAC, MP3, Ogg with the package soundfile) in any subfolders, and what is
said in them in one of three ways:

    a.wav, a.txt, more/b.flac, more/b.txt ...       a text file beside each sound
    metadata.csv      columns file, text, and if you like split ("train" or "test")
    metadata.jsonl    one {"file": ..., "text": ...} a line, with "split" if you like

Without splits, one text in ten is held out, by its words: whatever is said twice is in one split. Any rate and number
of channels will do; clips over 15 seconds, silent ones, and those that cannot be read are set aside with the reason.
"""

from __future__ import annotations

import abc
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from mio_jax.data.sources.base import hash_share
from mio_jax.data.sources.files import one_space, read_json_lines, read_table
from mio_jax.data.sources.folder import FolderSource
from mio_jax.errors import MioError
from mio_tokenizers.audio.io import read_audio, sound_length

LONGEST = 15.0  # seconds; MIO drops what is longer (specification, section 5.2)
HELD_OUT = 0.1  # of the texts: these sets are small, and a score of few clips says nothing
ENDINGS = (".wav", ".flac", ".mp3", ".ogg")


class Clip(NamedTuple):
    """`file` within the folder; `split`: "" where the words decide."""

    file: str
    text: str
    split: str = ""


def words_of(text: str) -> str:
    """A text as it is said: small letters, no punctuation, one space."""
    return one_space(re.sub(r"[^\w\s']", " ", text.lower()))


class Speech(FolderSource):
    """Spoken sentences with their transcripts. A set says which clips there are."""

    media: ClassVar[tuple[str, ...]] = ("audio",)

    @abc.abstractmethod
    def clips(self) -> Sequence[Clip]:
        """All clips of the set."""

    def root(self) -> Path:
        """Where the clips' files lie."""
        return self.folder

    def items(self, split: str) -> Sequence[Clip]:
        return [clip for clip in self.clips() if (clip.split or self.drawn(clip.text)) == split]

    def drawn(self, text: str) -> str:
        """The split of a text: clips of the same words are never in two."""
        return "test" if hash_share(words_of(text), self.name) < HELD_OUT else "train"

    def example(self, split: str, item: Clip) -> dict[str, Any]:
        """id, audio (mono, at its own rate) and transcript. MioError on a clip too long, silent or unreadable."""
        path = self.root() / item.file
        if not words_of(item.text):
            raise MioError(f"{path} has no transcript")
        seconds = sound_length(path)
        if seconds > LONGEST:
            raise MioError(f"{path} is {seconds:.1f} s long; clips may have {LONGEST:g} s: cut it where it pauses")
        return {"id": f"{self.name}/{item.file}", "audio": read_audio(path), "transcript": one_space(item.text)}


class SpeechFolder(Speech):
    """Your own recordings and transcripts, laid out as the module says."""

    name = "speech"
    licence = "your own"
    attribution = "yours"

    def clips(self) -> Sequence[Clip]:
        """Raises MioError on two tables, a table without its columns, or a split of another name."""
        tables = [path for path in (self.folder / "metadata.csv", self.folder / "metadata.jsonl") if path.is_file()]
        if len(tables) > 1:
            raise MioError(f"{self.folder} has metadata.csv and metadata.jsonl; which one counts? remove the other")
        if not tables:
            return self._beside()
        rows = read_table(tables[0]) if tables[0].suffix == ".csv" else read_json_lines(tables[0])
        found = []
        for number, row in enumerate(rows, 1):
            lacking = [name for name in ("file", "text") if name not in row]
            if lacking:
                raise MioError(f"{tables[0]}, entry {number} has no {lacking[0]!r}; it needs file and text")
            split = str(row.get("split") or "")
            if split and split not in self.splits:
                raise MioError(f"{tables[0]}, entry {number}: split is {split!r}; it must be train or test")
            found.append(Clip(str(row["file"]), str(row["text"]), split))
        return found

    def _beside(self) -> list[Clip]:
        found = []
        for path in sorted(self.folder.rglob("*")):
            if path.suffix.lower() in ENDINGS:
                told = path.with_suffix(".txt")
                # One that has no text is set aside when it is read, so that it is counted and named.
                text = told.read_text(encoding="utf-8") if told.is_file() else ""
                found.append(Clip(path.relative_to(self.folder).as_posix(), text))
        return found
