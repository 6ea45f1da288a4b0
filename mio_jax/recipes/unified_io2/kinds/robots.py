"""Kinds of robots: whole plans on a table, and the next action of an episode."""

from __future__ import annotations

import re

import numpy as np

from mio_jax.recipes.unified_io2.kinds.parts import Kind, field, frames, has, raw, said
from mio_jax.recipes.unified_io2.preprocessing import FULL
from mio_jax.recipes.unified_io2.prompt_library import draw
from mio_jax.recipes.unified_io2.tasks import Content, Record, text
from mio_tokenizers.structured.actions import RobotStep, write_action, write_robot_steps

Rng = np.random.Generator


def robot_plan(record: Record, rng: Rng, style: str) -> Content:
    """All steps from what is asked for: pictures that stand among its words are the history of the table's picture."""
    asked = re.sub(r"\{(\d+)\}", r"<image_history_\1>", record["instruction"])
    steps = [
        RobotStep(one["kind"], tuple(one["start"]), one["start_turn"], tuple(one["end"]), one["end_turn"])
        for one in field(record, "steps")
    ]
    return [text(draw("robot_plan", rng, asked)), *frames(record), *said(write_robot_steps(steps))]


def _fits(record: Record) -> bool:
    """A model has room for so many pictures."""
    return has("instruction", "steps")(record) and len(raw(record, "frames")) <= FULL.frames + 1


def robot_action(record: Record, rng: Rng, style: str) -> Content:
    """The next action after the last frame, each number as a share of its range."""
    done = write_action(*(field(record, name) for name in ("action", "action_low", "action_high")))
    return [text(draw("robot_action", rng, record["instruction"])), *frames(record), *said(done)]


KINDS: dict[str, Kind] = {
    "robot_plan": Kind(robot_plan, "request, table -> picks, places, pushes", "image text", "text", _fits),
    "robot_action": Kind(robot_action, "request, frames -> next action", "image text", "text", has("instruction")),
}
