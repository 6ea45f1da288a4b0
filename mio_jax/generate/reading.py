"""Ids as they are generated -> words, pictures and frames of sound, each as soon as it is whole.

MIO writes a sound layer by layer: all frames of the first, then all of the second. Its first frame is known when the
last layer begins, and from then on one id is one frame. Of a codec with one layer every id is a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from mio_jax.data.token_space import Block, Span, TokenSpace

INCOMPLETE = "\ufffd"  # what a text tokenizer writes for a character of which bytes are still to come


class Words(NamedTuple):
    """The next characters of a text."""

    text: str


class Picture(NamedTuple):
    """A whole picture: int32 [tokens]."""

    codes: np.ndarray


class Frames(NamedTuple):
    """The next frames of a sound: int32 [layers, frames]; `first`: it begins, `last`: it ends with them."""

    codes: np.ndarray
    first: bool
    last: bool


class Unreadable(NamedTuple):
    """A span that cannot be decoded, and why."""

    why: str


Piece = Words | Picture | Frames | Unreadable


class Reader:
    """Reads one answer. What it finds are the segments of the recipe's `parse`, a sound in several `Frames`.

    Args:
      decode_text: int32 [n] ids of text -> str.
    """

    def __init__(self, space: TokenSpace, decode_text: Callable[[np.ndarray], str]) -> None:
        self._space, self._decode = space, decode_text
        self._special = {i for _, i in space.specials}
        self._opens = {span.open: span for span in space.spans}
        self._closes = {span.close for span in space.spans}
        self._text_block = space.block("text")
        self._text: list[int] = []
        self._shown = 0  # characters of the text so far that were given out
        self._span: Span | None = None
        self._codes: list[int] = []
        self._framed = 0  # frames that were given out

    @property
    def within(self) -> bool:
        """Whether a span is open."""
        return self._span is not None

    def read(self, ids: Iterable[int]) -> Iterator[Piece]:
        """What the next ids complete."""
        for token in (int(i) for i in ids):
            if self._span is not None:
                yield from self._in_span(self._span, token)
            else:
                yield from self._outside(token)
        if self._span is None:
            yield from self._new_text(last=False)
        elif self._span.length == 0:
            yield from self._new_frames(self._span)

    def finish(self) -> Iterator[Piece]:
        """What the end of the answer completes."""
        if self._span is not None:
            yield self._broken(f"{self._span.modality} span is not closed after {len(self._codes)} codes")
        yield from self._new_text(last=True)

    def _outside(self, token: int) -> Iterator[Piece]:
        if token in self._opens:
            yield from self._new_text(last=True)
            self._span, self._codes, self._framed = self._opens[token], [], 0
        elif token in self._special:
            if token in self._closes:
                yield Unreadable("a closing tag closes nothing")
        elif self._text_block.start <= token < self._text_block.stop:
            self._text.append(token)
        else:
            yield Unreadable(f"media code {token} stands outside of a span")

    def _in_span(self, span: Span, token: int) -> Iterator[Piece]:
        block = self._space.block(span.block)
        if block.start <= token < block.stop:
            self._codes.append(token - block.start)
            return
        if token != span.close:
            yield self._broken(f"{span.modality} span is not closed after {len(self._codes)} codes")
            yield from self._outside(token)
        elif span.length:
            if len(self._codes) == span.length:
                yield Picture(np.asarray(self._codes, np.int32))
                self._span = None
            else:
                yield self._broken(f"{span.modality} span holds {len(self._codes)} codes instead of {span.length}")
        else:
            yield from self._last_frames(span, block)

    def _layered(self, block: Block) -> tuple[np.ndarray, str]:
        """Codes of the span so far, int32 [layers, whole frames], and what is wrong with their order."""
        codes = np.asarray(self._codes, np.int64)
        layer = codes // block.codes_per_layer
        length = int(np.argmax(layer > 0)) if (layer > 0).any() else len(codes)  # frames, once the second layer began
        if block.layers > 1 and length == len(codes):
            return np.zeros((block.layers, 0), np.int32), ""
        frames = length if block.layers > 1 else len(codes)
        expected = np.arange(len(codes)) // max(frames, 1)
        if not np.array_equal(layer, expected):
            return np.zeros((block.layers, 0), np.int32), f"layers out of order or of unequal length ({frames} frames)"
        whole = max(len(codes) - (block.layers - 1) * frames, 0)
        rows = [codes[i * frames : i * frames + whole] - i * block.codes_per_layer for i in range(block.layers)]
        return np.asarray(rows, np.int32), ""

    def _new_frames(self, span: Span) -> Iterator[Piece]:
        codes, wrong = self._layered(self._space.block(span.block))
        if not wrong and codes.shape[1] > self._framed:
            yield Frames(codes[:, self._framed :], self._framed == 0, False)
            self._framed = codes.shape[1]

    def _last_frames(self, span: Span, block: Block) -> Iterator[Piece]:
        codes, wrong = self._layered(block)
        expected = len(self._codes) // block.layers
        if wrong or not self._codes or codes.shape[1] != expected or expected * block.layers != len(self._codes):
            yield self._broken(f"{span.modality} span: {wrong or f'{len(self._codes)} codes are no equal layers'}")
            return
        yield Frames(codes[:, self._framed :], self._framed == 0, True)
        self._span = None

    def _broken(self, why: str) -> Unreadable:
        self._span, self._codes, self._framed = None, [], 0
        return Unreadable(why)

    def _new_text(self, *, last: bool) -> Iterator[Piece]:
        if not self._text:
            return
        text = self._decode(np.asarray(self._text, np.int32))
        end = len(text) if last else len(text.rstrip(INCOMPLETE))
        if end > self._shown:
            yield Words(text[self._shown : end])
            self._shown = end
        if last:
            self._text, self._shown = [], 0
