"""Answers as files: what of them is numbers, what is drawn, and what is read back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mio_jax.errors import MioError
from mio_jax.generate.answer_files import drawn, write_answer
from mio_jax.task_protocol import TaskAnswer, TaskInputs
from mio_tokenizers.audio.io import read_audio
from mio_tokenizers.base import Audio

GREY = np.full((60, 80, 3), 100, np.uint8)


def test_everything_an_answer_may_hold(tmp_path: Path) -> None:
    mask = np.zeros((60, 80), bool)
    mask[:30] = True
    pose = np.full((1, 17, 3), 2.0, np.float32)
    pose[0, :, 0], pose[0, :, 1] = np.linspace(5, 75, 17), np.linspace(5, 55, 17)
    answer = TaskAnswer(
        text="said",
        boxes=np.asarray([[10.004, 20, 30, 40], [1, 2, 3, 4]], np.float32),
        labels=("cat", "chat noir é"),
        poses=pose,
        masks=(mask,),
        picture=GREY,
        depth=np.full((60, 80), 1.5, np.float32),
        sound=Audio(np.sin(np.arange(1600) / 9).astype(np.float32), 16000),
        actions=({"action": "move ahead"},),
        scores={"yes": -1.0},
        dropped=2,
    )
    files = write_answer(tmp_path, 3, TaskInputs(image=GREY), answer, {"task": "all"})
    names = ["003.png", "003_depth.png", "003_mask_0.png", "003_drawn.png", "003.wav", "003.json"]
    assert [path.name for path in files] == names
    facts = json.loads(files[-1].read_text())
    assert facts["boxes"][0] == {"x1": 10.0, "y1": 20.0, "x2": 30.0, "y2": 40.0, "label": "cat"}
    assert facts["actions"] == [{"action": "move ahead"}]
    assert (facts["task"], facts["dropped"], facts["files"]) == ("all", 2, names[:-1])
    assert len(facts["poses"][0]) == 17
    assert (np.asarray(Image.open(files[1])) == 1500).all()
    assert np.array_equal(np.asarray(Image.open(files[2])) > 0, mask)
    assert len(read_audio(files[4]).samples) == 1600


def test_what_is_drawn_is_where_it_belongs() -> None:
    mask = np.zeros((60, 80), bool)
    mask[50:] = True
    out = drawn(GREY, TaskAnswer(boxes=np.asarray([[10, 20, 30, 40]], np.float32), masks=(mask,)))
    changed = (out != GREY).any(-1)
    assert changed[20, 10:31].all()
    assert changed[20:41, 30].all()
    assert not changed[25:35, 15:25].any()
    assert changed[50:].all()
    assert (GREY == 100).all()
    with pytest.raises(MioError, match="boxes are drawn on uint8"):
        drawn(GREY.astype(np.float32), TaskAnswer())


def test_a_text_alone_is_one_file(tmp_path: Path) -> None:
    [only] = write_answer(tmp_path, 0, TaskInputs(image=GREY), TaskAnswer(text="a cat"), {})
    assert json.loads(only.read_text()) == {"text": "a cat", "files": []}
