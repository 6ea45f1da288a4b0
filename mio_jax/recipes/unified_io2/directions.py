"""The directions that the tiny data can train: prompts, targets and shuffled controls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from mio_jax.config import RunConfig
from mio_jax.protocols import Direction, Segment
from mio_jax.recipes.unified_io2 import tasks
from mio_jax.recipes.unified_io2.tasks import Content, Record


def question_of(record: Record) -> tuple[str, str]:
    """One (question, answer) of an easy-vqa record, always the same one."""
    questions = json.loads(record["questions"])
    digest = hashlib.sha256(str(record["id"]).encode()).digest()
    query, answer = questions[int.from_bytes(digest[:4], "big") % len(questions)]
    return query, answer


def _swap(*fields: str) -> Callable[[Record, Record], Record]:
    """shuffle(record, other): `record` with these fields of `other`."""
    return lambda record, other: {**record, **{field: other[field] for field in fields}}


def _shown(ask: Callable[[Record], Content]) -> Callable[[Record], Content]:
    """The prompt for people: media as their codes, which tokenizers turn back into what was seen."""

    def show(record: Record) -> Content:
        codes = {"pixels": "image", "sound": "audio"}
        return [s if s.kind == "text" else Segment(codes[s.kind], record[codes[s.kind]]) for s in ask(record)]

    return show


def _direction(
    name: str,
    task: str,
    ask: Callable[[Record], Content],
    target: Callable[[Record], Segment],
    swap: tuple[str, ...],
    metric: str,
    room: int,
    says: str,
    **options: Any,
) -> Direction:
    """Options are those of `mio_jax.evaluate`; see MIO's directions."""
    defaults = {"differs": ("caption",), "grammar": {"begin": says}, "shown": _shown(ask)}
    return Direction(
        name, task, ask, lambda record: [target(record)], _swap(*swap), metric, {**defaults, **options}, room
    )


PICTURE, SOUND = ("image", "raw/image"), ("audio", "raw/audio", "raw/audio_rate")

_DIRECTIONS = (
    _direction(
        "text->image",
        "uio2_openmoji_text_to_image",
        lambda record: tasks.ask_image(record["caption"]),
        lambda record: Segment("image", record["image"]),
        ("caption",),
        "picture_rank",
        64,
        "image",
        examples_factor=2,
    ),
    _direction(
        "image->text",
        "uio2_openmoji_image_to_text",
        tasks.ask_caption,
        lambda record: Segment("text", tasks.clean(record["caption"])),
        PICTURE,
        "caption_rank",
        24,
        "text",
        greedy=True,
        examples_factor=2,
    ),
    _direction(
        "text->audio",
        "uio2_instruments_text_to_audio",
        lambda record: tasks.ask_sound(record["caption"]),
        lambda record: Segment("audio", record["audio"]),
        ("caption",),
        "sound_match",
        100,
        "audio",
    ),
    _direction(
        "audio->text",
        "uio2_instruments_audio_to_text",
        tasks.ask_sound_description,
        lambda record: Segment("text", record["caption"]),
        SOUND,
        "sound_description",
        24,
        "text",
        greedy=True,
    ),
    _direction(
        "image+question->text",
        "uio2_easy_vqa_answer",
        lambda record: tasks.ask_about_image(record, question_of(record)[0]),
        lambda record: Segment("text", question_of(record)[1]),
        PICTURE,
        "answer",
        12,
        "text",
        greedy=True,
        differs=("meta/shape", "meta/colour"),
        question=question_of,
        examples_factor=2,
    ),
    _direction(
        "image->mask",
        "uio2_openmoji_image_to_mask",
        tasks.ask_mask,
        lambda record: Segment("image", record["mask"]),
        PICTURE,
        "mask_iou",
        64,
        "image",
        greedy=True,
    ),
    _direction(
        "text->image:shapes",
        "uio2_easy_vqa_shapes_text_to_image",
        lambda record: tasks.ask_image(record["caption"]),
        lambda record: Segment("image", record["image"]),
        ("caption",),
        "shape_and_colour",
        64,
        "image",
        top_p=1.0,  # a small shape on wide paper is never in the nucleus: at every place, paper is likelier
    ),
)


def directions(config: RunConfig) -> tuple[Direction, ...]:
    """Every direction that this recipe's data trains, in the order of the report."""
    return _DIRECTIONS
