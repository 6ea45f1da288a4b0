"""What the workers of the LLaMA benchmarks share: the work they are given and the loop that takes commands.

Imported by the interpreters of both sides, so it needs nothing but numpy.
"""

from __future__ import annotations

import abc
import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def arguments() -> tuple[dict[str, Any], Path]:
    """(setting, folder of the weights)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--setting", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args()
    return json.loads(args.setting), args.folder


def training_tokens(setting: dict[str, Any], step: int) -> np.ndarray:
    """int64 [rows, length] of a step."""
    rng = np.random.default_rng([setting["seed"], step])
    return rng.integers(0, setting["vocab_size"], (setting["rows"], setting["length"]))


def prompts(setting: dict[str, Any], rows: int) -> np.ndarray:
    """int64 [rows, prompt]."""
    rng = np.random.default_rng([setting["seed"], 10**6, rows])
    return rng.integers(0, setting["vocab_size"], (rows, setting["prompt"]))


class Trainer(abc.ABC):
    """A side; it brings `one_step`, which ends when the step has been computed, and the other commands."""

    def __init__(self, setting: dict[str, Any]) -> None:
        self.checked_steps: int = setting["checked_steps"]

    @abc.abstractmethod
    def one_step(self) -> float:
        """Takes a training step -> its loss."""

    def losses(self) -> dict[str, Any]:
        return {"losses": [self.one_step() for _ in range(self.checked_steps)]}

    def train(self, steps: int) -> dict[str, Any]:
        seconds = []
        for _ in range(steps):
            start = time.perf_counter()
            self.one_step()
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds}


def serve(side: Trainer) -> None:
    """Answers one JSON command a line until the input ends. What libraries print goes to the standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(side, request.pop("command"))(**request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
