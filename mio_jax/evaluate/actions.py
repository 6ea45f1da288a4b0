"""Predicted actions against those of a set, step by step: robot plans in VIMA's form, and navigation.

What can be known without the simulator. A robot's success rate cannot: a plan that differs from the demonstration may
succeed as well, and one that agrees with it may miss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mio_jax.errors import MioError

KINDS = ("pick", "push")
NEAR = 0.05  # metres that a place may be off; ours, about the size of VIMA's objects
TURNED = 15.0  # degrees that a turn may be off
COLUMNS = 7  # of a step: kind, then (x, y, turn) of its start and of its end


def step_rows(steps: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Steps {"kind", "start", "start_turn", "end", "end_turn"} (metres, degrees) -> float64 [n, 7].

    Raises KeyError, TypeError or ValueError on a step of another form.
    """
    rows = [
        [KINDS.index(step["kind"]), *step["start"], step["start_turn"], *step["end"], step["end_turn"]]
        for step in steps
    ]
    return np.asarray(rows, np.float64).reshape(len(rows), COLUMNS)


def robot_metrics(targets: Sequence[np.ndarray], predictions: Sequence[np.ndarray]) -> dict[str, float]:
    """SeqIO metric function of plans float64 [n, 7]; the i-th step is compared with the i-th one of the set.

    robot/step: share of steps with the right kind, both places within 5 cm and both turns within 15 degrees, of as many
    steps as the longer of the two plans has. robot/step_places: the same, whatever the turns (an object may look the
    same from several sides). robot/plan: share of plans of which all steps are right. robot/length: share of as many
    steps. robot/place_error (metres), robot/turn_error (degrees): means over steps of the right kind, if there are any.
    """
    _check("robot", targets, predictions)
    right, places, total, whole, lengths = 0, 0, 0, [], []
    off: list[np.ndarray] = []
    turns: list[np.ndarray] = []
    for true, made in zip(targets, predictions, strict=True):
        n, longest = min(len(true), len(made)), max(len(true), len(made))
        same = true[:n, 0] == made[:n, 0]
        distances = np.linalg.norm((true[:n, 1:] - made[:n, 1:]).reshape(n, 2, 3)[..., :2], axis=-1)
        angles = np.abs((true[:n, [3, 6]] - made[:n, [3, 6]] + 180) % 360 - 180)
        there = same & (distances <= NEAR).all(-1)
        good = there & (angles <= TURNED).all(-1)
        right, places, total = right + good.sum(), places + there.sum(), total + longest
        whole.append(good.sum() == longest)
        lengths.append(len(true) == len(made))
        off.append(distances[same].ravel())
        turns.append(angles[same].ravel())
    scores = {
        "robot/step": float(right / max(total, 1)),
        "robot/step_places": float(places / max(total, 1)),
        "robot/plan": float(np.mean(whole)),
        "robot/length": float(np.mean(lengths)),
    }
    if sum(map(len, off)):
        scores |= {
            "robot/place_error": float(np.concatenate(off).mean()),
            "robot/turn_error": float(np.concatenate(turns).mean()),
        }
    return scores


def navigation_metrics(targets: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> dict[str, float]:
    """SeqIO metric function of lists of actions.

    navigation/action: share of places at which both have the same action, of as many as the longer list has.
    navigation/first: share of right first actions. navigation/plan: share of equal lists.
    """
    _check("navigation", targets, predictions)
    pairs = [(list(true), list(made)) for true, made in zip(targets, predictions, strict=True)]
    same = sum(a == b for true, made in pairs for a, b in zip(true, made, strict=False))
    return {
        "navigation/action": same / max(1, sum(max(len(true), len(made)) for true, made in pairs)),
        "navigation/first": float(np.mean([true[:1] == made[:1] for true, made in pairs])),
        "navigation/plan": float(np.mean([true == made for true, made in pairs])),
    }


def _check(name: str, targets: Sequence[Any], predictions: Sequence[Any]) -> None:
    if len(targets) != len(predictions) or not len(targets):
        raise MioError(f"{name}: {len(predictions)} predictions for {len(targets)} targets")
