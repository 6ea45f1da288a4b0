"""Answers of a task as files: numbers as JSON, pictures and sounds as themselves, boxes, poses and masks drawn."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mio_jax.errors import MioError
from mio_jax.task_protocol import TaskAnswer, TaskInputs

COLOURS = ((230, 25, 75), (0, 130, 200), (60, 180, 75), (245, 130, 48), (145, 30, 180), (0, 128, 128), (240, 50, 230))
SHEET_COLUMNS = 4
# Pairs of COCO's 17 parts that are joined by a line.
LIMBS = ((5, 7), (7, 9), (6, 8), (8, 10), (5, 6), (11, 12), (5, 11), (6, 12), (11, 13), (13, 15), (12, 14), (14, 16))


def answer_facts(answer: TaskAnswer) -> dict[str, Any]:
    """What of an answer is numbers and words, ready for JSON; coordinates in pixels of the picture, x before y."""
    facts: dict[str, Any] = {"text": answer.text}
    if answer.boxes is not None:
        labels = answer.labels or (None,) * len(answer.boxes)
        facts["boxes"] = [
            {**dict(zip(("x1", "y1", "x2", "y2"), _rounded(box), strict=True)), **({"label": label} if label else {})}
            for box, label in zip(answer.boxes, labels, strict=True)
        ]
    if answer.poses is not None:
        facts["poses"] = [[_rounded(point) for point in pose] for pose in answer.poses]  # [x, y, 2 if it is visible]
    if answer.actions is not None:
        facts["actions"] = [dict(action) for action in answer.actions]
    if answer.scores is not None:
        facts["scores"] = {option: round(score, 4) for option, score in answer.scores.items()}
    if answer.dropped:
        facts["dropped"] = answer.dropped
    if answer.note:
        facts["note"] = answer.note
    return facts


def _rounded(values: Sequence[float] | np.ndarray) -> list[float]:
    return [round(float(value), 2) for value in values]


def write_answer(
    out: Path, number: int, inputs: TaskInputs, answer: TaskAnswer, facts: Mapping[str, Any]
) -> list[Path]:
    """NNN.json; NNN.png, NNN_frame_K.png, NNN_drawn.png, NNN_mask_K.png, NNN_depth.png, NNN.wav where there are such.

    `facts` (task, seed, inputs, ...) stand in the JSON before the answer. Depth is a 16-bit grey picture of
    millimetres. Returns what was written, the JSON last.
    """
    from PIL import Image

    from mio_tokenizers.audio.io import write_wav

    out.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []

    def save(suffix: str, picture: Any) -> None:
        files.append(out / f"{number:03d}{suffix}")
        picture.save(files[-1])

    if answer.picture is not None:
        save(".png", Image.fromarray(answer.picture))
    for i, frame in enumerate(() if answer.video is None else answer.video):
        save(f"_frame_{i:03d}.png", Image.fromarray(frame))
    if answer.depth is not None:
        save("_depth.png", Image.fromarray(np.clip(np.rint(answer.depth * 1000), 0, 65535).astype(np.uint16)))
    for i, mask in enumerate(answer.masks or ()):
        save(f"_mask_{i}.png", Image.fromarray(mask.astype(np.uint8) * 255))
    if inputs.image is not None and any(part is not None for part in (answer.boxes, answer.poses, answer.masks)):
        save("_drawn.png", Image.fromarray(drawn(inputs.image, answer)))
    if answer.sound is not None:
        files.append(out / f"{number:03d}.wav")
        write_wav(files[-1], answer.sound)
    told = {**facts, **answer_facts(answer), "files": [path.name for path in files]}
    files.append(out / f"{number:03d}.json")
    files[-1].write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return files


def write_frames(stem: Path, pictures: Sequence[np.ndarray], seconds: float = 0.5) -> list[Path]:
    """Pictures of one size, uint8 [height, width, 3]: STEM.gif, `seconds` each, and STEM_sheet.png
    with all of them, row by row. Returns what was written."""
    from PIL import Image

    frames = [Image.fromarray(picture) for picture in pictures]
    width, height = frames[0].size
    if any(frame.size != (width, height) for frame in frames):
        raise MioError(f"frames of one video have one size, not {sorted({frame.size for frame in frames})}")
    files = [stem.with_name(f"{stem.name}.gif"), stem.with_name(f"{stem.name}_sheet.png")]
    frames[0].save(files[0], save_all=True, append_images=frames[1:], duration=round(1000 * seconds), loop=0)
    columns = min(len(frames), SHEET_COLUMNS)
    sheet = Image.new("RGB", (columns * width, -(-len(frames) // columns) * height), "white")
    for i, frame in enumerate(frames):
        sheet.paste(frame, (i % columns * width, i // columns * height))
    sheet.save(files[1])
    return files


def drawn(picture: np.ndarray, answer: TaskAnswer) -> np.ndarray:
    """uint8 [height, width, 3] with the answer's masks tinted, its boxes framed and named, its poses as lines."""
    from PIL import Image, ImageDraw

    if picture.dtype != np.uint8 or picture.ndim != 3:
        raise MioError(f"boxes are drawn on uint8 [height, width, 3], not {picture.dtype} {list(picture.shape)}")
    pixels = picture.copy()
    for i, mask in enumerate(answer.masks or ()):
        pixels[mask] = (pixels[mask] * 0.5 + np.asarray(COLOURS[i % len(COLOURS)]) * 0.5).astype(np.uint8)
    image = Image.fromarray(pixels)
    pen = ImageDraw.Draw(image)
    width = max(1, min(picture.shape[:2]) // 200)
    if answer.boxes is not None:
        for i, box in enumerate(answer.boxes):
            colour = COLOURS[i % len(COLOURS)]
            pen.rectangle([float(edge) for edge in box], outline=colour, width=width)
            if answer.labels:
                name = answer.labels[i].encode("ascii", "replace").decode()  # what the built-in font has
                pen.text((float(box[0]) + width + 1, float(box[1]) + width), name, fill=colour)
    for i, pose in enumerate(answer.poses if answer.poses is not None else ()):
        colour = COLOURS[i % len(COLOURS)]
        for a, b in LIMBS:
            if pose[a, 2] > 0 and pose[b, 2] > 0:
                pen.line([tuple(pose[a, :2].tolist()), tuple(pose[b, :2].tolist())], fill=colour, width=width)
        for x, y, seen in pose.tolist():
            if seen > 0:
                pen.ellipse([x - 2 * width, y - 2 * width, x + 2 * width, y + 2 * width], fill=colour)
    return np.asarray(image)
