"""Spoken sets that Debian packages: studio prompts of a telephone exchange, and captions of a paint program's stamps.

    scripts/fetch_speech.sh DIR     fetches and unpacks them to DIR/asterisk and DIR/tuxpaint, without root

Asterisk   FOLDER/.../en_US_f_Allison/*.wav, digits/, letters/, ... wherever the package was unpacked to, and in
           FOLDER, if you have it, core-sounds-en.txt, upstream's list "name: text". The package has no transcripts;
           without the list, those that follow from the files' names are read (digits, letters, the spelling alphabet).
Tux Paint  FOLDER/.../stamps/**/NAME.txt with captions in many languages, NAME_desc_LANGUAGE.ogg, or NAME_desc.ogg
           for English. One source a language.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from mio_jax.data.sources.files import one_space, read_lines
from mio_jax.data.sources.speech import Clip, Speech
from mio_jax.errors import MioError

TRANSCRIPTS = "core-sounds-en.txt"
ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = dict(
    zip(range(20, 100, 10), ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], strict=True)
)
IRREGULAR = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
ALPHABET = [
    "alpha",
    "bravo",
    "charlie",
    "delta",
    "echo",
    "foxtrot",
    "golf",
    "hotel",
    "india",
    "juliet",
    "kilo",
    "lima",
    "mike",
    "november",
    "oscar",
    "papa",
    "quebec",
    "romeo",
    "sierra",
    "tango",
    "uniform",
    "victor",
    "whiskey",
    "xray",
    "yankee",
    "zulu",
]
TIMES = {"a-m": "A.M.", "p-m": "P.M.", "oclock": "o'clock"}


@functools.lru_cache(maxsize=16)
def below(folder: Path, name: str, record_set: str) -> Path:
    """The folder of that name in `folder`, or `folder` itself if that is its name. MioError where there is none."""
    found = [folder] if folder.name == name else sorted(path for path in folder.rglob(name) if path.is_dir())
    if not found:
        raise MioError(
            f"{record_set}: there is no folder {name} in {folder}; unpack the package there (scripts/fetch_speech.sh)"
        )
    return found[0]


def ordinal(word: str) -> str:
    return IRREGULAR.get(word) or (f"{word[:-1]}ieth" if word.endswith("y") else f"{word}th")


def _number(digits: str) -> str | None:
    value = int(digits)
    return ONES[value] if value < len(ONES) else TENS.get(value)


def _digit_sound(stem: str) -> str | None:
    """What is said in digits/`stem`.wav."""
    kind, _, rest = stem.partition("-")
    if stem.isdigit():
        return _number(stem)
    if kind == "h" and rest:  # "h-20": the twentieth; "h-hundred"
        word = _number(rest) if rest.isdigit() else rest
        return word and ordinal(word)
    if kind in ("day", "mon") and rest.isdigit():
        names = DAYS if kind == "day" else MONTHS
        return names[int(rest)] if int(rest) < len(names) else None
    return TIMES.get(stem, stem)


def said_by_name(name: str) -> str | None:
    """What follows from a file's name, such as "digits/h-20" -> "twentieth"; None where nothing does."""
    folder, _, stem = name.partition("/")
    if folder == "digits":
        return _digit_sound(stem)
    if folder == "phonetic":
        letter = stem.removesuffix("_p")
        if letter in ("9", "niner"):
            return "niner"
        return ALPHABET[ord(letter) - ord("a")] if re.fullmatch(r"[a-z]", letter) else None
    if folder == "letters" and not stem.startswith("ascii"):
        return stem.replace("exclaimation", "exclamation").replace("-", " ")
    return None


class Asterisk(Speech):
    """Some 550 prompts in 24 minutes, spoken by one woman in a studio; 8 kHz."""

    name = "asterisk"
    licence = "CC BY-SA 3.0"
    attribution = "Asterisk core sounds, spoken by Allison Smith, by Digium (package asterisk-core-sounds-en-wav)"

    def root(self) -> Path:
        return below(self.folder, "en_US_f_Allison", self.name)

    def clips(self) -> Sequence[Clip]:
        """Those of which the words are known: by the list, or else by their name."""
        told = _asterisk_list(self.folder / TRANSCRIPTS)
        found = []
        for path in sorted(self.root().rglob("*.wav")):
            name = path.relative_to(self.root()).as_posix().removesuffix(".wav")
            # Brackets hold notes: what a sign looks like, or that a tone is heard instead of words.
            text = one_space(re.sub(r"[\[(<].*?[\])>]", " ", told.get(name) or said_by_name(name) or ""))
            if text:
                found.append(Clip(f"{name}.wav", text))
        return found


def _asterisk_list(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = [line for line in read_lines(path) if ":" in line and not line.startswith(";")]
    pairs = (line.split(":", 1) for line in lines)
    return {name.strip().removesuffix(".wav"): text.strip() for name, text in pairs}


class TuxPaint(Speech):
    """Spoken names of what is on the stamps, a set a language, mostly of one volunteer each.

    Stamps of one name share a recording, so a recording is read once.
    """

    licence = "GPL-2.0-or-later"
    attribution = "Tux Paint stamps and their speakers (package tuxpaint-stamps-default)"
    folder_name = "tuxpaint"
    language: ClassVar[str] = "en"

    def root(self) -> Path:
        return below(self.folder, "stamps", self.name)

    def clips(self) -> Sequence[Clip]:
        ending = "_desc.ogg" if self.language == "en" else f"_desc_{self.language}.ogg"
        found: dict[tuple[str, str], Clip] = {}
        for path in sorted(self.root().rglob(f"*{ending}")):
            told = path.with_name(path.name.removesuffix(ending) + ".txt")
            text = self._caption(told) if told.is_file() else ""
            if text:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                found.setdefault((text, digest), Clip(path.relative_to(self.root()).as_posix(), text))
        return list(found.values())

    def _caption(self, path: Path) -> str:
        """The first line is English; the others are "fr.utf8=..."."""
        first, *rest = path.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
        if self.language == "en":
            return one_space(first)
        wanted = f"{self.language}.utf8="
        return next((one_space(line.removeprefix(wanted)) for line in rest if line.startswith(wanted)), "")


class TuxPaintBelarusian(TuxPaint):
    name, language = "tuxpaint_be", "be"


class TuxPaintBulgarian(TuxPaint):
    name, language = "tuxpaint_bg", "bg"


class TuxPaintCatalan(TuxPaint):
    name, language = "tuxpaint_ca", "ca"


class TuxPaintDanish(TuxPaint):
    name, language = "tuxpaint_da", "da"


class TuxPaintEnglish(TuxPaint):
    name, language = "tuxpaint_en", "en"


class TuxPaintSpanish(TuxPaint):
    name, language = "tuxpaint_es", "es"


class TuxPaintFrench(TuxPaint):
    name, language = "tuxpaint_fr", "fr"


class TuxPaintGreek(TuxPaint):
    name, language = "tuxpaint_el", "el"


class TuxPaintRomanian(TuxPaint):
    name, language = "tuxpaint_ro", "ro"


class TuxPaintRussian(TuxPaint):
    name, language = "tuxpaint_ru", "ru"
