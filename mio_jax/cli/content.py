"""What a user gives, text and media, in the order in which the model is to read it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mio_jax.errors import MioError
from mio_jax.protocols import Segment

if TYPE_CHECKING:
    from mio_jax.train.run import Run

Content = list[tuple[str, Any]]

_PLACEHOLDER = re.compile(r"<(image|audio|speech)_placeholder_(\d+)>")


def read_medium(kind: str, path: str | Path) -> Any:
    """A picture ("image") or a sound ("audio") from a file. Raises MioError if it cannot be read."""
    from mio_tokenizers.audio.io import read_audio
    from mio_tokenizers.image.io import read_image

    return read_image(path) if kind == "image" else read_audio(path)


def read_media(images: Sequence[str], audio: Sequence[str]) -> dict[str, list[Any]]:
    """{"image": pictures, "audio": sounds} from files. Raises MioError if one cannot be read."""
    return {kind: [read_medium(kind, file) for file in files] for kind, files in (("image", images), ("audio", audio))}


def read_video(path: str | None, how: str | None, most: int | None) -> Content:
    """A video's key frames as pictures, one after the other; see `mio_jax.data.media.key_frames`.

    Raises MioError if it cannot be read.
    """
    from mio_jax.data.media.key_frames import shown_frames
    from mio_jax.data.media.video_reader import open_video

    return [("image", frame) for frame in shown_frames(open_video(path), how or "", most or 0)] if path else []


def place(text: str, media: Mapping[str, Sequence[Any]]) -> tuple[Content, Content]:
    """("text", str), ("image", picture) and ("audio", Audio) in the text's order, and the media it does not name.

    Raises MioError on placeholders without a medium.
    """
    content: Content = []
    used: set[tuple[str, int]] = set()
    at = 0
    for match in _PLACEHOLDER.finditer(text):
        kind, number = "image" if match[1] == "image" else "audio", int(match[2])
        if number >= len(media.get(kind, ())):
            raise MioError(f"the prompt names {match[0]}, but {len(media.get(kind, ()))} --{kind} files were given")
        content += [("text", text[at : match.start()]), (kind, media[kind][number])]
        used.add((kind, number))
        at = match.end()
    content.append(("text", text[at:]))
    loose = [(kind, item) for kind, items in media.items() for i, item in enumerate(items) if (kind, i) not in used]
    return [(kind, value) for kind, value in content if kind != "text" or value], loose


def arrange(content: Content, loose: Content, style: str) -> Content:
    """Media without a placeholder go where training had them: on the line after a chat's text, before a base text."""
    if style == "base" or not loose:
        return [*loose, *content]
    return [*content, *([("text", "\n")] if content else []), *loose]


def segments_of(content: Content, run: Run) -> list[Segment]:
    """Media as the recipe shows them to its model; of a sound's codes [layers, frames], `data.heard_layers`."""
    layers = run.config.data.heard_layers
    made = []
    for kind, value in content:
        segment = run.recipe.segment(kind, value, run.tokenizers)
        made.append(segment._replace(value=segment.value[:layers]) if kind == "audio" and layers else segment)
    return made
