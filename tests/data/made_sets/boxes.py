"""Made-up folders of COCO's family, RefCOCO's, Open Images, Visual Genome and SA-1B."""

from __future__ import annotations

import pickle
from pathlib import Path

from tests.data.made_sets.files import picture, write, write_lines

COARSE = [[4.0, 4.0, 20.0, 4.0, 20.0, 24.0, 4.0, 24.0]]  # a box of x 4..20, y 4..24
CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 64, "name": "potted_plant"}]


def _joints() -> list[float]:
    joints = [0.0] * 51
    joints[0:3] = [10.0, 8.0, 2.0]  # nose: x, y, visible
    joints[15:18] = [6.0, 12.0, 1.0]  # left shoulder, hidden but told
    return joints


def coco(folder: Path) -> None:
    for part in ("train2017", "val2017"):
        images, captions, objects, people = [], [], [], []
        for number in (9, 4, 25):
            name = f"{number:012d}.jpg"
            picture(folder / part / name, number)
            images.append({"id": number, "file_name": name})
            captions += [
                {"id": number * 10 + k, "image_id": number, "caption": f"A Dog  by\n plant {k}, in the sun."}
                for k in (1, 0)
            ]
            objects += [
                {
                    "id": number * 10,
                    "image_id": number,
                    "category_id": 18,
                    "bbox": [4, 4, 16, 20],
                    "segmentation": COARSE,
                },
                {
                    "id": number * 10 + 1,
                    "image_id": number,
                    "category_id": 64,
                    "bbox": [30, 20, 20, 18],
                    "segmentation": [[30, 20, 50, 20, 50, 38, 30, 38]],
                },
            ]
            people.append(
                {
                    "id": number,
                    "image_id": number,
                    "category_id": 1,
                    "bbox": [2, 2, 30, 30],
                    "keypoints": _joints(),
                    "num_keypoints": 2,
                    "iscrowd": 0,
                }
            )
        runs = {"size": [40, 52], "counts": [0, 2080]}
        crowd = {"id": 1, "image_id": 9, "category_id": 18, "bbox": [0, 0, 52, 40], "iscrowd": 1, "segmentation": runs}
        people.append({**people[0], "id": 999, "num_keypoints": 0})
        told = {"images": images, "annotations": captions}
        write(folder / f"annotations/captions_{part}.json", told)
        drawn = {"images": images, "annotations": [*objects, crowd], "categories": CATEGORIES}
        write(folder / f"annotations/instances_{part}.json", drawn)
        posed = {"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}
        write(folder / f"annotations/person_keypoints_{part}.json", posed)


def lvis(folder: Path) -> None:
    for split, part in (("train", "train2017"), ("val", "train2017")):
        number = 1 if split == "train" else 2
        picture(folder / part / f"{number:012d}.jpg", number)
        images = [{"id": number, "coco_url": f"http://images.cocodataset.org/{part}/{number:012d}.jpg"}]
        entry = {"id": 5, "image_id": number, "category_id": 18, "bbox": [4, 4, 16, 20], "segmentation": COARSE}
        write(folder / f"lvis_v1_{split}.json", {"images": images, "annotations": [entry], "categories": CATEGORIES})


def refer(folder: Path) -> None:
    for part, refs in (("refcoco", "unc"), ("refcoco+", "unc"), ("refcocog", "umd")):
        told, entries = [], []
        for number, split in ((1, "train"), (2, "val"), (3, "testA")):
            picture(folder / f"images/mscoco/images/train2014/COCO_train2014_{number:012d}.jpg", number)
            sentences = [{"sent": "the Dog on  the left", "raw": "x"}, {"sent": "dog", "raw": "x"}]
            told.append(
                {"ref_id": number, "ann_id": 10 + number, "image_id": number, "split": split, "sentences": sentences}
            )
            entries.append({"id": 10 + number, "bbox": [4, 4, 16, 20], "segmentation": COARSE})
        write(folder / part / "instances.json", {"annotations": entries})
        (folder / part / f"refs({refs}).p").write_bytes(pickle.dumps(told))


def coco_text(folder: Path) -> None:
    imgs, anns = {}, {}
    for number, part in ((1, "train"), (2, "val"), (3, "train")):
        name = f"COCO_train2014_{number:012d}.jpg"
        picture(folder / "train2014" / name, number)
        imgs[str(number)] = {"id": number, "file_name": name, "set": part}
        legible = {"image_id": number, "bbox": [4, 4, 16, 10], "utf8_string": "STOP", "legibility": "legible"}
        anns[str(number)] = legible if number < 3 else {**legible, "legibility": "illegible"}
    write(folder / "cocotext.v2.json", {"imgs": imgs, "anns": anns})


def open_images(folder: Path) -> None:
    write(folder / "class-descriptions-boxable.csv", "/m/011k07,Tortoise\n/m/01g317,Person\n")
    head = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf\n"
    for file, part, name in (
        ("oidv6-train-annotations-bbox.csv", "train", "00a"),
        ("validation-annotations-bbox.csv", "validation", "00b"),
    ):
        picture(folder / part / f"{name}.jpg", 3)
        rows = f"{name},xclick,/m/011k07,1,0.25,0.5,0.1,0.6,0,0,0\n{name},xclick,/m/01g317,1,0,1,0,1,0,0,1\n"
        write(folder / file, head + rows)
        said = [{"image_id": one, "caption": "In front  a tortoise. Behind it grass."} for one in (name, "gone", name)]
        told = {"train": "train_v6_localized_narratives-00000-of-00010"}.get(part, f"{part}_localized_narratives")
        write_lines(folder / f"open_images_{told}.jsonl", said)


def visual_genome(folder: Path) -> None:
    numbers = [2370799, 2370800, 2370801]
    for number, part in zip(numbers, ("VG_100K", "VG_100K_2", "VG_100K"), strict=True):
        picture(folder / part / f"{number}.jpg", number)
    box = {"x": 4, "y": 6, "w": 20, "h": 24}
    other = {"x": 30, "y": 6, "w": 20, "h": 30}
    qa = [{"question": "What  color is the dog?", "answer": "Brown."}]
    write(folder / "question_answers.json", [{"id": n, "qas": qa} for n in numbers])
    region = {"x": 4, "y": 6, "width": 20, "height": 24, "phrase": "a brown  dog"}
    flat = {**region, "width": 0}
    write(folder / "region_descriptions.json", [{"id": n, "regions": [region, flat]} for n in numbers])
    objects = [{**box, "names": ["dog", "hound"]}, {**other, "names": ["man"]}]
    write(folder / "objects.json", [{"image_id": n, "objects": objects} for n in numbers])
    relation = {"predicate": "LOOKS AT", "subject": {**box, "name": "dog"}, "object": {**other, "names": ["man"]}}
    write(folder / "relationships.json", [{"image_id": n, "relationships": [relation]} for n in numbers])


def sam(folder: Path) -> None:
    for number in (1, 2):
        picture(folder / f"sa_000000/sa_{number}.jpg", number)
        # Columns of 40: 4 empty ones and 4 rows above, then 16 columns of 20 rows with 20 between them.
        counts = [164, 20] + [20, 20] * 15
        counts.append(40 * 52 - sum(counts))
        entry = {"segmentation": {"size": [40, 52], "counts": encoded(counts)}, "bbox": [4, 4, 16, 20]}
        write(folder / f"sa_000000/sa_{number}.json", {"image": {"image_id": number}, "annotations": [entry]})


def encoded(counts: list[int]) -> str:
    """COCO's compressed run lengths, written here a second time: the reader is checked against it."""
    text = ""
    for place, count in enumerate(counts):
        value = count - (counts[place - 2] if place > 2 else 0)
        while True:
            low, value = value & 31, value >> 5
            done = (value == 0 and not low & 16) or (value == -1 and bool(low & 16))
            text += chr(48 + (low if done else low | 32))
            if done:
                break
    return text


MAKERS = {
    "coco": coco,
    "lvis": lvis,
    "refer": refer,
    "coco_text": coco_text,
    "open_images": open_images,
    "visual_genome": visual_genome,
    "sam": sam,
}
