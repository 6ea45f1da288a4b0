"""The sets of the suite `mio` in miniature, in their published layouts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image

from mio_tokenizers.base import Audio
from tests.evaluate.made_sets import SIZE, make_vqav2

WORDS = "MISTER QUILTER SEES FIVE DOGS"


def picture(path: Path, value: int = 90) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*SIZE, 3), value, np.uint8)).save(path, "PNG")


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def make_karpathy(folder: Path, name: str, where: str = "", pictures: str = "flickr30k-images") -> None:
    images = []
    for number, split in enumerate(("train", "test", "test")):
        file = f"{number}.jpg"
        place = {"filepath": where} if where else {}
        raw = [{"raw": f"A dog number {number} runs {times} times."} for times in range(2)]
        images.append({**place, "filename": file, "split": split, "sentences": raw})
        picture(folder / (where or pictures) / file, 60 * number)
    write(folder / f"dataset_{name}.json", {"images": images, "dataset": name})


def make_okvqa(folder: Path) -> None:
    make_vqav2(folder)
    for file in list(folder.glob("v2_*.json")):
        file.rename(folder / file.name.removeprefix("v2_"))


def make_vizwiz(folder: Path) -> None:
    picture(folder / "val" / "a.jpg")
    answers = [{"answer": "dog", "answer_confidence": "yes"}] * 10
    write(folder / "Annotations" / "val.json", [{"image": "a.jpg", "question": "What?", "answers": answers}])


def make_seed_bench(folder: Path) -> None:
    picture(folder / "SEED-Bench-image" / "1_2")
    one = {"choice_a": "cat", "choice_b": "dog", "choice_c": 3, "choice_d": "two", "answer": "B", "data_id": "1_2"}
    one |= {"question": "What is it?", "question_type_id": 1}
    kinds = [{"data_type": kind, "question_id": str(i)} for i, kind in enumerate(("image", "image", "video"))]
    write(
        folder / "SEED-Bench.json",
        {"question_type": {"Scene": 1}, "questions": [one | kind for kind in kinds]},
    )


def make_librispeech(folder: Path) -> None:
    import soundfile

    place = folder / "test-clean" / "1089" / "134686"
    place.mkdir(parents=True)
    lines = []
    for number in range(2):
        key = f"1089-134686-{number:04d}"
        soundfile.write(place / f"{key}.flac", np.sin(np.arange(4000) / 9).astype(np.float32) * 0.3, 16000)
        lines.append(f"{key} {WORDS}\n")
    (place / "1089-134686.trans.txt").write_text("".join(lines))


def make_vctk(folder: Path) -> None:
    (folder / "txt" / "p225").mkdir(parents=True)
    for number in range(2):
        (folder / "txt" / "p225" / f"p225_{number}.txt").write_text("Please call Stella.\n")


def make_video_qa(folder: Path, name: str) -> None:
    """Videos that are animated pictures by another name would be none: these are MPEG-4, where PyAV is there."""
    from tests.data.test_video import made_up, write_film

    rows = [
        {"id": i, "video_id": 7, "question": "what  runs?", "answer": answer} for i, answer in enumerate(("dog", "cat"))
    ]
    write(folder / "test_qa.json", rows)
    file = "YouTubeClips/abc_1_2.avi" if name == "msvd_qa" else "videos/video7.mp4"
    (folder / file).parent.mkdir(parents=True)
    write_film(folder / file, made_up())
    if name == "msvd_qa":
        (folder / "youtube_mapping.txt").write_text("abc_1_2 vid7\n")


def make_mmlu(folder: Path) -> None:
    (folder / "test").mkdir(parents=True)
    for subject in ("abstract_algebra", "virology"):
        with (folder / "test" / f"{subject}_test.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(["# of dogs, in\nall?", "one", "two", "three", "four", "B"])


def make_mio(folder: Path, *, videos: bool = True) -> Path:
    make_karpathy(folder / "coco", "coco", "val2014")
    make_karpathy(folder / "flickr30k", "flickr30k")
    make_vqav2(folder / "vqav2")
    make_okvqa(folder / "okvqa")
    make_vizwiz(folder / "vizwiz")
    make_seed_bench(folder / "seed_bench")
    make_librispeech(folder / "LibriSpeech")
    make_vctk(folder / "VCTK")
    make_mmlu(folder / "mmlu")
    for name in ("msvd_qa", "msrvtt_qa") if videos else ():
        make_video_qa(folder / name, name)
    return folder


def recognise(sounds: list[Audio]) -> list[str]:
    """A recogniser that mishears one word of five."""
    return ["mr quilter sees 5 cats" for _ in sounds]
