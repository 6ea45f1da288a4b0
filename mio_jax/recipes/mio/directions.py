"""The any-to-any directions that MIO's tiny data can train, as chats: prompts, targets and shuffled controls."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from mio_jax.config import RunConfig
from mio_jax.protocols import Direction, Segment
from mio_jax.recipes.mio import tasks
from mio_jax.recipes.mio.tasks import Content, Record


def question_of(record: Record) -> tuple[str, str]:
    """One (question, answer) of an easy-vqa record, always the same one."""
    questions = json.loads(record["questions"])
    digest = hashlib.sha256(str(record["id"]).encode()).digest()
    query, answer = questions[int.from_bytes(digest[:4], "big") % len(questions)]
    return query, answer


def _swap(*fields: str) -> Any:
    """shuffle(record, other): `record` with these fields of `other`."""

    def shuffle(record: Record, other: Record) -> Record:
        return {**record, **{field: other[field] for field in fields}}

    return shuffle


def _caption_prompt(record: Record) -> Content:
    return tasks.question(*tasks.ask_caption(record["image"]))


def _image_prompt(record: Record) -> Content:
    return tasks.question(*tasks.ask_image(record["caption"]))


def _mask_prompt(record: Record) -> Content:
    return tasks.question(*tasks.ask_mask(record["image"]))


def _interleaved_prompt(record: Record) -> Content:
    return tasks.question(*tasks.ask_what_and_where(record["image"]))


def _sound_prompt(record: Record) -> Content:
    return tasks.question(*tasks.ask_sound(record["caption"]))


def _describe_prompt(record: Record) -> Content:
    return tasks.question(*tasks.ask_sound_description(record["audio"]))


def _answer_prompt(record: Record) -> Content:
    return tasks.question(*tasks.ask_about_image(question_of(record)[0], record["image"]))


def _caption_target(record: Record) -> Content:
    return [Segment("text", record["caption"])]


def _image_target(record: Record) -> Content:
    return [Segment("image", record["image"])]


def _mask_target(record: Record) -> Content:
    return [Segment("image", record["mask"])]


def _interleaved_target(record: Record) -> Content:
    return tasks.reply_what_and_where(record["caption"], record["mask"])


def _audio_target(record: Record) -> Content:
    return [Segment("audio", record["audio"])]


def _answer_target(record: Record) -> Content:
    return [Segment("text", question_of(record)[1])]


# What is read greedily has one right answer; pictures and sounds are drawn with the configured temperature and top-p.
_DIRECTIONS = (
    Direction(
        "text->image",
        "mio_openmoji_text_to_image",
        _image_prompt,
        _image_target,
        _swap("caption", "meta/group", "meta/tone"),
        "picture_rank",
        {"differs": ("caption",), "opens": "image"},
        max_new_tokens=72,
    ),
    Direction(
        "image->text",
        "mio_openmoji_image_to_text",
        _caption_prompt,
        _caption_target,
        _swap("image"),
        "caption_rank",
        {"differs": ("caption",)},
        max_new_tokens=24,
    ),
    Direction(
        "text->audio",
        "mio_instruments_text_to_audio",
        _sound_prompt,
        _audio_target,
        _swap("caption"),
        "sound_match",
        {"differs": ("caption",), "opens": "audio"},
        max_new_tokens=108,
    ),
    Direction(
        "audio->text",
        "mio_instruments_audio_to_text",
        _describe_prompt,
        _caption_target,
        _swap("audio"),
        "sound_description",
        {"differs": ("caption",), "greedy": True},
        max_new_tokens=24,
    ),
    Direction(
        "image+question->text",
        "mio_easy_vqa_answer",
        _answer_prompt,
        _answer_target,
        _swap("image"),
        "answer",
        {"differs": ("meta/shape", "meta/colour"), "greedy": True, "question": question_of},
        max_new_tokens=12,
    ),
    Direction(
        "image->mask",
        "mio_openmoji_image_to_mask",
        _mask_prompt,
        _mask_target,
        _swap("image"),
        "mask_iou",
        {"differs": ("caption",), "greedy": True, "opens": "image"},
        max_new_tokens=72,
    ),
    Direction(
        "image->text+mask",
        "mio_openmoji_interleaved",
        _interleaved_prompt,
        _interleaved_target,
        _swap("image"),
        "interleaved_answer",
        {"differs": ("caption",), "greedy": True},
        max_new_tokens=112,
    ),
    Direction(
        "text->image:shapes",
        "mio_easy_vqa_shapes_text_to_image",
        _image_prompt,
        _image_target,
        _swap("caption"),
        "shape_and_colour",
        {"differs": ("caption",), "needs": ("caption",), "opens": "image"},
        max_new_tokens=72,
    ),
)


def directions(config: RunConfig) -> tuple[Direction, ...]:
    """Every direction that this recipe's data trains, in the order of the report."""
    return _DIRECTIONS
