"""MIO's chat template as what a conversation is made of (specification 4.2): its modes and what opens and closes."""

from __future__ import annotations

from mio_jax.errors import MioError
from mio_jax.protocols import ChatFormat, Segment
from mio_jax.recipes.mio.prompts import SEPARATOR, SYSTEM_STD, SYSTEM_VOICE, system_turn
from mio_jax.recipes.mio.tokens import TURN_CLOSE, TURN_OPEN

MODES = ("std", "voice", "custom")


def chat_format(mode: str = "", system: str = "") -> ChatFormat:
    """The template of a mode; "": `system` if there is one, else "std".

    std: MIO's own system prompt. voice: the one that asks for speech alone, so answers begin with a sound. custom:
    `system` is the system prompt.

    Raises:
      MioError: an unknown mode; "custom" without a system prompt, or another mode with one.
    """
    mode = mode or ("custom" if system else "std")
    if mode not in MODES:
        raise MioError(f"unknown chat mode {mode!r}; there are: {', '.join(MODES)}")
    if mode == "custom" and not system:
        raise MioError("chat mode 'custom' needs a system prompt")
    if mode != "custom" and system:
        raise MioError(f"chat mode {mode!r} has a system prompt of its own; give one with mode 'custom'")
    words = {"std": SYSTEM_STD, "voice": SYSTEM_VOICE, "custom": system}[mode]
    return ChatFormat(
        opening=(Segment("text", system_turn(words)),),
        between=SEPARATOR,
        close=TURN_CLOSE,
        reserved=(TURN_OPEN, TURN_CLOSE),
        begins="audio" if mode == "voice" else "",
    )
