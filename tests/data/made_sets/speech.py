"""Made-up folders of spoken sentences: tones that stand for words."""

from __future__ import annotations

import io
from pathlib import Path

from tests.data.made_sets.files import sound, write


def speech(folder: Path) -> None:
    rows = ["file,text,split", "a.wav,Hello,train", "more/b.wav,hello!,train", 'c.wav,"Who, me?",test']
    write(folder / "metadata.csv", "\n".join(rows))
    for name, rate in (("a", 8000), ("more/b", 44100), ("c", 16000)):
        sound(folder / f"{name}.wav", 0.3, rate)


def recordings(folder: Path) -> None:
    for number, name in enumerate(("train/a", "train/more/b", "test/c", "d", "e/f")):
        sound(folder / f"{name}.wav", 0.2 + 0.1 * number, 8000 * (1 + number % 2))


def asterisk(folder: Path) -> None:
    """As the package unpacks, with more letters than one split takes."""
    voice = folder / "usr" / "share" / "asterisk" / "sounds" / "en_US_f_Allison"
    for letter in "abcdefghijklmnopqrstuvwxyz":
        sound(voice / "phonetic" / f"{letter}_p.wav", 0.2, 8000)
    for name in ("digits/h-20", "letters/ascii33", "silence/1", "activated", "tones"):
        sound(voice / f"{name}.wav", 0.2, 8000)
    write(folder / "core-sounds-en.txt", "; Core Sounds\nactivated: Activated.\ntones: [a tone]\nletters/z: zee [Z]\n")


def tuxpaint(folder: Path) -> None:
    """Two stamps of every name share one recording; Ogg, which needs the package soundfile."""
    import numpy as np
    import soundfile

    stamps = folder / "usr" / "share" / "tuxpaint" / "stamps"
    for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz"):
        wave = 0.3 * np.sin(np.arange(1600) * (0.1 + 0.01 * number)).astype(np.float32)
        file = io.BytesIO()
        soundfile.write(file, wave, 8000, format="OGG")  # the same sound again would have another serial number
        spoken = file.getvalue()
        for place in ("animals", "food"):
            told = [f"The {letter}.", *(f"{code}.utf8=Le {letter}" for code in LANGUAGES)]
            write(stamps / place / f"{letter}.txt", "\n".join(told))
            for ending in ("", *(f"_{code}" for code in LANGUAGES)):
                (stamps / place / f"{letter}_desc{ending}.ogg").write_bytes(spoken)


LANGUAGES = ("be", "bg", "ca", "da", "el", "es", "fr", "ro", "ru")
MAKERS = {"speech": speech, "recordings": recordings, "asterisk": asterisk, "tuxpaint": tuxpaint}
