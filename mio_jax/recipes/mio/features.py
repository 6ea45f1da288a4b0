"""Segments of text and media codes -> one sequence of ids, and a generated sequence back into segments.

Every text segment is tokenised on its own. A response therefore begins at a token border, so that the prompt that is
tokenised alone at generation time is exactly the beginning of what was trained on.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from mio_jax.config import RunConfig
from mio_jax.data.packing import SequenceRows
from mio_jax.data.token_space import Span, TokenSpace
from mio_jax.errors import MioError
from mio_jax.protocols import Example, Generated, RowFormat, Segment
from mio_jax.recipes.mio.prompts import SYSTEM_STD, system_turn
from mio_jax.recipes.mio.tokens import BOS, TURN_OPEN, unflatten


@functools.lru_cache(maxsize=64)
def _specials_pattern(space: TokenSpace) -> tuple[re.Pattern[str], dict[str, int]]:
    ids = dict(space.specials)
    longest_first = sorted(ids, key=len, reverse=True)
    return re.compile("|".join(re.escape(token) for token in longest_first)), ids


def text_ids(text: str, space: TokenSpace, encode_text: Callable[[str], Any]) -> np.ndarray:
    """int32 ids of `text` [length]: special strings become their ids, the rest goes to `encode_text`."""
    pattern, ids = _specials_pattern(space)
    parts: list[np.ndarray] = []
    at = 0
    for match in pattern.finditer(text):
        if match.start() > at:
            parts.append(np.asarray(encode_text(text[at : match.start()]), np.int32))
        parts.append(np.asarray([ids[match.group()]], np.int32))
        at = match.end()
    if at < len(text):
        parts.append(np.asarray(encode_text(text[at:]), np.int32))
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)


def image_ids(codes: Any, space: TokenSpace) -> np.ndarray:
    """int32 ids of an image span, tags included. Raises MioError on a wrong number of codes or a code out of range."""
    span, codes = space.span("image"), np.asarray(codes)
    block = space.block(span.block)
    if codes.ndim != 1 or (span.length and codes.shape[0] != span.length):
        raise MioError(
            f"an image has {span.length} codes, not an array of shape {codes.shape}; made by another tokenizer?"
        )
    _check_range("image", codes, block.codes_per_layer)
    return np.concatenate([[span.open], codes + block.start, [span.close]]).astype(np.int32)


def audio_ids(codes: Any, space: TokenSpace) -> np.ndarray:
    """int32 ids of a sound span: all frames of layer 0, then of layer 1, ... `codes` [layers given, frames].

    MIO writes the first layer alone where speech is only listened to, and all layers where it is to be spoken.
    """
    span, codes = space.span("audio"), np.asarray(codes)
    block = space.block(span.block)
    if codes.ndim != 2 or not 1 <= codes.shape[0] <= block.layers or codes.shape[1] == 0:
        raise MioError(f"sound codes must be [1..{block.layers} layers, frames], not of shape {codes.shape}")
    _check_range("sound", codes, block.codes_per_layer)
    flat = codes + block.start + block.codes_per_layer * np.arange(codes.shape[0])[:, None]
    return np.concatenate([[span.open], flat.reshape(-1), [span.close]]).astype(np.int32)


def _check_range(what: str, codes: np.ndarray, size: int) -> None:
    if codes.size and (codes.min() < 0 or codes.max() >= size):
        bad = codes[(codes < 0) | (codes >= size)].flat[0]
        raise MioError(f"{what} code {bad} is outside 0..{size - 1}; made by another tokenizer?")


def with_system_turn(segments: list[Segment], system: str) -> list[Segment]:
    """Puts the system turn before a conversation that has none; other segments pass unchanged."""
    first = segments[0] if segments else Segment("text", "")
    chat = first.kind == "text" and first.value.startswith(TURN_OPEN)
    if not chat or first.value.startswith(f"{TURN_OPEN}system\n"):
        return segments
    return [Segment("text", system_turn(system or SYSTEM_STD)), *segments]


def rows(config: RunConfig) -> RowFormat:
    """Rows of one sequence of `data.length` tokens."""
    return SequenceRows(config.data.length)


def encode(
    segments: list[Segment],
    tokenizers: Any,
    space: TokenSpace,
    *,
    supervise: str = "all",
    bos: bool = True,
    system: str = "",
) -> Example:
    """One example as ids, modality indices and loss weights, all [length].

    Args:
      segments: of kinds text, image and audio; nothing is added at the end (base-style formatters write the end token).
      supervise: "all": every token but the opening one carries loss; "responses": those of supervised segments.
      bos: begin with the start token, unless the text does so itself.
      system: system prompt of a conversation that has no system turn; empty: MIO's own.
    Raises:
      MioError: an unknown kind, or codes that do not fit the token space.
    """
    if supervise not in ("all", "responses"):
        raise MioError(f"supervise is {supervise!r}; it must be 'all' or 'responses'")
    segments = with_system_turn(segments, system)
    parts: list[np.ndarray] = []
    weights: list[np.ndarray] = []
    starts_itself = bool(segments) and segments[0].kind == "text" and segments[0].value.startswith(BOS)
    if bos and not starts_itself:
        parts.append(np.asarray([space.bos], np.int32))
        weights.append(np.zeros(1, np.float32))
    for segment in segments:
        if segment.kind == "text":
            ids = text_ids(segment.value, space, tokenizers.text.encode)
        elif segment.kind == "image":
            ids = image_ids(segment.value, space)
        elif segment.kind == "audio":
            ids = audio_ids(segment.value, space)
        else:
            raise MioError(f"unknown segment kind {segment.kind!r}; MIO has text, image and audio")
        parts.append(ids)
        weight = 1.0 if supervise == "all" or segment.supervised else 0.0
        weights.append(np.full(ids.shape, weight, np.float32))
    tokens = np.concatenate(parts) if parts else np.zeros(0, np.int32)
    loss_weights = np.concatenate(weights) if weights else np.zeros(0, np.float32)
    if loss_weights.size:
        loss_weights[0] = 0.0  # nothing precedes it, so nothing predicts it
    return Example(tokens, space.modality_ids(tokens), loss_weights)


def encode_prompt(segments: list[Segment], tokenizers: Any, space: TokenSpace, *, system: str = "") -> np.ndarray:
    """int32 ids of a prompt, start token and system turn included; raises as `encode` does."""
    return encode(segments, tokenizers, space, system=system).tokens


def encode_answer(segments: list[Segment], tokenizers: Any, space: TokenSpace) -> np.ndarray:
    """int32 ids of what follows a prompt; raises as `encode` does."""
    return encode(segments, tokenizers, space, bos=False).tokens


def parse(tokens: Any, tokenizers: Any, space: TokenSpace) -> Generated:
    """Reads a sequence of ids: text runs, image spans and sound spans in order.

    Control tokens (start, end, turn ends, padding) are dropped from the text. A media span that cannot be decoded is
    left out, and `error` tells about the first such span.
    """
    tokens = np.asarray(tokens, np.int64).reshape(-1)
    if tokens.size and (tokens.min() < 0 or tokens.max() >= space.vocab_size):
        raise MioError(f"token ids {tokens.min()}..{tokens.max()} leave the token space of {space.vocab_size} ids")
    text_block = space.block("text")
    special = {i for _, i in space.specials}
    opens = {span.open: span for span in space.spans}
    segments: list[Segment] = []
    text: list[int] = []
    error = ""

    def flush() -> None:
        if text:
            string = tokenizers.text.decode(np.asarray(text, np.int32))
            if string:
                segments.append(Segment("text", string))
            text.clear()

    at = 0
    while at < tokens.size:
        token = int(tokens[at])
        at += 1
        if token in opens:
            flush()
            span = opens[token]
            end = at
            block = space.block(span.block)
            while end < tokens.size and block.start <= tokens[end] < block.stop:
                end += 1
            codes, problem = _read_span(tokens[at:end] - block.start, span, space)
            if end >= tokens.size or tokens[end] != span.close:
                problem = f"{span.modality} span at token {at - 1} is not closed after {end - at} codes"
                at = end
            else:
                at = end + 1
            if problem:
                error = error or problem
            else:
                segments.append(Segment(span.modality, codes))
        elif token in special:
            if token in {span.close for span in space.spans}:
                error = error or f"closing tag at token {at - 1} closes nothing"
        elif text_block.start <= token < text_block.stop:
            text.append(token)
        else:
            error = error or f"media code at token {at - 1} stands outside of a span"
    flush()
    return Generated(tuple(segments), error)


def _read_span(codes: np.ndarray, span: Span, space: TokenSpace) -> tuple[np.ndarray, str]:
    """Codes of one span and what is wrong with them ("" if nothing)."""
    block = space.block(span.block)
    if block.layers == 1:
        if codes.size == 0 or (span.length and codes.size != span.length):
            return codes.astype(np.int32), f"{span.modality} span holds {codes.size} codes instead of {span.length}"
        return codes.astype(np.int32), ""
    layered, problem = unflatten(codes, block.layers, block.codes_per_layer)
    return layered, problem and f"{span.modality} span: {problem}"
