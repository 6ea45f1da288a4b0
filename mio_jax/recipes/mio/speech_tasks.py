"""Speech and its transcript: MIO's wordings both ways, as kinds of task for any set of spoken sentences.

A set is put into a run by one line, `AddedSet("speech", "mio_jax.data.sources.speech:SpeechFolder", "own_speech",
("speech_to_text", "text_to_speech"))`; its records have "audio" codes and a "transcript". MIO listens to the first
layer of codes alone and speaks in all of them, one layer after another (specification 3.4). Base style has the
templates of stage III, chat style the wordings of the published examples and of the evaluation (4.1, 4.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mio_jax.config import AddedSet
from mio_jax.protocols import Direction
from mio_jax.recipes.mio import tasks
from mio_jax.recipes.mio.mixtures.parts import Kind
from mio_jax.recipes.mio.tasks import Content, Record, audio, chat, document, text
from mio_jax.recipes.mio.tokens import TURN_CLOSE

ROOM = 400  # tokens of an answer beyond those of the longest words: four seconds of a hundred codes each


def ask_transcription(codes: Any) -> Content:
    """`codes` [layers, frames], of which the first layer is shown."""
    return [text("Please transcribe this speech.\n"), audio(codes[:1])]


def ask_speech(transcript: str) -> Content:
    return [text(f"Please generate a speech according to the given transcription.\n{transcript}")]


def speech_to_text(record: Record, rng: np.random.Generator, style: str) -> Content:
    if style == "chat":
        return chat(ask_transcription(record["audio"]), [text(record["transcript"])])
    heard = audio(record["audio"][:1])
    return document(heard, text(f" The transcription of this speech is: {record['transcript']}"))


def text_to_speech(record: Record, rng: np.random.Generator, style: str) -> Content:
    if style == "chat":
        return chat(ask_speech(record["transcript"]), [audio(record["audio"])])
    return document(text(f"Please generate a speech of ``{record['transcript']}'': "), audio(record["audio"]))


KINDS: dict[str, Kind] = {
    "speech_to_text": Kind(speech_to_text, "speech -> its words, in the stage's style", "audio", "text"),
    "text_to_speech": Kind(text_to_speech, "words -> speech, in the stage's style", "text", "audio"),
}


def task_name(added: AddedSet, kind: str) -> str:
    return f"mio_{added.name}_{kind}"


def added_directions(added: Sequence[AddedSet]) -> tuple[Direction, ...]:
    """Both ways of every set, as chats; a second set's have its name behind them."""
    made = []
    for number, one in enumerate(added):
        ending = f":{one.name}" if number else ""
        if "speech_to_text" in one.kinds:
            made.append(_transcription(f"speech->text{ending}", task_name(one, "speech_to_text")))
        if "text_to_speech" in one.kinds:
            made.append(_speech(f"text->speech{ending}", task_name(one, "text_to_speech")))
    return tuple(made)


def _transcription(name: str, task: str) -> Direction:
    return Direction(
        name,
        task,
        lambda record: tasks.question(*ask_transcription(record["audio"])),
        lambda record: [text(record["transcript"])],
        lambda record, other: {**record, "audio": other["audio"]},
        "transcription",
        {
            "differs": ("transcript",),
            "stop": (TURN_CLOSE,),
            "greedy": True,
            "grammar": {"begin": "text", "media": ()},
            "shown": lambda record: [text("Please transcribe this speech.\n"), audio(record["audio"])],
        },
        64,
    )


def _speech(name: str, task: str) -> Direction:
    return Direction(
        name,
        task,
        lambda record: tasks.question(*ask_speech(record["transcript"])),
        lambda record: [audio(record["audio"])],
        lambda record, other: {**record, "transcript": other["transcript"]},
        "speech_rank",
        {
            "differs": ("transcript",),
            "stop": (TURN_CLOSE,),
            "grammar": {"begin": "audio", "after": "stop"},
            "shown": lambda record: ask_speech(record["transcript"]),
        },
        ROOM,
    )
