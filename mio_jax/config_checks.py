"""What the configuration dataclasses check themselves with."""

from __future__ import annotations

from mio_jax.errors import MioError


def require(condition: bool, message: str) -> None:
    """Raises MioError(message) unless `condition` holds."""
    if not condition:
        raise MioError(message)


def require_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    require(value in allowed, f"{name} is {value!r}; it must be one of {', '.join(allowed)}")
