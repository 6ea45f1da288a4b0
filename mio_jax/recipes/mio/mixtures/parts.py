"""What the kinds of task share: reading fields of a record, and transforms of the publication (section 5.2)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mio_jax.errors import MioError
from mio_jax.protocols import Segment
from mio_jax.recipes.mio.prompts import SYSTEM_VOICE, system_turn
from mio_jax.recipes.mio.tasks import Content, Formatter, Record, chat, image, text

Rng = np.random.Generator

# A row of 2,800 tokens, less what a prompt needs. Text is counted as a token for three characters, which is more than
# Yi's vocabulary needs: what is cut by it fits.
ROOM = 2700
CHARACTERS_PER_TOKEN = 3
# 13.5 s at 50 Hz in four layers: 15 s, which is as long as a clip may be, would be 3,000 tokens.
SPOKEN_TOKENS = 2700
FEWEST_FRAMES, MOST_FRAMES, WORDS_PER_FRAME = 4, 8, 5
IMAGE_SCORE = 0.25  # of a picture in an interleaved document, where its set has scores

SPECIALS = re.compile(r"</?(?:image|spch)>|\[(?:SPCH|IMG)\]|<\|[a-z_]+\|>|<(?:img|spch)\d+>|<unk>")


@dataclass(frozen=True)
class Kind:
    """A kind of task.

    Attributes:
      formatter: record, generator, style -> segments.
      says: what it teaches, for the catalogue.
      inputs, outputs: media, as words of one string.
      where: which records it can use; None: all.
    """

    formatter: Formatter
    says: str
    inputs: str
    outputs: str
    where: Callable[[Record], bool] | None = None


def field(record: Record, name: str) -> Any:
    """A list or dict of a record. Raises MioError naming the field that this kind of task needs."""
    if name not in record:
        raise MioError(
            f"record {record.get('id')!r} has no field {name!r}, which this kind of task needs; it has "
            f"{', '.join(sorted(record))}"
        )
    return json.loads(record[name])


def codes(record: Record, name: str) -> np.ndarray:
    """Codes of a medium. Raises MioError where a record holds none, because its set is only looked at elsewhere."""
    if name not in record:
        raise MioError(
            f"record {record.get('id')!r} has no codes of its {name}; prepare the records with them: mio data prepare "
            "--config.data.code_seen=true --force"
        )
    found: np.ndarray = record[name]
    return found


def plain(value: str) -> str:
    """A text of a set without strings that would be read as control tokens."""
    return SPECIALS.sub("", value)


def drawn(items: Sequence[Any], rng: Rng) -> Any:
    return items[int(rng.integers(len(items)))]


def has(*names: str) -> Callable[[Record], bool]:
    """Which records have something in every one of these fields."""
    return lambda record: all(record.get(name) not in (None, "", "[]", "{}") for name in names)


def caption_of(record: Record, rng: Rng) -> str:
    return plain(drawn(field(record, "captions"), rng)).strip()


def voiced(user: Content, reply: Content) -> Content:
    """A chat with the system turn of voice mode, in which replies are speech alone."""
    return [text(system_turn(SYSTEM_VOICE)), *chat(user, reply)]


# ------------------------------------------------------------------------------------------ transforms of section 5.2


def frame_count(
    words: int, fewest: int = FEWEST_FRAMES, most: int = MOST_FRAMES, words_per_frame: int = WORDS_PER_FRAME
) -> int:
    """How many frames a text of so many words is shown with: 4 to 8, "depending on text length".

    How is not published. Here a longer text, which tells of more, has more frames: one for each five words.
    """
    return int(np.clip(-(-words // words_per_frame), fewest, most))


def spread(frames: np.ndarray, count: int) -> np.ndarray:
    """`count` of the frames [n, ...], evenly over all; those there are, where there are fewer."""
    if len(frames) <= count:
        return frames
    return frames[((np.arange(count) + 0.5) * len(frames) / count).astype(np.int64)]


def frames_for(record: Record, said: str) -> Content:
    """A video as its frames' image spans, with nothing between them."""
    held = codes(record, "frames")
    return [image(one) for one in spread(held, frame_count(len(said.split())))]


def tokens_of(part: Segment) -> int:
    """About how many tokens a part will be: never fewer."""
    if part.kind == "text":
        return -(-len(part.value.encode()) // CHARACTERS_PER_TOKEN) + 1
    return int(np.asarray(part.value).size) + 2


def within(parts: Content, room: int = ROOM) -> Content:
    """The first parts that fit into `room` tokens; of a text alone, its beginning."""
    kept: Content = []
    for part in parts:
        room -= tokens_of(part)
        if room < 0:
            break
        kept.append(part)
    if not kept and parts and parts[0].kind == "text":
        cut = parts[0].value.encode()[: ROOM * CHARACTERS_PER_TOKEN].decode(errors="ignore")
        kept = [text(cut[: cut.rfind(" ")] if " " in cut else cut)]
    return kept


def scored(record: Record, least: float = IMAGE_SCORE) -> set[int]:
    """Numbers of the pictures of a document that fit their text well enough; all, where the set has no scores."""
    scores = json.loads(record.get("scores", "[]"))
    count = len(codes(record, "pictures"))
    return {n for n in range(count) if not scores or scores[n] >= least}


def can_be_spoken(record: Record) -> bool:
    """Whether speech with all its layers fits in a row."""
    return has("transcript")(record) and codes(record, "audio").size <= SPOKEN_TOKENS
