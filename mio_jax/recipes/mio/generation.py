"""How MIO is decoded: the published settings of each output modality (specification 6.1) and its modality grammar."""

from __future__ import annotations

from types import MappingProxyType

from mio_jax.data.token_space import TokenSpace
from mio_jax.errors import MioError
from mio_jax.generate.grammar import Grammar
from mio_jax.generate.sampling import SamplingConfig
from mio_jax.protocols import Segment
from mio_jax.recipes.mio.prompts import STOP_WORDS
from mio_jax.recipes.mio.tasks import question

# The paper's table 11. Nothing is guided, and top-k is off everywhere.
PUBLISHED = MappingProxyType(
    {
        "text": SamplingConfig(num_beams=5, greedy=True),
        "image": SamplingConfig(top_p=0.7),
        "audio": SamplingConfig(top_p=0.7, repetition_penalty=1.15),
        "video": SamplingConfig(top_p=0.7, repetition_penalty=1.15),
        "interleaved": SamplingConfig(top_p=0.7, repetition_penalty=1.15),
    }
)


def published_sampling(output: str) -> SamplingConfig:
    """The paper's settings for an output of "text", "image", "audio", "video" or "interleaved". Raises MioError."""
    if output not in PUBLISHED:
        raise MioError(f"there are no published decoding settings for {output!r}; there are: {', '.join(PUBLISHED)}")
    return PUBLISHED[output]


def grammar(space: TokenSpace) -> Grammar:
    """The grammar of MIO's spans: an image has exactly its codes, the layers of a sound have equal length (3.3, 3.4).

    The published decoder has none (6.2): leave it out for runs that must equal it.
    """
    return Grammar(space)


def prompt(content: list[Segment], style: str) -> list[Segment]:
    """A user's content as a prompt: "base" as it stands, "chat" as a user turn with the reply opened."""
    return question(*content) if style == "chat" else list(content)


def stop_strings(style: str) -> tuple[str, ...]:
    """What ends a response besides the end token: the closing of a turn in a chat."""
    return STOP_WORDS if style == "chat" else ()
