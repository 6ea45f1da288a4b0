"""Camera moves, robot steps and navigation as text (specification of Unified-IO 2, section 12.2).

Writing refuses what is outside the ranges (MioError); reading drops and counts what is not well formed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mio_jax.errors import MioError
from mio_tokenizers.structured.extra_ids import LOCATION, Parsed, read_values, value_of, write_values
from mio_tokenizers.structured.ranges import from_unit, to_unit

_TOKEN = LOCATION.pattern.replace("(", "(?:")
_CAMERA = re.compile(rf"\(\s*({_TOKEN}(?:\s+{_TOKEN}){{3}})\s*\)")
_POSE = rf"\(\s*({_TOKEN}\s+{_TOKEN}\s+{_TOKEN})\s*\)"
_STEP = re.compile(rf"(\d+)\s*:\s*(?:(pick) from {_POSE} and place to {_POSE}|(push) from {_POSE} and push to {_POSE})")
# Corners of the table that VIMA's robot works on, in metres.
VIMA_LOW, VIMA_HIGH = np.array([0.25, -0.5]), np.array([0.75, 0.5])
NAVIGATION = ("move ahead", "turn left", "turn right", "look up", "look down", "stop")


class CameraMove(NamedTuple):
    """The way from one view of an object to another: polar angle theta and azimuth phi in [-pi, pi], radius +-0.7."""

    theta: float
    phi: float
    radius: float


def write_camera(move: CameraMove) -> str:
    """ "( theta sin(phi) cos(phi) r )" as four location tokens."""
    shares = [
        to_unit(move.theta, "camera angle"),
        *to_unit([np.sin(move.phi), np.cos(move.phi)], "unit"),
        to_unit(move.radius, "camera radius"),
    ]
    return f"( {write_values(shares)} )"


def read_camera(text: str) -> Parsed[list[CameraMove]]:
    """Every "( t s c r )"; parentheses around anything else are dropped and counted."""
    moves = []
    for match in _CAMERA.finditer(text):
        theta, sine, cosine, radius = read_values(match[1], 4).items[0].astype(np.float64)
        phi = float(np.arctan2(from_unit(sine, "unit"), from_unit(cosine, "unit")))
        moves.append(
            CameraMove(float(from_unit(theta, "camera angle")), phi, float(from_unit(radius, "camera radius")))
        )
    return Parsed(moves, text.count("(") - len(moves))


class RobotStep(NamedTuple):
    """A step of VIMA: `kind` "pick" (and place) or "push"; places are (x, y) in metres, turns in degrees [0, 360)."""

    kind: str
    start: tuple[float, float]
    start_turn: float
    end: tuple[float, float]
    end_turn: float

    @property
    def end_effector(self) -> int:
        """0 for the suction cup (pick and place), 1 for the spatula (push)."""
        return int(self.kind == "push")


def _pose(place: Any, turn: float) -> str:
    shares = (np.asarray(place, np.float64) - VIMA_LOW) / (VIMA_HIGH - VIMA_LOW)
    if not ((shares >= 0) & (shares <= 1)).all():
        raise MioError(f"the place {tuple(place)} is off the table, which spans {VIMA_LOW} to {VIMA_HIGH} metres")
    return f"( {write_values([*shares, (turn % 360.0) / 360.0])} )"


def write_robot_steps(steps: Sequence[RobotStep]) -> str:
    """ "0: pick from ( x y rot ) and place to ( x y rot ) 1: push from ( ... ) and push to ( ... )"."""
    words = {"pick": ("pick", "place"), "push": ("push", "push")}
    written = []
    for number, step in enumerate(steps):
        if step.kind not in words:
            raise MioError(f"robot step {number} is {step.kind!r}; it must be pick or push")
        first, second = words[step.kind]
        start, end = _pose(step.start, step.start_turn), _pose(step.end, step.end_turn)
        written.append(f"{number}: {first} from {start} and {second} to {end}")
    return " ".join(written)


def read_robot_steps(text: str) -> Parsed[list[RobotStep]]:
    """The steps in the order of the text. What is numbered like a step but is none is dropped and counted."""

    def pose(tokens: str) -> tuple[tuple[float, float], float]:
        *place, turn = (value_of(int(number)) for number in LOCATION.findall(tokens))
        x, y = np.asarray(place) * (VIMA_HIGH - VIMA_LOW) + VIMA_LOW
        return (float(x), float(y)), float(turn * 360.0)

    steps = [
        RobotStep(match[2] or match[5], *pose(match[3] or match[6]), *pose(match[4] or match[7]))
        for match in _STEP.finditer(text)
    ]
    return Parsed(steps, len(re.findall(r"\d+\s*:", LOCATION.sub("", text))) - len(steps))


def write_action(values: Any, low: Any, high: Any) -> str:
    """An action of any robot as one location token a number, each a share of its range. MioError off the ranges."""
    values, low, high = (np.asarray(part, np.float64) for part in (values, low, high))
    if not (values.ndim == 1 and values.shape == low.shape == high.shape and (low < high).all()):
        raise MioError(f"an action {list(values.shape)} needs a range, low below high, for each of its numbers")
    shares = (values - low) / (high - low)
    if not ((shares >= 0) & (shares <= 1)).all():  # false for NaN
        raise MioError(f"the action {values.tolist()} is off its ranges, {low.tolist()} to {high.tolist()}")
    return write_values(shares)


def read_action(text: str, low: Any, high: Any) -> Parsed[np.ndarray]:
    """float64 [n, numbers] of the actions in a text; tokens that fill no action are dropped and counted."""
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    shares, dropped = read_values(text, len(low))
    return Parsed(shares.astype(np.float64) * (high - low) + low, dropped)


def write_navigation(actions: Sequence[str]) -> str:
    """Plain words, with commas between the actions. MioError on one that is not in NAVIGATION."""
    unknown = [action for action in actions if action not in NAVIGATION]
    if unknown:
        raise MioError(f"unknown navigation action {unknown[0]!r}; there are: {', '.join(NAVIGATION)}")
    return ", ".join(actions)


def read_navigation(text: str) -> Parsed[list[str]]:
    """The known actions; other words between commas are dropped and counted."""
    said = [part for part in (" ".join(p.split()).lower() for p in text.split(",")) if part]
    known = [part for part in said if part in NAVIGATION]
    return Parsed(known, len(said) - len(known))


def write_state(position: Any) -> str:
    """An agent's place (x, z, y), in metres within +-50, as three location tokens."""
    position = np.asarray(position, np.float64)
    if position.shape != (3,):
        raise MioError(f"a place is (x, z, y), not an array {list(position.shape)}")
    return write_values(to_unit(position, "position"))


def read_state(text: str) -> Parsed[np.ndarray]:
    """float64 [n, 3] of (x, z, y) in metres."""
    values, dropped = read_values(text, 3)
    return Parsed(from_unit(values, "position"), dropped)
