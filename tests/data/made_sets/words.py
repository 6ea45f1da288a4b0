"""Made-up folders of questions, choices, statements and conversations about pictures."""

from __future__ import annotations

from pathlib import Path

from tests.data.made_sets.files import picture, write, write_lines


def _vqa(folder: Path, prefix: str) -> None:
    for part in ("train2014", "val2014"):
        questions, annotations = [], []
        for number in (7, 8):
            picture(folder / part / f"COCO_{part}_{number:012d}.jpg", number)
            for k, answers in enumerate((["Yes", "no", "no"], ["2", "2", "3"])):
                key = number * 10 + k
                questions.append({"image_id": number, "question": f"What is  it, {k}?", "question_id": key})
                annotations.append({"question_id": key, "answers": [{"answer": a} for a in answers]})
        write(folder / f"{prefix}OpenEnded_mscoco_{part}_questions.json", {"questions": questions})
        write(folder / f"{prefix}mscoco_{part}_annotations.json", {"annotations": annotations})


def vqav2(folder: Path) -> None:
    _vqa(folder, "v2_")


def okvqa(folder: Path) -> None:
    _vqa(folder, "")


def gqa(folder: Path) -> None:
    for number, part in enumerate(("train", "val")):
        picture(folder / f"images/{number}.jpg", number)
        asked = {"imageId": str(number), "question": "Is it red?", "answer": "no"}
        write(folder / f"{part}_balanced_questions.json", {"07333408": asked, "07333409": {**asked, "answer": "yes"}})


def tallyqa(folder: Path) -> None:
    for part, file in (("train", "train2014/COCO_train2014_000000000001.jpg"), ("test", "VG_100K/5.jpg")):
        picture(folder / file, 1)
        write(folder / f"{part}.json", [{"image": file, "question": "How many dogs?", "answer": 3}])


def textvqa(folder: Path) -> None:
    for number, part in enumerate(("train", "val")):
        picture(folder / f"train_images/a{number}.jpg", number)
        asked = {"question": "What does it say?", "image_id": f"a{number}", "answers": ["stop", "stop", "top"]}
        write(folder / f"TextVQA_0.5.1_{part}.json", {"data": [asked]})


def vizwiz(folder: Path) -> None:
    for part in ("train", "val"):
        picture(folder / part / f"VizWiz_{part}_00000000.jpg", 1)
        asked = {"image": f"VizWiz_{part}_00000000.jpg", "question": "What is this?", "answers": [{"answer": "soup"}]}
        write(folder / f"Annotations/{part}.json", [asked])


def ocrvqa(folder: Path) -> None:
    told = {}
    for number, split in (("0061007161", 1), ("0061007162", 3), ("0061007163", 2)):
        picture(folder / f"images/{number}.jpg", 3)
        address = f"http://ecx.images-amazon.com/images/I/{number}.jpg"
        told[number] = {"imageURL": address, "questions": ["Who  wrote this?", "What is it?"], "split": split}
        told[number] |= {"answers": ["A. Writer", "Novel"], "title": "x", "authorName": "A. Writer", "genre": "Novel"}
    write(folder / "dataset.json", told)


def clevr(folder: Path) -> None:
    for part in ("train", "val"):
        picture(folder / f"images/{part}/CLEVR_{part}_000000.png", 1)
        asked = {"image_filename": f"CLEVR_{part}_000000.png", "question": "How many cubes?", "answer": 2}
        write(folder / f"questions/CLEVR_{part}_questions.json", {"questions": [asked]})


def scienceqa(folder: Path) -> None:
    problems = {}
    for number, part in (("1", "train"), ("2", "test")):
        picture(folder / part / number / "image.png", 1)
        problems[number] = {
            "question": "Which state?",
            "choices": ["Ohio", "Utah"],
            "answer": 1,
            "hint": "",
            "image": "image.png",
        }
        problems[number] |= {"lecture": "States  are  parts.", "solution": "It is Utah." if number == "1" else ""}
    problems["3"] = {**problems["1"], "image": None}
    write(folder / "problems.json", problems)
    write(folder / "pid_splits.json", {"train": ["1", "3"], "test": ["2"]})


def aokvqa(folder: Path) -> None:
    for part in ("train", "val"):
        picture(folder / f"{part}2017/{1:012d}.jpg", 1)
        asked = {
            "image_id": 1,
            "question_id": "q1",
            "question": "What is he doing?",
            "choices": ["surfing", "skating"],
            "correct_choice_idx": 1,
            "direct_answers": ["skating", "skating", "skateboarding"],
        }
        write(folder / f"aokvqa_v1p0_{part}.json", [asked])


def vsr(folder: Path) -> None:
    for part in ("train", "test"):
        picture(folder / "images" / f"{part}.jpg", 1)
        one = {"image": f"{part}.jpg", "caption": "The cat is under the table.", "label": 1}
        write_lines(folder / f"{part}.jsonl", [one, {**one, "caption": "The cat is on the table.", "label": 0}])


def nlvr2(folder: Path) -> None:
    for k, width in enumerate((52, 40)):
        picture(folder / f"images/train/57/train-10171-0-img{k}.png", k, width=width)
        picture(folder / f"dev/dev-850-0-img{k}.png", k)
    told = {"sentence": "Both show  dogs.", "label": "False"}
    write_lines(folder / "data/train.json", [{**told, "identifier": "train-10171-0-0", "directory": 57}])
    write_lines(folder / "data/dev.json", [{**told, "identifier": "dev-850-0-0"}])


def llava_instruct(folder: Path) -> None:
    picture(folder / "train2017/000000000009.jpg", 9)
    said = ["What is shown?\n<image>", "A dog.", "Which breed?", "A hound, it seems."]
    turns = [{"from": who, "value": text} for who, text in zip(["human", "gpt"] * 2, said, strict=True)]
    write(
        folder / "llava_instruct_150k.json",
        [{"id": "000000000009", "image": "000000000009.jpg", "conversations": turns}],
    )


MAKERS = {
    maker.__name__: maker
    for maker in (
        *(vqav2, okvqa, gqa, tallyqa, textvqa, vizwiz, clevr, ocrvqa),
        *(scienceqa, aokvqa, vsr, nlvr2, llava_instruct),
    )
}
