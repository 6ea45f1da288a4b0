"""The modality grammar: which ids may follow, so that every media span that opens is one that can be decoded.

A `Grammar` is built from a `TokenSpace` alone. Text may hold text ids, opening tags and stop ids; an image span holds
exactly the codes of an image; an audio span holds a run of each layer's codes, in order and of equal length; then the
closing tag. It runs inside the jitted decoding loop as data: a table of allowed ids, a table of transitions by class
of id, and two counters for each row. Near the end of the budget, spans that could not be closed any more are not
opened, and a running one is closed in time.

A span is a sequence of runs. State ids: text, one for each forced opening, first text id, end, and then for each span
its runs and its closing tag.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.data.token_space import Span, TokenSpace
from mio_jax.errors import MioError

TEXT = 0  # the state outside spans
UNBOUNDED = 1 << 20  # frames of an audio span whose only bound is the budget


@dataclass(frozen=True)
class Grammar:
    """What a response over `space` may look like.

    begin: what it must begin with: "text", or the modality of a span; "": anything.
    media: modalities whose spans may open; None: all.
    after: what may follow a closed span: "any" (text, spans, a stop id) or "stop" (a stop id alone).
    frames: codes in each layer of an audio span, exactly; 0: free. max_frames: at most so many; 0: no bound.

    Raises:
      MioError: an unknown modality or setting.
    """

    space: TokenSpace
    begin: str = ""
    media: tuple[str, ...] | None = None
    after: str = "any"
    frames: int = 0
    max_frames: int = 0

    def __post_init__(self) -> None:
        known = [span.modality for span in self.space.spans]
        for name in self.media or ():
            if name not in known:
                raise MioError(f"the grammar has no {name!r} spans; token space {self.space.name!r} has {known}")
        if self.begin not in ("", "text", *self.opening):
            raise MioError(f"a response cannot begin with {self.begin!r}; it is one of {['text', *self.opening]}")
        if self.after not in ("any", "stop"):
            raise MioError(f"grammar: after is {self.after!r}; it must be 'any' or 'stop'")
        if self.frames < 0 or self.max_frames < 0 or 0 < self.max_frames < self.frames:
            raise MioError(f"grammar: {self.frames} frames and at most {self.max_frames} make no sense")

    def replace(self, **changes: object) -> Grammar:
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    @property
    def opening(self) -> tuple[str, ...]:
        """Modalities whose spans may open."""
        return tuple(s.modality for s in self.space.spans if self.media is None or s.modality in self.media)

    def run_length(self, span: Span) -> tuple[int, bool]:
        """Codes in the first run of a span (the others are as long), and whether it may end earlier."""
        if span.length:
            return span.length, False
        return (self.frames, False) if self.frames else (self.max_frames or UNBOUNDED, True)

    def needs(self, modality: str) -> int:
        """The fewest tokens of a whole span of this modality, tags included."""
        span = self.space.span(modality)
        length, free = self.run_length(span)
        return 2 + self.space.block(span.block).layers * (1 if free else length)

    def fewest(self, at: tuple[int, int, int]) -> int:
        """The fewest tokens that lead from the automaton's `at` to where a response may end (stop id not counted)."""
        layout, tables = _layout(self.space), _tables(self.replace(after="any"), ())
        state, count, first = at
        for modality, opening in layout.begin.items():
            if state == opening:
                return self.needs(modality) if modality not in ("", "text") else int(modality == "text")
        if not tables.is_run[state]:
            return int(state in layout.close)
        if tables.is_first[state]:
            first = max(count, 1) if tables.is_free[state] else int(tables.length[state])
        return first - count + int(tables.later[state]) * first + 1

    def tables(self, stop_ids: tuple[int, ...] = ()) -> Tables:
        """The grammar as arrays, with these ids ending a response; they are allowed where text is."""
        return _tables(self, tuple(stop_ids))

    def start(self, prompt: np.ndarray, stop_ids: tuple[int, ...] = ()) -> tuple[int, int, int]:
        """The automaton's (state, count, first) after int32 [n] `prompt`, which may end inside a span.

        Raises:
          MioError: the prompt's last, unclosed span holds what does not belong in it.
        """
        prompt = np.asarray(prompt, np.int64)
        opened, closed = (
            max((int(np.flatnonzero(prompt == i)[-1]) for i in ids if (prompt == i).any()), default=-1)
            for ids in ([s.open for s in self.space.spans], [s.close for s in self.space.spans])
        )
        if opened <= closed:
            return _layout(self.space).begin[self.begin], 0, 0
        anything = Grammar(self.space, frames=self.frames, max_frames=self.max_frames)
        at, error = _walk(anything, prompt[opened:], anything.tables(stop_ids), TEXT)
        if error:
            raise MioError(f"the prompt ends inside a media span that is not well formed: {error}")
        return at

    def check(self, tokens: np.ndarray, stop_ids: tuple[int, ...] = ()) -> str | None:
        """Why int32 [n] `tokens`, a whole response, is not one of this grammar's; None if it is. A stop id ends it."""
        tables, layout = self.tables(stop_ids), _layout(self.space)
        for i, token in enumerate(tokens):
            if int(token) in stop_ids:
                tokens = tokens[: i + 1]
                break
        (state, _, _), error = _walk(self, np.asarray(tokens), tables, layout.begin[self.begin])
        if error:
            return error
        if state in layout.whole or (len(tokens) and int(tokens[-1]) in stop_ids):
            return None
        return f"it ends within {layout.names[state]}"


class Tables(NamedTuple):
    """A grammar as arrays: S states, R rows of allowed ids, C classes of ids, M spans. State 0 is text."""

    rows: np.ndarray  # bool [R, vocab]
    id_class: np.ndarray  # int32 [vocab]
    is_code: np.ndarray  # int32 [C]: 1 for classes of codes
    after: np.ndarray  # int32 [S, C]: the state after an id of the class, -1: no such
    row: np.ndarray  # int32 [S]: the state's first row
    is_run: np.ndarray  # bool [S]: a run of codes
    is_first: np.ndarray  # bool [S]: the first run of its span
    is_free: np.ndarray  # bool [S]: a first run that may end before it is full
    length: np.ndarray  # int32 [S]: codes of a full first run
    later: np.ndarray  # int32 [S]: runs of the span that come after this one
    following: np.ndarray  # int32 [S]: the state after a full run
    needs: np.ndarray  # int32 [M]: the fewest tokens of a whole span


class Position(NamedTuple):
    """Where each row is: int32 [batch] each."""

    state: jax.Array
    codes: jax.Array  # so far in the current run
    first: jax.Array  # so far in the first run of the current span


def allowed(tables: Tables, at: Position, remaining: jax.Array) -> jax.Array:
    """Which ids may come next.

    Args:
      tables: its arrays on the device.
      at: where the rows are.
      remaining: int32 [batch], tokens that the row may still take, the next one included.

    Returns:
      bool [batch, vocab].
    """
    # The text state has a row for each set of spans that still fit; a free run has one for each way on.
    fits = (tables.needs[None] <= remaining[:, None]).astype(jnp.int32) << jnp.arange(tables.needs.shape[0])[None]
    # One more code here means one more in every later run, and the closing tag.
    go_on = (at.codes + 1) * tables.later[at.state] + 2 <= remaining
    way = jnp.where(tables.is_free[at.state] & (at.codes > 0), jnp.where(go_on, 1, 2), 0)
    return tables.rows[tables.row[at.state] + jnp.where(at.state == TEXT, fits.sum(-1), way)]


def advance(tables: Tables, at: Position, token: jax.Array) -> Position:
    """The position after int32 [batch] `token`, which is one of those allowed."""
    group = tables.id_class[token]
    state = tables.after[at.state, group]
    count = jnp.where(state == at.state, at.codes, 0) + tables.is_code[group]
    first = jnp.where(tables.is_first[state], count, at.first)
    full = tables.is_run[state] & (count >= jnp.where(tables.is_first[state], tables.length[state], first))
    return Position(jnp.where(full, tables.following[state], state), jnp.where(full, 0, count), first)


class _Layout(NamedTuple):
    """The states by name."""

    names: tuple[str, ...]  # of every state
    begin: dict[str, int]  # Grammar.begin -> state
    runs: tuple[tuple[int, ...], ...]  # by span
    close: tuple[int, ...]  # by span
    whole: frozenset[int]  # states in which a response may end
    end: int


@functools.lru_cache(maxsize=64)
def _layout(space: TokenSpace) -> _Layout:
    names = ["text"]
    begin = {"": TEXT}
    for span in space.spans:
        begin[span.modality] = len(names)
        names.append(f"its beginning: the {span.modality} span that it must begin with is not there")
    begin["text"] = len(names)
    names.append("its beginning: the text that it must begin with is not there")
    end = len(names)
    names.append("the end")
    runs, close = [], []
    for span in space.spans:
        layers = space.block(span.block).layers
        runs.append(tuple(range(len(names), len(names) + layers)))
        part = (lambda r: f"layer {r} of ") if layers > 1 else (lambda r: "")
        names.extend(f"{part(r)}an unclosed {span.modality} span" for r in range(layers))
        close.append(len(names))
        names.append(f"an unclosed {span.modality} span, all codes in place")
    return _Layout(tuple(names), begin, tuple(runs), tuple(close), frozenset((TEXT, end)), end)


@functools.lru_cache(maxsize=64)
def _tables(grammar: Grammar, stop_ids: tuple[int, ...]) -> Tables:
    space, layout = grammar.space, _layout(grammar.space)
    vocab, spans, states = space.vocab_size, space.spans, len(layout.names)
    for i in stop_ids:
        if not 0 <= i < vocab:
            raise MioError(f"stop id {i} is outside the token space {space.name!r} of {vocab} ids")

    # Classes: 0 is text and stop ids, then for each span its opening tag, its closing tag and the codes of each run.
    id_class, classes = np.zeros(vocab, np.int32), 1
    opens, closes, codes = [], [], []
    for span in spans:
        block = space.block(span.block)
        opens.append(classes)
        closes.append(classes + 1)
        codes.append(list(range(classes + 2, classes + 2 + block.layers)))
        classes += 2 + block.layers
        id_class[span.open], id_class[span.close] = opens[-1], closes[-1]
        for r, c in enumerate(codes[-1]):
            id_class[block.start + r * block.codes_per_layer :][: block.codes_per_layer] = c
    is_code = np.zeros(classes, np.int32)
    is_code[[c for group in codes for c in group]] = 1

    def ids(*wanted: int) -> np.ndarray:
        return np.isin(id_class, wanted)

    stop = np.zeros(vocab, bool)
    stop[[i for i in stop_ids if id_class[i] == 0]] = True
    plain = ids(0)
    plain[[i for _, i in space.specials]] = False
    plain &= ~stop
    closing_stops = all(s.close in stop_ids for s in spans if s.modality in grammar.opening)
    if grammar.after == "stop" and not stop.any() and not closing_stops:
        raise MioError("grammar: only a stop id may follow a span (after='stop'), and there are no stop ids")

    rows: list[np.ndarray] = []
    row, length, later, following = (np.zeros(states, np.int32) for _ in range(4))
    is_run, is_first, is_free = (np.zeros(states, bool) for _ in range(3))
    after = np.full((states, classes), -1, np.int32)

    def put(state: int, *ways: np.ndarray) -> None:
        row[state] = len(rows)
        rows.extend(ways)

    open_ids = [ids(opens[m]) if s.modality in grammar.opening else np.zeros(vocab, bool) for m, s in enumerate(spans)]
    choices = []
    for subset in range(1 << len(spans)):
        some = [open_ids[m] for m in range(len(spans)) if subset >> m & 1]
        choices.append(np.logical_or.reduce([plain, stop, *some]))
    put(TEXT, *choices)
    put(layout.begin["text"], plain)
    put(layout.end, stop)
    after[[TEXT, layout.begin["text"]], 0] = TEXT
    after[layout.end, 0] = layout.end
    for m, span in enumerate(spans):
        runs, close = layout.runs[m], layout.close[m]
        put(layout.begin[span.modality], open_ids[m])
        after[[TEXT, layout.begin[span.modality]], opens[m]] = runs[0]
        full, free = grammar.run_length(span)
        for r, state in enumerate(runs):
            here = ids(codes[m][r])
            is_run[state], is_first[state], is_free[state] = True, r == 0, free and r == 0
            length[state], later[state] = full, len(runs) - 1 - r
            following[state] = runs[r + 1] if r + 1 < len(runs) else close
            after[state, codes[m][r]] = state
            put(state, here)
            if r == 0 and not span.length:  # rows for a free run, there or not, so that all settings have one shape
                onward = codes[m][1] if len(runs) > 1 else closes[m]
                rows.extend([here | ids(onward), ids(onward)])
                if free:
                    after[state, onward] = runs[1] if len(runs) > 1 else _closed(grammar, layout)
        put(close, ids(closes[m]))
        after[close, closes[m]] = _closed(grammar, layout)
    needs = np.asarray([grammar.needs(s.modality) for s in spans], np.int32)
    return Tables(
        np.stack(rows), id_class, is_code, after, row, is_run, is_first, is_free, length, later, following, needs
    )


def _closed(grammar: Grammar, layout: _Layout) -> int:
    """The state after a closed span."""
    return layout.end if grammar.after == "stop" else TEXT


def _walk(grammar: Grammar, tokens: np.ndarray, tables: Tables, state: int) -> tuple[tuple[int, int, int], str]:
    """Runs the automaton over `tokens`, without a budget -> ((state, count, first), why it stopped or "")."""
    space, names = grammar.space, _layout(grammar.space).names
    count = first = 0
    for i, token in enumerate(int(t) for t in tokens):
        if not 0 <= token < space.vocab_size:
            return (state, count, first), f"id {token} at place {i} is outside the vocabulary"
        ways = (1 << len(space.spans)) - 1 if state == TEXT else int(tables.is_free[state] and count > 0)
        if not tables.rows[tables.row[state] + ways, token]:
            return (state, count, first), f"id {token} ({_describe(space, token)}) at place {i} in {names[state]}"
        group = tables.id_class[token]
        new = int(tables.after[state, group])
        count = (count if new == state else 0) + int(tables.is_code[group])
        first = count if tables.is_first[new] else first
        state = new
        if tables.is_run[state] and count >= (tables.length[state] if tables.is_first[state] else first):
            state, count = int(tables.following[state]), 0
    return (state, count, first), ""


def _describe(space: TokenSpace, token: int) -> str:
    for string, i in space.specials:
        if i == token:
            return string
    block = next(b for b in space.blocks if b.start <= token < b.stop)
    return f"{block.name} {token - block.start}"
