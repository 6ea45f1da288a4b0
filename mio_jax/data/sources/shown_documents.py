"""Documents and stories for models that look at up to five pictures: those before the last are its history.

OBELICS and VIST lie as `documents` says.
"""

from __future__ import annotations

from typing import Any

from mio_jax.data.sources.base import hash_share
from mio_jax.data.sources.choices import one_size
from mio_jax.data.sources.documents import Obelics, Part, Vist
from mio_jax.data.sources.files import one_space
from mio_jax.data.sources.pictures import small

SHOWN = 5  # pictures: a history of four, and one


class ObelicsShown(Obelics):
    """id, image, frames uint8 [1 to 5, height, width, 3] (the image is the last, and those before precede it), parts
    [text or number of a frame, ...]: from the paragraph before the first to that behind the last.

    Of a page with more pictures one that depends on its addresses alone is the image.
    """

    name = "obelics_shown"
    folder_name = "obelics"
    media = ("image", "frames")
    seen = ("frames",)

    def fields(self, row: dict[str, Any]) -> dict[str, Any]:
        page = super().fields(row)
        pictures, parts = page["pictures"], page["parts"]
        last = int(hash_share("\n".join(filter(None, row["images"])), "picture of obelics") * len(pictures))
        first = max(last - SHOWN + 1, 0)
        return {
            "image": pictures[last],
            "frames": one_size([small(picture) for picture in pictures[first : last + 1]]),
            "parts": window(parts, first, last),
        }


def window(parts: list[Part], first: int, last: int) -> list[Part]:
    """Parts from the text before picture `first` to the text behind picture `last`, pictures numbered from 0."""
    places = {part: at for at, part in enumerate(parts) if isinstance(part, int)}
    start, stop = places[first], places[last] + 1
    start -= start > 0 and isinstance(parts[start - 1], str)
    stop += stop < len(parts) and isinstance(parts[stop], str)
    return [part - first if isinstance(part, int) else one_space(part) for part in parts[start:stop]]


class VisualStorytelling(Vist):
    """id, frames uint8 [5, height, width, 3] padded to one size, story."""

    name = "visual_storytelling"
    folder_name = "vist"
    media = ("frames",)
    seen = ("frames",)

    def example(self, split: str, item: Any) -> dict[str, Any]:
        told = super().example(split, item)
        pictures = [small(picture) for picture in told["pictures"][:SHOWN]]
        return {"id": told["id"], "frames": one_size(pictures), "story": " ".join(told["story"][:SHOWN])}
