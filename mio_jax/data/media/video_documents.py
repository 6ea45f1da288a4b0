"""Documents in which a video's frames and what is told of them take turns (specification of MIO, sections 3.5, 5.2).

A video is cut into clips at its scene cuts. Each clip gives the frame in its middle, and behind it all that is told
while it lasts: lines of a transcript, captions, or the two merged, in a file of times and texts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mio_jax.data.media.key_frames import scene_scores, scenes, uniform_frames
from mio_jax.data.media.video_reader import Video
from mio_jax.errors import MioError

SUBTITLES = (".srt", ".vtt", ".jsonl")
_TIMES = re.compile(r"(\S+)\s+-->\s+(\S+)")
_TAG = re.compile(r"<[^>]*>")


class Told(NamedTuple):
    """A text, and from which second to which it belongs."""

    start: float
    end: float
    text: str


def read_told(path: str | Path) -> list[Told]:
    """Subtitles (.srt, .vtt), or lines of {"start": seconds, "end": seconds, "text": ...} (.jsonl), by their times.

    Raises MioError on a file that is absent or of another form.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        told = _lines(text) if path.suffix.lower() == ".jsonl" else _subtitles(text)
    except FileNotFoundError:
        raise MioError(f"there is no file {path}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MioError(f"{path} is no list of times and texts: {error!r}") from error
    if any(not 0 <= one.start <= one.end for one in told):  # false for NaN
        raise MioError(f"{path} has a text whose end is before its beginning")
    return sorted(one for one in told if one.text)


def _lines(text: str) -> list[Told]:
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    return [Told(float(row["start"]), float(row["end"]), " ".join(str(row["text"]).split())) for row in rows]


def _subtitles(text: str) -> list[Told]:
    """Blocks between empty lines: a line of times, and the lines of text behind it."""
    told = []
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        head = _TIMES.search(block)
        if head:
            said = _TAG.sub("", block[block.find("\n", head.end()) + 1 :]) if "\n" in block[head.end() :] else ""
            told.append(Told(_seconds(head[1]), _seconds(head[2]), " ".join(said.split())))
    if not told and text.strip():
        raise ValueError("it has no line such as 00:00:01.000 --> 00:00:02.500")
    return told


def rolled_up(subtitles: str) -> list[Told]:
    """WebVTT whose lines roll up, as YouTube's do: a line that is shown again below another time is told once."""
    told: list[Told] = []
    start = end = 0.0
    timed = False
    for line in subtitles.splitlines():
        head = _TIMES.search(line)
        text = " ".join(_TAG.sub("", line).split())
        if head:
            start, end, timed = _seconds(head[1]), _seconds(head[2]), True
        elif timed and text and not (told and told[-1].text == text):
            told.append(Told(start, end, text))
    return told


def _seconds(written: str) -> float:
    """ "01:02:03,500" or "02:03.500" -> seconds."""
    total = 0.0
    for part in written.replace(",", ".").split(":"):
        total = total * 60 + float(part)
    return total


def clips(video: Video) -> list[tuple[int, int]]:
    """(first frame, frame behind the last) of each clip: between scene cuts, or ten equal ones where nothing is cut."""
    found = scenes(scene_scores(video))
    if found:
        return found
    starts = uniform_frames(len(video)).tolist()
    return list(zip(starts, [*starts[1:], len(video)], strict=True))


def interleaved(video: Video, told: Sequence[Told], most: int = 0) -> dict[str, Any]:
    """A video and what is told of it as a document.

    A text stands behind the picture of the clip that holds its middle; what is told behind the last frame is told of
    the last clip. Clips of which nothing is told keep their picture.

    Args:
      most: at most so many clips; longer videos are cut off. 0: no limit.

    Returns:
      `pictures`, list of uint8 [height, width, 3], and `parts`: number of a picture or text, in their order.
    """
    found = clips(video)[: most or None]
    ends = [video.times[stop] if stop < len(video) else np.inf for _, stop in found]
    pictures = video[[(start + stop) // 2 for start, stop in found]]
    parts: list[int | str] = []
    for number, end in enumerate(ends):
        begin = ends[number - 1] if number else -np.inf
        parts.append(number)
        text = " ".join(one.text for one in told if begin <= (one.start + one.end) / 2 < end)
        if text:
            parts.append(text)
    return {"pictures": list(pictures), "parts": parts}
