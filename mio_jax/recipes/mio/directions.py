"""The any-to-any directions that MIO's tiny data can train, as chats: prompts, targets and shuffled controls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from mio_jax.config import RunConfig
from mio_jax.protocols import Direction
from mio_jax.recipes.mio import tasks
from mio_jax.recipes.mio.speech_tasks import added_directions
from mio_jax.recipes.mio.tasks import Content, Record
from mio_jax.recipes.mio.tokens import TURN_CLOSE


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


Ask = Callable[[Record], Content]
PICTURE = {"begin": "image", "after": "stop"}
SOUND = {"begin": "audio", "after": "stop"}
WORDS = {"begin": "text", "media": ()}
WORDS_AND_PICTURES = {"begin": "text", "media": ("image",)}


def _direction(
    name: str,
    task: str,
    ask: Ask,
    target: Ask,
    swap: tuple[str, ...],
    metric: str,
    room: int,
    grammar: dict[str, Any],
    **options: Any,
) -> Direction:
    """A direction whose prompt is a user turn of `ask`'s content.

    Options (see `mio_jax.evaluate`): `differs`: fields in one of which a control's conditioning must differ; `grammar`:
    what the answer may hold; `stop`: what ends it beside the end token; `shown`: the prompt for people; `greedy`: where
    there is one right answer (pictures and sounds are drawn with the configured temperature and top-p instead);
    `examples_factor`: how many times more held-out examples (if there are) a score takes that varies much from one to
    the next: ranks and yes/no answers do.
    """
    defaults = {"differs": ("caption",), "grammar": grammar, "stop": (TURN_CLOSE,), "shown": ask}
    return Direction(
        name,
        task,
        lambda record: tasks.question(*ask(record)),
        target,
        _swap(*swap),
        metric,
        {**defaults, **options},
        room,
    )


_DIRECTIONS = (
    _direction(
        "text->image",
        "mio_openmoji_text_to_image",
        lambda record: tasks.ask_image(record["caption"]),
        lambda record: [tasks.image(record["image"])],
        ("caption",),
        "picture_rank",
        72,
        PICTURE,
        examples_factor=2,
    ),
    _direction(
        "image->text",
        "mio_openmoji_image_to_text",
        lambda record: tasks.ask_caption(record["image"]),
        lambda record: [tasks.text(record["caption"])],
        ("image",),
        "caption_rank",
        24,
        WORDS,
        examples_factor=2,
        greedy=True,
    ),
    _direction(
        "text->audio",
        "mio_instruments_text_to_audio",
        lambda record: tasks.ask_sound(record["caption"]),
        lambda record: [tasks.audio(record["audio"])],
        ("caption",),
        "sound_match",
        108,
        SOUND,
    ),
    _direction(
        "audio->text",
        "mio_instruments_audio_to_text",
        lambda record: tasks.ask_sound_description(record["audio"]),
        lambda record: [tasks.text(record["caption"])],
        ("audio",),
        "sound_description",
        24,
        WORDS,
        greedy=True,
    ),
    _direction(
        "image+question->text",
        "mio_easy_vqa_answer",
        lambda record: tasks.ask_about_image(question_of(record)[0], record["image"]),
        lambda record: [tasks.text(question_of(record)[1])],
        ("image",),
        "answer",
        12,
        WORDS,
        examples_factor=2,
        greedy=True,
        differs=("meta/shape", "meta/colour"),
        question=question_of,
    ),
    _direction(
        "image->mask",
        "mio_openmoji_image_to_mask",
        lambda record: tasks.ask_mask(record["image"]),
        lambda record: [tasks.image(record["mask"])],
        ("image",),
        "mask_iou",
        72,
        PICTURE,
        greedy=True,
    ),
    _direction(
        "image->text+mask",
        "mio_openmoji_interleaved",
        lambda record: tasks.ask_what_and_where(record["image"]),
        lambda record: tasks.reply_what_and_where(record["caption"], record["mask"]),
        ("image",),
        "interleaved_answer",
        112,
        WORDS_AND_PICTURES,
        greedy=True,
    ),
    _direction(
        "text->image:shapes",
        "mio_easy_vqa_shapes_text_to_image",
        lambda record: tasks.ask_image(record["caption"]),
        lambda record: [tasks.image(record["image"])],
        ("caption",),
        "shape_and_colour",
        72,
        PICTURE,
        top_p=1.0,  # a small shape on wide paper is never in the nucleus: at every place, paper is likelier
    ),
)


def directions(config: RunConfig) -> tuple[Direction, ...]:
    """Every direction that this recipe's data trains, in the order of the report; with sets of one's own, theirs."""
    return added_directions(config.data.added) or _DIRECTIONS
