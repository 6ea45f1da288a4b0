"""The tasks by name that a trained MIO answers: their wordings, what they are shown and what they give.

Wordings (specification 4.1, 4.2): of each task the one that this repository trains (the published examples'), the base
model's template, and, where the paper evaluates it, the paper's. `{text}`, `{image}`, `{video}` and `{audio}` are where
the inputs go. Of answers to questions about pictures the paper says that it takes lmms-eval's templates; where the
picture stands is not said, and it stands where MIO's published examples have it, after the question.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from mio_jax.task_protocol import Asked, TaskInfo, TaskSettings

BASE, EVALUATION = "base", "evaluation"
SHORT_ANSWER = "\nAnswer the question using a single word or phrase."
UNANSWERABLE = "\nWhen the provided information is insufficient, respond with 'Unanswerable'."
VIDEO_QA = (
    "The goal is to use the visual information available in the image to provide an accurate answer to the question. "
    "This requires careful observation, attention to detail, and sometimes a bit of creative thinking."
    "{video} Question: {text} Answer:"
)
EXAM = "The following are multiple choice questions (with answers) about {text}"


class Entry(NamedTuple):
    """A task.

    Attributes:
      chat: name of a wording -> it, "" is the trained one; empty: a base model alone has the task.
      base: the base model's template; "": a chat alone has the task.
      output: "text", "image", "audio" or "video".
      most: tokens of a text or a sound, frames of a video.
      content_alone: of a sound only the first layer of codes is shown, as MIO listens to speech (3.4).
      voice: the system turn asks for speech (4.2).
      one_line: of what a base model writes, which goes on with another document, the first line is the answer.
    """

    info: TaskInfo
    chat: Mapping[str, str]
    base: str
    output: str = "text"
    most: int = 64
    content_alone: bool = False
    voice: bool = False
    one_line: bool = True


def _entry(
    name: str,
    summary: str,
    needs: str,
    chat: str | Mapping[str, str],
    base: str = "",
    *,
    takes: str = "",
    gives: str = "text",
    **more: object,
) -> Entry:
    wordings = {"": chat} if isinstance(chat, str) else dict(chat)
    info = TaskInfo(name, summary, tuple(needs.split()), tuple(takes.split()), tuple(gives.split()))
    return Entry(info, MappingProxyType({k: v for k, v in wordings.items() if v}), base, **more)  # type: ignore[arg-type]


_ENTRIES = (
    _entry(
        "caption",
        "a sentence about a picture",
        "image",
        {
            "": "Provide a one-sentence caption for the provided image.\n{image}",
            EVALUATION: "Provide a one-sentence caption for the provided image. {image}",
        },
        "{image} The caption of this image is",
    ),
    _entry(
        "describe",
        "a detailed description of a picture",
        "image",
        "Please provide an accurate and detailed description of this image.\n{image}",
        most=256,
    ),
    _entry(
        "vqa",
        "an answer to a question about a picture",
        "image text",
        {
            "": "{text}\n{image}",
            EVALUATION: "{text}" + SHORT_ANSWER + "\n{image}",
            "vizwiz": "{text}" + UNANSWERABLE + SHORT_ANSWER + "\n{image}",
        },
        "{image} Question: {text} Answer:",
        takes="options",
        most=32,
    ),
    _entry(
        "image_generation",
        "a picture of what a text says",
        "text",
        {
            "": "Please generate an image according to the caption.\n{text}",
            EVALUATION: "Please generate an image according to the given description. {text}",
        },
        "Please generate an image of ``{text}'': ",
        gives="picture",
        output="image",
    ),
    _entry(
        "video_caption",
        "a sentence about a video",
        "video",
        "Please describe the following video.\n{video}",
        "Please describe the following video: {video}",
    ),
    _entry(
        "video_qa",
        "a short answer about a video",
        "video text",
        {"": "{text}\n{video}", EVALUATION: VIDEO_QA},
        VIDEO_QA,
        takes="options",
        most=32,
    ),
    _entry(
        "video_generation",
        "the frames of a video of what a text says",
        "text",
        "Please generate a video for ``{text}''.",
        "Please generate a video for ``{text}'': ",
        gives="video",
        output="video",
        most=8,
    ),
    _entry(
        "transcription",
        "what is said in a recording",
        "audio",
        {"": "Please transcribe this speech.\n{audio}", EVALUATION: "Please transcribe this speech.{audio}"},
        "{audio} The transcription of this speech is",
        most=256,
        content_alone=True,
    ),
    _entry(
        "speech",
        "a text read aloud",
        "text",
        {
            "": "The transcription is ``{text}''. Please generate a speech according to the given transcription. "
            "Start with <spch>.",
            EVALUATION: "Please generate a speech according to the given transcription. Start with <spch>. {text}",
        },
        "Please generate a speech of ``{text}'': ",
        gives="sound",
        output="audio",
        most=4096,
        voice=True,
    ),
    _entry(
        "spoken_reply",
        "a spoken answer to what is said in a recording",
        "audio",
        "{audio}",
        gives="sound",
        output="audio",
        most=4096,
        content_alone=True,
        voice=True,
    ),
    _entry(
        "audio_caption",
        "a phrase about a sound",
        "audio",
        "Please describe this sound.\n{audio}",
        "{audio} The description of this sound is",
    ),
    _entry(
        "audio_generation",
        "a sound as a text describes it",
        "text",
        "Please generate a sound according to the given description.\n{text}",
        "Please generate a sound of ``{text}'': ",
        gives="sound",
        output="audio",
        most=4096,
    ),
    _entry(
        "instruction", "an answer to any instruction", "text", "{text}", takes="image video audio options", most=256
    ),
    _entry(
        "continuation",
        "how a text goes on",
        "text",
        "Please continue this text.\n{text}",
        "{text}",
        takes="options",
        most=256,
        one_line=False,
    ),
    _entry(
        "exam",
        "the letter of the right answer: text is the subject, the question and its lettered answers",
        "text options",
        EXAM,
        EXAM,
    ),
)
TABLE: dict[str, Entry] = {entry.info.name: entry for entry in _ENTRIES}


def task_infos() -> dict[str, TaskInfo]:
    """What the tasks need and give, by name."""
    return {name: entry.info for name, entry in TABLE.items()}


def suite_asks() -> dict[str, dict[str, Asked]]:
    """How suites' kinds of examples are asked: in the paper's evaluation wordings, where it has them (4.2)."""
    paper = TaskSettings(wording=EVALUATION)
    kinds = {name: Asked(name, paper) for name, entry in TABLE.items() if EVALUATION in entry.chat}
    own = kinds | {
        "vizwiz": Asked("vqa", TaskSettings(wording="vizwiz")),
        "multiple_choice": Asked("vqa"),  # by likelihood of the answers themselves: the question alone is asked
    }
    return dict.fromkeys(("mio", "coco", "vqav2", "folder", "audiocaps"), own)
