"""Conversations as JSON: a list of turns with a role and a content of text and media."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mio_jax.errors import MioError

ROLES = ("system", "user", "assistant")
KINDS = ("text", "image", "audio")

Content = list[tuple[str, Any]]


class Message(NamedTuple):
    """A turn; content: ("text", str), ("image", picture) and ("audio", `Audio`)."""

    role: str
    content: Content


class Conversation(NamedTuple):
    """The system prompt, or ""; exchanges of a user's turn and its answer; the turn that is to be answered, or []."""

    system: str
    exchanges: list[tuple[Content, Content]]
    turn: Content


def read_messages(turns: Any, where: str, medium: Callable[[str, str], Any]) -> list[Message]:
    """Turns as JSON has them -> messages.

    Args:
      turns: a list of {"role": "user", "content": ...}; content is text, or a list of {"text": "..."},
        {"image": reference} and {"audio": reference}, one key each.
      where: what errors name.
      medium: (kind, reference) -> the picture or sound.

    Raises:
      MioError: anything else, naming the turn; what `medium` raises.
    """
    if not isinstance(turns, list) or not turns:
        raise MioError(f"{where}: a conversation is a list of turns, each with a 'role' and a 'content'")
    messages = []
    for i, turn in enumerate(turns):
        at = f"{where}: turn {i}"
        if not isinstance(turn, dict) or set(turn) != {"role", "content"}:
            found = sorted(turn) if isinstance(turn, dict) else type(turn).__name__
            raise MioError(f"{at} must have a 'role' and a 'content', not {found}")
        if turn["role"] not in ROLES:
            raise MioError(f"{at} has the role {turn['role']!r}; there are: {', '.join(ROLES)}")
        messages.append(Message(turn["role"], _content(turn["content"], at, medium)))
    return messages


def _content(content: Any, at: str, medium: Callable[[str, str], Any]) -> Content:
    parts = [{"text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list) or not parts:
        raise MioError(f"{at}: content must be text or a list of parts, not {type(content).__name__}")
    read: Content = []
    for part in parts:
        kind = next(iter(part), None) if isinstance(part, dict) and len(part) == 1 else None
        if kind not in KINDS or not isinstance(part[kind], str):
            raise MioError(f"{at}: a part of the content must be one of {', '.join(KINDS)} with a string")
        if not part[kind]:
            raise MioError(f"{at} holds an empty {kind}")
        read.append((kind, part[kind] if kind == "text" else medium(kind, part[kind])))
    return read


def arranged(messages: Sequence[Message], where: str) -> Conversation:
    """Messages as a conversation: a system turn at most, and first; then user and assistant in turn, user first.

    Raises MioError naming the turn that is out of order.
    """
    rest, system = list(messages), ""
    if rest and rest[0].role == "system":
        if any(kind != "text" for kind, _ in rest[0].content):
            raise MioError(f"{where}: turn 0, the system prompt, must be text alone")
        system = "".join(value for _, value in rest.pop(0).content)
    offset = len(messages) - len(rest)
    for i, message in enumerate(rest):
        expected = ("user", "assistant")[i % 2]
        if message.role != expected:
            raise MioError(f"{where}: turn {i + offset} is of the {message.role}; the {expected} comes here")
    pairs = [(rest[i].content, rest[i + 1].content) for i in range(0, len(rest) - 1, 2)]
    return Conversation(system, pairs, rest[-1].content if len(rest) % 2 else [])
