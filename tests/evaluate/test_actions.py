"""Actions against those of a set: counted by hand, and through a folder of examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mio_jax.errors import MioError
from mio_jax.evaluate.actions import navigation_metrics, robot_metrics, step_rows
from mio_jax.evaluate.stored import Predictions
from mio_jax.evaluate.suite_folder import RULES, open_folder
from mio_jax.evaluate.suite_run import scored
from mio_jax.evaluate.suites import Data
from mio_jax.task_protocol import TaskAnswer
from mio_tokenizers.structured.actions import RobotStep, read_robot_steps, write_robot_steps

PICK = {"kind": "pick", "start": [0.3, 0.0], "start_turn": 350.0, "end": [0.5, 0.2], "end_turn": 0.0}
PUSH = {"kind": "push", "start": [0.6, -0.4], "start_turn": 0.0, "end": [0.7, -0.4], "end_turn": 0.0}


def test_steps_are_counted_in_their_order() -> None:
    true = step_rows([PICK, PUSH])
    assert robot_metrics([true], [true])["robot/plan"] == 1.0
    near = step_rows([PICK | {"start": [0.33, 0.0], "start_turn": 4.0}, PUSH | {"end_turn": 340.0}])
    found = robot_metrics([true], [near])
    assert found["robot/step"] == 0.5, "4 degrees from 350 are 14 off, 340 from 0 are 20"
    assert found["robot/step_places"] == 1.0
    assert found["robot/plan"] == 0.0
    assert found["robot/length"] == 1.0
    assert found["robot/place_error"] == pytest.approx(0.03 / 4)
    assert found["robot/turn_error"] == pytest.approx((14 + 20) / 4)
    swapped, short, none = step_rows([PUSH, PICK]), step_rows([PICK]), step_rows([])
    assert robot_metrics([true], [swapped]) == dict.fromkeys(("robot/step", "robot/step_places", "robot/plan"), 0.0) | {
        "robot/length": 1.0
    }
    found = robot_metrics([true, true, none], [short, none, none])
    assert found["robot/step"] == 0.25
    assert found["robot/plan"] == pytest.approx(1 / 3)
    assert found["robot/length"] == pytest.approx(1 / 3)
    far = step_rows([PICK | {"end": [0.5, 0.26]}])
    assert robot_metrics([short], [far])["robot/step_places"] == 0.0


def test_navigation() -> None:
    true = [["move ahead", "turn left"], ["stop"]]
    assert navigation_metrics(true, true) == dict.fromkeys(
        ("navigation/action", "navigation/first", "navigation/plan"), 1.0
    )
    found = navigation_metrics(true, [["move ahead", "turn right", "stop"], []])
    assert found == {"navigation/action": 0.25, "navigation/first": 0.5, "navigation/plan": 0.0}


def test_a_folder_of_plans_by_level(tmp_path: Path) -> None:
    """What a model says comes back as steps, is stored, and is scored by group."""
    lines: list[dict[str, Any]] = [
        {"task": "robot_plan", "text": "put it there", "target": [PICK], "group": "level 1"},
        {"task": "robot_plan", "text": "and this", "target": [PICK, PUSH], "group": "level 2"},
        {"task": "navigation", "text": "to the lamp", "target": ["Move ahead"]},
    ]
    (tmp_path / "examples.jsonl").write_text("\n".join(map(json.dumps, lines)))
    robot, navigation = open_folder(Data(tmp_path))
    said = write_robot_steps([RobotStep(**PICK)])
    answer = TaskAnswer(actions=tuple(step._asdict() for step in read_robot_steps(said).items))
    for _ in range(2):  # the second time they are read back
        found = Predictions(tmp_path / "predictions", "robot", "key")
        for item in robot.items:
            if item.id not in found.found:
                found.put(item.id, robot.predict(answer))
    scores = scored(robot, robot.items, found.found)["scores"]
    assert scores["level 1"]["robot/plan"] == 1.0
    assert scores["level 2"]["robot/plan"] == 0.0
    assert scores["all"]["robot/step"] == pytest.approx(2 / 3)
    moved = RULES["navigation"].predict(TaskAnswer(actions=({"action": "move ahead"},)))
    assert scored(navigation, navigation.items, {"3": moved})["scores"]["all"]["navigation/plan"] == 1.0
    assert RULES["robot_plan"].predict(TaskAnswer()).shape == (0, 7)


def test_what_is_no_plan(tmp_path: Path) -> None:
    for target in ([{"kind": "fly"}], [PICK | {"kind": "fly"}], [PICK | {"start": [1]}], 3):
        (tmp_path / "examples.jsonl").write_text(json.dumps({"task": "robot_plan", "text": "x", "target": target}))
        [part] = open_folder(Data(tmp_path))
        with pytest.raises(MioError, match=r"line 1: its target is none for task 'robot_plan'"):
            part.items[0].target()  # type: ignore[misc]
    with pytest.raises(MioError, match="robot: 0 predictions for 1 targets"):
        robot_metrics([np.zeros((0, 7))], [])
