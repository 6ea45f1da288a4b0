"""Where each modality's ids live in one vocabulary: a table, so that a layout is data and not code."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import numpy as np

from mio_jax.errors import MioError


@dataclass(frozen=True)
class Block:
    """A run of ids: `size` ids from `start`. Codes of `layers` residual layers follow one another layer by layer."""

    name: str  # "text", "specials", "image", "speech", "location"
    modality: str  # one of TokenSpace.modalities
    start: int
    size: int
    layers: int = 1
    token_format: str = ""  # "<img{}>" or "<img_{:05d}>": the string form of code n, if it has one

    @property
    def stop(self) -> int:
        return self.start + self.size

    @property
    def codes_per_layer(self) -> int:
        return self.size // self.layers

    @property
    def token_pattern(self) -> str:
        """A regular expression of the string forms: numbers without leading zeros, or of a fixed width."""
        return _pattern_of(self.token_format)

    def code_of(self, token: str) -> int | None:
        """The code that a string stands for; None: it is no form of this block, or its number is too large."""
        match = re.fullmatch(_pattern_of(self.token_format, "(", ")"), token) if self.token_format else None
        return int(match[1]) if match and int(match[1]) < self.size else None


@functools.lru_cache(maxsize=64)
def _pattern_of(token_format: str, before: str = "(?:", after: str = ")") -> str:
    head, width, tail = re.fullmatch(r"(.*)\{(?::0(\d+)d)?\}(.*)", token_format, re.DOTALL).groups()  # type: ignore[union-attr]
    number = rf"[0-9]{{{width}}}" if width else "0|[1-9][0-9]*"
    return f"{re.escape(head)}{before}{number}{after}{re.escape(tail)}"


@dataclass(frozen=True)
class Span:
    """How media stand in a sequence: `open` codes `close`. `length`: codes in a span, or 0 where it varies."""

    modality: str
    block: str
    open: int
    close: int
    length: int = 0


@dataclass(frozen=True)
class TokenSpace:
    """A vocabulary table: blocks that tile [0, vocab_size), named special ids, and the media spans.

    Raises:
      MioError: blocks overlap or leave a gap, a special or span names an id or block outside the table.
    """

    name: str
    blocks: tuple[Block, ...]
    specials: tuple[tuple[str, int], ...]  # string -> id, e.g. ("<image>", 64005); may lie inside the text block
    spans: tuple[Span, ...]
    bos: int
    eos: int
    pad: int
    modalities: tuple[str, ...] = ("text", "image", "audio")

    def __post_init__(self) -> None:
        at = 0
        for block in sorted(self.blocks, key=lambda b: b.start):
            if block.start != at:
                what = "overlaps the one before" if block.start < at else f"leaves ids {at}..{block.start - 1} unnamed"
                raise MioError(f"token space {self.name!r}: block {block.name!r} at {block.start} {what}")
            if block.size % block.layers:
                raise MioError(
                    f"token space {self.name!r}: block {block.name!r} does not split in {block.layers} layers"
                )
            if block.modality not in self.modalities:
                raise MioError(f"token space {self.name!r}: block {block.name!r} has modality {block.modality!r}")
            at = block.stop
        for token, i in self.specials:
            if not 0 <= i < at:
                raise MioError(f"token space {self.name!r}: special {token!r} has id {i}, outside 0..{at - 1}")
        for span in self.spans:
            self.block(span.block)

    @property
    def vocab_size(self) -> int:
        return max(block.stop for block in self.blocks)

    def block(self, name: str) -> Block:
        for block in self.blocks:
            if block.name == name:
                return block
        raise MioError(f"token space {self.name!r} has no block {name!r}; it has {[b.name for b in self.blocks]}")

    def span(self, modality: str) -> Span:
        for span in self.spans:
            if span.modality == modality:
                return span
        raise MioError(f"token space {self.name!r} has no span for {modality!r}")

    def special(self, token: str) -> int:
        for string, i in self.specials:
            if string == token:
                return i
        raise MioError(f"token space {self.name!r} has no special token {token!r}")

    def modality_ids(self, tokens: np.ndarray) -> np.ndarray:
        """Index into `modalities` of every id in `tokens` (any shape, int32). Raises MioError on ids outside."""
        tokens = np.asarray(tokens)
        if tokens.size and (tokens.min() < 0 or tokens.max() >= self.vocab_size):
            bad = tokens[(tokens < 0) | (tokens >= self.vocab_size)].flat[0]
            raise MioError(f"token id {bad} is outside the token space {self.name!r} of {self.vocab_size} ids")
        ordered = sorted(self.blocks, key=lambda b: b.start)
        where = np.searchsorted([b.start for b in ordered], tokens, side="right") - 1
        return np.asarray([self.modalities.index(b.modality) for b in ordered], np.int32)[where]
