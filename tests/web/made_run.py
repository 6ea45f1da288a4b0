"""A run directory made up for the tests of the report: small numbers, drawn pictures, plain tones."""

from __future__ import annotations

import json
import math
import struct
import wave
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mio_jax.config import ModelConfig, RunConfig, StageConfig
from mio_jax.config_loading import save_json
from mio_jax.web.results import slug

COLOURS = {"red": (214, 48, 49), "teal": (0, 148, 133), "yellow": (253, 203, 46), "blue": (58, 99, 211)}
SCORES = {
    "text->image": ("picture_rank", 0.71, 0.50, 0.021, 208),
    "image->text": ("caption_rank", 0.83, 0.51, 0.018, 208),
    "text->audio": ("sound_match", 0.64, 0.12, 0.034, 208),
    "image+question->text": ("answer", 0.58, 0.55, 0.020, 208),  # does not pass
    "image->mask": ("mask_iou", 0.81, 0.43, 0.011, 208),
    "text->image:shapes": ("shape_and_colour", 0.9, 0.05, 0.0, 208),
}


def picture(path: Path, colour: str, round_: bool, noise: int = 0) -> None:
    image = Image.new("RGB", (64, 64), "white")
    draw = ImageDraw.Draw(image)
    (draw.ellipse if round_ else draw.rectangle)((14, 14, 50, 50), fill=COLOURS[colour])
    values = np.asarray(image).astype(int) + np.random.default_rng(0).integers(-noise, noise + 1, (64, 64, 3))
    Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(path)


def tone(path: Path, hertz: float, seconds: float = 1.0) -> None:
    n = int(16000 * seconds)
    samples = [int(20000 * math.exp(-3 * i / n) * math.sin(2 * math.pi * hertz * i / 16000)) for i in range(n)]
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16000)
        sound.writeframes(struct.pack(f"<{n}h", *samples))


def make_run(folder: Path, *, steps: int = 40, examples: int = 2, evaluated: bool = True) -> Path:
    stages = tuple(StageConfig(name, steps=steps, mixture="m", batch_size=8) for name in ("alignment", "sft"))
    config = RunConfig(name="made <up>", run_dir=str(folder), model=ModelConfig(depth=3), stages=stages)
    save_json(config, folder / "config.json")
    rng, step = np.random.default_rng(0), 0
    for number, stage in enumerate(stages):
        rows = []
        for i in range(steps):
            step += 1
            losses = {m: float(a * math.exp(-step / b) + c + rng.normal(0, 0.08)) for m, a, b, c in (
                ("text", 5.0, 30, 1.6), ("image", 2.4, 60, 3.7), ("audio", 3.0, 45, 2.4)
            )}  # fmt: skip
            row = {"step": i + 1, "global_step": step, "stage": stage.name, "loss": sum(losses.values()) / 3}
            row |= {f"loss/{m}": v for m, v in losses.items() if not (m == "audio" and step % 7 == 0)}
            rows.append(
                row | {"tokens_per_s": 3000.0 + i, "packing_fill": 0.93, "grad_norm": 1.0, "wall_s": step * 1.0}
            )
        path = folder / "stages" / f"{number:02d}_{stage.name}" / "metrics.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    if evaluated:
        make_results(folder, examples)
    return folder


def make_results(folder: Path, examples: int) -> None:
    names = ("metric", "value", "control", "stderr", "n")
    directions: dict[str, dict] = {d: dict(zip(names, s, strict=True)) for d, s in SCORES.items()}
    directions["text->audio"] |= {
        "note": "instrument and note both right",
        "ceiling": 0.92,
        "details": {
            "note": {"value": 0.8, "control": 0.2, "stderr": 0.03, "n": 208, "ceiling": 0.95},
            "rare": {"value": None, "control": None, "stderr": None, "n": 1},
        },
    }
    results = {
        "directions": directions,
        "wall_s": {
            "install": 210.0,
            "prepare": 95.2,
            "train": 801.0,
            "evaluate": 240.4,
            "report": 1.2,
            "total": 1347.8,
        },
    }
    (folder / "results.json").write_text(json.dumps(results))
    for direction in SCORES:
        inside = folder / "samples" / slug(direction)
        inside.mkdir(parents=True, exist_ok=True)
        made = [example(inside, direction, i) for i in range(examples)]
        (inside / "samples.json").write_text(json.dumps(made))


def example(folder: Path, direction: str, i: int) -> dict:
    colour, round_ = list(COLOURS)[i % 4], bool(i % 3)
    words = {"kind": "text", "text": f"a {colour} {'circle' if round_ else 'square'} & <friends>, number {i}"}
    picture(folder / f"{i}_ref.png", colour, round_)
    picture(folder / f"{i}_out.png", colour, round_, noise=60)
    real, made = ({"kind": "image", "file": f"{i}_{w}.png"} for w in ("ref", "out"))
    before, after = direction.split("->")
    if after == "audio":
        tone(folder / f"{i}_ref.wav", 220.0 * 2 ** (i / 12))
        tone(folder / f"{i}_out.wav", 220.0 * 2 ** (i / 12), seconds=0.8)
        real, made = ({"kind": "audio", "file": f"{i}_{w}.wav"} for w in ("ref", "out"))
    inputs = (
        [words]
        if before == "text"
        else [real]
        if before == "image"
        else [{"kind": "text", "text": "What is it?"}, real]
    )
    if after == "text":
        return {"inputs": inputs, "outputs": [words], "reference": [words], "note": "ranked 3 of 32"}
    return {"inputs": inputs, "outputs": [made], "reference": [real]}
