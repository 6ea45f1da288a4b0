"""How the model is asked and decoded: wordings, published settings, and what stands for a grammar.

An answer is of one modality from its first token to its last, because each has a head of its own; so the only rule
that a grammar would hold is which head speaks (`Grammar.begin`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from mio_jax.config import RunConfig
from mio_jax.data.token_space import TokenSpace
from mio_jax.errors import MioError
from mio_jax.generate.sampling import SamplingConfig
from mio_jax.protocols import Segment
from mio_jax.recipes.unified_io2 import prompts
from mio_jax.recipes.unified_io2.decoding import TargetDecoder, bind
from mio_jax.recipes.unified_io2.features import Sample
from mio_jax.recipes.unified_io2.inputs import Batch
from mio_jax.recipes.unified_io2.model import UnifiedIO2
from mio_jax.recipes.unified_io2.prompts import PREFIXES, prefixed
from mio_jax.recipes.unified_io2.row_arrays import prompt_batch, spec_of
from mio_jax.recipes.unified_io2.spec import RESERVED, TARGETS

# Specification 19.2: the paper's settings, and those of the released runner. Guidance is asked for beside them.
PUBLISHED = MappingProxyType(
    {
        "paper": {
            "text": SamplingConfig(greedy=True),
            "image": SamplingConfig(top_p=0.95),
            "audio": SamplingConfig(top_p=0.95),
        },
        "repository": {
            "text": SamplingConfig(greedy=True),
            "image": SamplingConfig(top_p=0.9),
            "audio": SamplingConfig(top_p=0.9),
        },
    }
)
# wording -> (task of `prompts`, kinds of content that it takes, modality of the answer)
WORDINGS = MappingProxyType(
    {
        "image": ("text_to_image", ("text",), "image"),
        "caption": ("image_captioning", ("pixels",), "text"),
        "answer": ("vqa", ("text", "pixels"), "text"),
        "sound": ("text_to_audio", ("text",), "audio"),
        "description": ("audio_captioning", ("sound",), "text"),
    }
)


def ask(name: str, content: list[Segment]) -> tuple[list[Segment], str]:
    """Content put into a trained wording -> (segments, modality of the answer).

    Raises MioError naming the wordings that there are, or what kinds of content this one takes.
    """
    if name not in WORDINGS:
        raise MioError(f"there is no wording {name!r}; there are: {', '.join(WORDINGS)}")
    task, kinds, says = WORDINGS[name]
    given = sorted({segment.kind for segment in content})
    if given != sorted(kinds):
        raise MioError(f"wording {name!r} takes {' and '.join(kinds)}, not {' and '.join(given) or 'nothing'}")
    words = ["".join(s.value for s in content if s.kind == "text")] if "text" in kinds else []
    return [Segment("text", prompts.prompt(task, *words)), *(s for s in content if s.kind != "text")], says


def prompt(content: list[Segment], style: str) -> list[Segment]:
    """Content with the piece that names the output; text is asked for where the content does not say."""
    written = "".join(s.value for s in content if s.kind == "text")
    media = [s for s in content if s.kind != "text"]
    if not written.startswith(tuple(PREFIXES.values())):
        written = prefixed(written.strip(), "text")
    return [Segment("text", written), *media]


def published_sampling(output: str, source: str = "paper") -> SamplingConfig:
    """The publication's settings for an output. Raises MioError if it has none."""
    settings = PUBLISHED[source]
    if output not in settings:
        raise MioError(f"Unified-IO 2 has no settings for {output!r}; it has them for {', '.join(settings)}")
    return settings[output]


def stop_strings(style: str) -> tuple[str, ...]:
    """None: a text ends with the end mark, a picture and a sound by their number of codes."""
    return ()


@dataclass(frozen=True)
class Speaker:
    """Which head speaks: `begin` is a target modality, "" is text. What a grammar's other settings say, heads enforce.

    Raises MioError on an unknown modality.
    """

    begin: str = ""

    def __post_init__(self) -> None:
        if self.begin not in ("", *TARGETS):
            raise MioError(f"an answer cannot begin with {self.begin!r}; it is one of {', '.join(TARGETS)}")

    def replace(self, **changes: Any) -> Speaker:
        return dataclasses.replace(self, **changes)


def grammar(space: TokenSpace) -> Speaker:
    """Text, until `replace(begin=...)` says otherwise."""
    return Speaker()


def segment(kind: str, media: Any, tokenizers: Any) -> Segment:
    """A user's medium as the model is shown it: itself, not its codes."""
    return Segment({"image": "pixels", "audio": "sound"}.get(kind, kind), media)


@dataclass(frozen=True)
class Decoding:
    """What `mio_jax.generate.EncodedEngine` needs to know; see `mio_jax.protocols.EncodedDecoding`."""

    config: RunConfig
    space: TokenSpace

    def batch(self, prompts: Sequence[Sample]) -> dict[str, np.ndarray]:
        return prompt_batch(prompts, self.config)

    def bind(self, model: UnifiedIO2, modality: str, batch: Batch) -> TargetDecoder:
        return bind(model, modality, batch)

    def length(self, modality: str) -> int:
        return 0 if modality == "text" else spec_of(self.config).tokens_of(modality)

    def ids(self, modality: str, tokens: np.ndarray) -> np.ndarray:
        block = self.space.block(modality)
        if modality == "text":
            return tokens.astype(np.int32)
        # The tables' other rows are ordinary logits that no target ever had: what is drawn there is clipped.
        return (np.clip(tokens - RESERVED, 0, block.size - 1) + block.start).astype(np.int32)

    def tokens(self, ids: np.ndarray) -> tuple[str, np.ndarray]:
        [kind] = {self.space.modalities[i] for i in np.unique(self.space.modality_ids(ids))}
        shift = 0 if kind == "text" else RESERVED - self.space.block(kind).start
        return kind, (np.asarray(ids) + shift).astype(np.int32)


def encoded_decoding(config: RunConfig, space: TokenSpace) -> Decoding:
    """How a trained run is decoded."""
    return Decoding(config, space)
