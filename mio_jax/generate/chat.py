"""A conversation of many turns with a trained run, in any modality, whose keys and values are kept between turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mio_jax.errors import MioError
from mio_jax.generate.engine import Engine
from mio_jax.generate.grammar import Grammar
from mio_jax.generate.reading import Reader
from mio_jax.generate.sampling import SamplingConfig
from mio_jax.generate.session import Session
from mio_jax.protocols import ChatFormat, DecodingEngine, Segment

if TYPE_CHECKING:
    from mio_jax.train.run import Run

USUAL_TOKENS = 512


@dataclass(frozen=True)
class ChatSettings:
    """How a conversation is decoded.

    Attributes:
      grammar: hold media spans to their form.
      max_frames: of one sound; 0: no bound. Long speech then comes in several spans, which sound one after another.
      window: forget the oldest exchanges where the context is full; otherwise such a turn is refused.
    """

    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig(top_p=0.9))
    max_new_tokens: int = USUAL_TOKENS
    grammar: bool = True
    max_frames: int = 0
    window: bool = False

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise MioError(f"max_new_tokens is {self.max_new_tokens}; it must be at least 1")
        if self.max_frames and not self.grammar:
            raise MioError("only the grammar can bound the frames of a sound: leave it on, or the bound out")


def chat_format_of(run: Run, mode: str = "", system: str = "") -> ChatFormat:
    """The template that a run's recipe chats in. Raises MioError if it has none, or none of this mode."""
    make: Any = getattr(run.recipe, "chat_format", None)
    if make is None:
        raise MioError(f"recipe {run.config.recipe!r} has no conversations; ask it with `mio generate`")
    form: ChatFormat = make(mode, system if system or mode else run.config.data.system_prompt)
    return form


class Chat:
    """One conversation.

    Attributes:
      exchanges: int32 ids of each user's turn and its answer, closed, oldest first.
      cut: the newest answer ended because there was no room for more.
      forgotten: exchanges that were dropped for room (`ChatSettings.window`).
    """

    def __init__(
        self, run: Run, engine: DecodingEngine, form: ChatFormat, settings: ChatSettings | None = None
    ) -> None:
        if not isinstance(engine, Engine):
            raise MioError(f"recipe {run.config.recipe!r} encodes its inputs first, and cannot keep a conversation")
        self.run, self.engine, self.form, self.settings = run, engine, form, settings or ChatSettings()
        self.session = Session(engine)
        self.exchanges: list[np.ndarray] = []
        self.cut = False
        self.forgotten = 0
        self._close = run.space.special(form.close)
        self._opening = run.recipe.encode_prompt(list(form.opening), run.tokenizers, run.space)
        self._between = self._ids([Segment("text", form.between)])
        self.stop_ids = (run.space.eos, self._close)

    def reset(self) -> None:
        """Forgets all turns; the keys and values of the system prompt stay."""
        self.exchanges, self.cut, self.forgotten = [], False, 0

    def reader(self) -> Reader:
        """Reads one answer's ids."""
        return Reader(self.run.space, self.run.tokenizers.text.decode)

    def add(self, content: Sequence[Segment], reply: Sequence[Segment]) -> None:
        """Adds an exchange that took place before. Raises MioError on turns that hold the template's own marks."""
        self._check(reply)
        self.exchanges.append(np.concatenate([self._turn(content), self._ids(list(reply)), [self._close]]))

    def ids(self, turn: np.ndarray | None = None) -> np.ndarray:
        """int32 ids of the conversation so far, and of an encoded turn."""
        parts = [self._opening]
        for exchange in [*self.exchanges, *([] if turn is None else [turn])]:
            parts += [self._between, exchange] if len(parts) > 1 else [exchange]
        return np.concatenate(parts).astype(np.int32)

    def ask(self, content: Sequence[Segment], *, seed: int = 0, begins: str = "") -> Iterator[np.ndarray]:
        """Takes a user's turn; yields the answer's ids, int32 [n] pieces, as they come, a stop id included.

        The exchange belongs to the conversation once the iterator ends or is closed.

        Args:
          begins: the modality that the answer begins with; "": that of the template, if it has one.

        Raises:
          MioError: a turn without content or with the template's own marks; a context that is full.
        """
        settings = self.settings
        prompt, turn, grammar = self.prompt(content, begins)
        if settings.sampling.num_beams > 1:
            pieces: Iterator[np.ndarray] = iter(
                self.engine.generate(
                    [prompt],
                    settings.sampling,
                    max_new_tokens=settings.max_new_tokens,
                    stop_ids=self.stop_ids,
                    seeds=[seed],
                    grammar=grammar,
                )
            )
        else:
            pieces = self.session.stream(
                prompt,
                settings.sampling,
                max_new_tokens=settings.max_new_tokens,
                stop_ids=self.stop_ids,
                seed=seed,
                grammar=grammar,
            )
        return self._answer(turn, pieces)

    def prompt(self, content: Sequence[Segment], begins: str = "") -> tuple[np.ndarray, np.ndarray, Grammar | None]:
        """What a user's turn makes the engine's prompt: int32 ids of all, those of the turn, and the answer's grammar.

        Forgets old exchanges where the settings say so. Raises MioError as `ask` does.
        """
        settings, turn = self.settings, self._turn(content)
        grammar: Grammar | None = None
        least = 1
        if settings.grammar:
            grammar = self.run.recipe.grammar(self.run.space)
            grammar = grammar.replace(begin=begins or self.form.begins, max_frames=settings.max_frames)
            least = max(grammar.fewest(grammar.start(self._opening, self.stop_ids)), 1)
        prompt = self.ids(turn)
        # With a window there should be room for an answer of the length allowed, as long as that is no whole context.
        wanted = max(least, min(settings.max_new_tokens, self.engine.max_length // 4)) if settings.window else least
        while settings.window and self.exchanges and len(prompt) + wanted > self.engine.max_length:
            self.exchanges.pop(0)
            self.forgotten += 1
            prompt = self.ids(turn)
        if len(prompt) + least > self.engine.max_length:
            raise MioError(
                f"the context is full: {len(self.ids())} tokens of the conversation, {len(turn)} of this turn and at"
                f" least {least} of an answer are more than {self.engine.max_length}; begin anew (/reset), shorten the"
                " turn, or let old turns be forgotten (--window)"
            )
        return prompt, turn, grammar

    def _answer(self, turn: np.ndarray, pieces: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        said: list[int] = []
        try:
            for piece in pieces:
                said += piece.tolist()
                yield piece
        finally:
            if hasattr(pieces, "close"):
                pieces.close()
            self.cut = not said or said[-1] not in self.stop_ids
            self.exchanges.append(np.asarray([*turn, *self._kept(said), self._close], np.int32))

    def _kept(self, said: list[int]) -> list[int]:
        """An answer as it is remembered: without what ended it, and without a span that was cut short."""
        kept = said[:-1] if said and said[-1] in self.stop_ids else said
        for i in range(len(kept) - 1, -1, -1):
            if any(kept[i] == span.close for span in self.run.space.spans):
                break
            if any(kept[i] == span.open for span in self.run.space.spans):
                return kept[:i]
        return kept

    def _turn(self, content: Sequence[Segment]) -> np.ndarray:
        self._check(content)
        if not content:
            raise MioError("a turn holds nothing: give text, a picture or a sound")
        # Encoded behind what stands between turns: alone, it would be taken for a conversation's beginning.
        behind = [Segment("text", self.form.between), *self.run.recipe.prompt(list(content), "chat")]
        return self._ids(behind)[len(self._between) :]

    def _check(self, content: Sequence[Segment]) -> None:
        for segment in content:
            for mark in self.form.reserved if segment.kind == "text" else ():
                if mark in segment.value:
                    raise MioError(
                        f"a turn's text holds {mark!r}, which only the chat template may write; leave it out"
                    )

    def _ids(self, segments: list[Segment]) -> np.ndarray:
        return self.run.recipe.encode_answer(segments, self.run.tokenizers, self.run.space)
