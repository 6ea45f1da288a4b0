"""How MIO is asked and decoded: trained wordings, the published settings of each output, the modality grammar."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any, NamedTuple

from mio_jax.data.token_space import TokenSpace
from mio_jax.errors import MioError
from mio_jax.generate.grammar import Grammar
from mio_jax.generate.sampling import SamplingConfig
from mio_jax.protocols import Segment
from mio_jax.recipes.mio import speech_tasks, tasks
from mio_jax.recipes.mio.prompts import STOP_WORDS

# Specification 6.1: the paper's table 11, and what the repository recommends. Nothing is guided, and top-k is off.
_NUCLEUS = SamplingConfig(top_p=0.7, repetition_penalty=1.15)
PUBLISHED = MappingProxyType(
    {
        "paper": {
            "text": SamplingConfig(num_beams=5),
            "image": SamplingConfig(top_p=0.7),
            "audio": _NUCLEUS,  # text to speech
            "audio reply": _NUCLEUS,  # speech that reads no text out
            "audio to audio": _NUCLEUS,
            "video": _NUCLEUS,
            "interleaved": _NUCLEUS,
        },
        "repository": {
            "text": SamplingConfig(num_beams=5),
            "image": SamplingConfig(num_beams=5, repetition_penalty=1.15),
            "audio": _NUCLEUS,
            "audio reply": SamplingConfig(num_beams=5, repetition_penalty=2.0),
            "audio to audio": SamplingConfig(num_beams=5, repetition_penalty=1.15),
            "video": _NUCLEUS,
            "interleaved": _NUCLEUS,
        },
    }
)

# What is behind so many tokens of a prompt, on its right, the published code cuts off.
PROMPT_TOKENS = MappingProxyType({"base": 3000, "chat": 2048})


class Wording(NamedTuple):
    """A request that the tasks train: `build` takes the value of each kind in `takes`; answers begin with `begins`."""

    build: Callable[..., list[Segment]]
    takes: tuple[str, ...]
    begins: str


WORDINGS = MappingProxyType(
    {
        "image": Wording(tasks.ask_image, ("text",), "image"),
        "sound": Wording(tasks.ask_sound, ("text",), "audio"),
        "caption": Wording(tasks.ask_caption, ("image",), "text"),
        "mask": Wording(tasks.ask_mask, ("image",), "image"),
        "what-and-where": Wording(tasks.ask_what_and_where, ("image",), "text"),
        "answer": Wording(tasks.ask_about_image, ("text", "image"), "text"),
        "describe": Wording(tasks.ask_sound_description, ("audio",), "text"),
        "transcribe": Wording(speech_tasks.ask_transcription, ("audio",), "text"),
        "speak": Wording(speech_tasks.ask_speech, ("text",), "audio"),
    }
)


def published_sampling(output: str, source: str = "paper") -> SamplingConfig:
    """The settings for an output by the "paper" or the "repository". Raises MioError where there are none."""
    if source not in PUBLISHED:
        raise MioError(f"decoding settings are of one of {', '.join(PUBLISHED)}, not of {source!r}")
    if output not in PUBLISHED[source]:
        raise MioError(f"the {source} has no decoding settings for {output!r}; it has: {', '.join(PUBLISHED[source])}")
    return PUBLISHED[source][output]


def published_prompt_tokens(style: str) -> int:
    """How many tokens of a "base" or "chat" prompt the published code keeps, from its beginning on (6.1)."""
    return PROMPT_TOKENS[style]


def grammar(space: TokenSpace) -> Grammar:
    """The grammar of MIO's spans: an image has exactly its codes, the layers of a sound have equal length (3.3, 3.4).

    The published decoder has none (6.2): leave it out for runs that must equal it.
    """
    return Grammar(space)


def prompt(content: list[Segment], style: str) -> list[Segment]:
    """A user's content as a prompt: "base" as it stands, "chat" as a user turn with the reply opened."""
    return tasks.question(*content) if style == "chat" else list(content)


def ask(name: str, content: list[Segment]) -> tuple[list[Segment], str]:
    """Puts content into the words that a task trains.

    Args:
      name: of `WORDINGS`.
      content: one segment of each kind that the wording takes, in any order.

    Returns:
      (content of a user turn, what the answer begins with).

    Raises:
      MioError: an unknown name, or content of other kinds.
    """
    if name not in WORDINGS:
        raise MioError(f"there is no wording {name!r}; there are: {', '.join(WORDINGS)}")
    wording = WORDINGS[name]
    values = {segment.kind: segment.value for segment in content}
    if sorted(segment.kind for segment in content) != sorted(wording.takes):
        got = ", ".join(segment.kind for segment in content) or "nothing"
        raise MioError(f"the wording {name!r} takes one {' and one '.join(wording.takes)}; it got: {got}")
    return wording.build(*(values[kind] for kind in wording.takes)), wording.begins


def stop_strings(style: str) -> tuple[str, ...]:
    """What ends a response besides the end token: the closing of a turn in a chat."""
    return STOP_WORDS if style == "chat" else ()


def segment(kind: str, media: Any, tokenizers: Any) -> Segment:
    """A user's medium as the model reads it: as codes."""
    return Segment(kind, media if kind == "text" else getattr(tokenizers, kind).encode(media))
