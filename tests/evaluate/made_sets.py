"""Small folders in the published layouts of benchmarks, with made-up pictures and truths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mio_jax.evaluate.rle import encode_mask

SIZE = (48, 64)  # height, width
BOX = [8.0, 12.0, 40.0, 36.0]
POSE = [[float(v) for part in range(17) for v in (10 + 2 * part, 40 - part, 2)]]


def mask_of_box() -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[12:36, 8:40] = True
    return mask


def normals() -> np.ndarray:
    """Two flat surfaces that face the camera and the side."""
    picture = np.zeros((*SIZE, 3), np.uint8) + np.asarray([122, 122, 245], np.uint8)
    picture[:, 40:] = [150, 122, 240]
    return picture


ANSWERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # task -> (what is asked, the truth)
    "categorization": ({"output_options": "coco_categories"}, {"words": ["dog"]}),
    "localization": ({"task_query": "zebra"}, {"bboxes": [BOX]}),
    "vqa": ({"task_query": "What is it?"}, {"words": ["dog"] * 4 + ["a cat"] * 6}),
    "refexp": ({"task_query": "the left one"}, {"bboxes": [BOX]}),
    "segmentation": ({"task_query": "sky (Stuff)"}, {"masks": [encode_mask(mask_of_box())]}),
    "keypoint": ({"task_query": "person"}, {"points": POSE}),
    "normal": ({"task_query": None}, {"out_image_name": "n.png"}),
}


def make_grit(folder: Path, *, truth: bool = True, examples: int = 3) -> Path:
    """The second example of each task is of a new source, the third distorted."""
    for name in ("images", "samples/ablation", "output_options", "normals"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(folder / "images" / "a.png")
    Image.fromarray(normals()).save(folder / "normals" / "n.png")
    (folder / "output_options" / "coco_categories.json").write_text(json.dumps(["cat", "dog", "zebra"]))
    for task, (asked, answer) in ANSWERS.items():
        rows = []
        for i in range(examples):
            given = {"example_id": f"{task}_{i}", "image_id": "a.png", "task_name": task, "task_bbox": None}
            given |= {"task_query": None, "output_options": None, **asked}
            if task == "categorization" and i == 0:
                given["task_bbox"] = BOX
            meta = {"is_new_source": i == 1, "is_distorted": i == 2, "has_new_concept": False, "concepts": []}
            rows.append(
                {"input": given, "output": {"example_id": given["example_id"], **answer}, "meta": meta}
                if truth
                else given
            )
        (folder / "samples" / "ablation" / f"{task}.json").write_text(json.dumps(rows))
    return folder


def make_vqav2(folder: Path) -> Path:
    (folder / "val2014").mkdir(parents=True)
    Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(folder / "val2014" / "COCO_val2014_000000000042.jpg")
    questions = [{"image_id": 42, "question": "What is it?", "question_id": 42000 + i} for i in range(3)]
    answers = [
        {"question_id": 42000 + i, "answers": [{"answer": "dog", "answer_id": j} for j in range(10)]} for i in range(2)
    ]
    asked, told = ({"questions": questions}, {"annotations": answers})
    (folder / "v2_OpenEnded_mscoco_val2014_questions.json").write_text(json.dumps(asked))
    (folder / "v2_mscoco_val2014_annotations.json").write_text(json.dumps(told))
    return folder


def make_coco(folder: Path) -> Path:
    (folder / "annotations").mkdir(parents=True)
    (folder / "val2017").mkdir()
    images, captions = [], []
    for i in range(3):
        name = f"{i + 1:012d}.jpg"
        Image.fromarray(np.full((*SIZE, 3), 60 * i, np.uint8)).save(folder / "val2017" / name)
        images.append({"id": i + 1, "file_name": name})
        captions += [{"id": 10 * i + j, "image_id": i + 1, "caption": f"a dog number {i} {j}"} for j in range(2)]
    told = {"images": images, "annotations": captions}
    drawn = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "dog"}]}
    (folder / "annotations" / "captions_val2017.json").write_text(json.dumps(told))
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(drawn))
    return folder


def make_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(folder / "a.png")
    Image.fromarray(mask_of_box().astype(np.uint8) * 255).save(folder / "mask.png")
    Image.fromarray(np.full(SIZE, 1500, np.uint16)).save(folder / "depth.png")
    Image.fromarray(normals()).save(folder / "normals.png")
    lines = [
        {"task": "vqa", "image": "a.png", "text": "What is it?", "target": ["dog"]},
        {"task": "refexp", "image": "a.png", "text": "the left one", "target": BOX, "id": "expression"},
        {"task": "categorization", "image": "a.png", "options": ["cat", "dog"], "target": "dog"},
        {"task": "segmentation_box", "image": "a.png", "text": "dog", "box": BOX, "target": "mask.png"},
        {"task": "depth", "image": "a.png", "target": "depth.png"},
        {"task": "surface_normals", "image": "a.png", "target": "normals.png"},
        {"task": "keypoint", "image": "a.png", "target": POSE},
        {"task": "image_generation", "text": "a dog"},
    ]
    (folder / "examples.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    return folder
