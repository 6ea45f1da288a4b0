"""The sets that MIO's paper evaluates on, read from a user's folder in their published layouts, as items of a suite.

Media are read when an item is asked for; what is not as published is one clear line.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mio_jax.data.media.video_reader import Video, open_video
from mio_jax.data.sources.files import one_space, published, read_json, read_lines
from mio_jax.data.sources.videos import MsrVttQa, MsvdQa
from mio_jax.evaluate.suite_vqa import ask_about, questions
from mio_jax.evaluate.suites import Item
from mio_jax.task_protocol import TaskInputs
from mio_tokenizers.audio.io import read_audio
from mio_tokenizers.image.io import read_image

LETTERS = ("A", "B", "C", "D")


def _here(value: Any) -> Any:
    return value


def karpathy(folder: Path, file: str, kind: str) -> list[Item]:
    """Test pictures of Karpathy's split: captions to be written ("caption"), or a picture from the first one."""
    with published(file, folder):
        found = [one for one in read_json(folder / file)["images"] if one["split"] == "test"]
        rows = [
            (
                folder / one.get("filepath", "flickr30k-images") / one["filename"],
                [one_space(sentence["raw"]) for sentence in one["sentences"]],
            )
            for one in found
        ]
    if kind == "caption":
        return [
            Item(path.stem, kind, functools.partial(_picture, path), functools.partial(_here, captions))
            for path, captions in rows
        ]
    return [
        Item(path.stem, kind, functools.partial(TaskInputs, text=captions[0]), functools.partial(read_image, path))
        for path, captions in rows
    ]


def _picture(path: Path) -> TaskInputs:
    return TaskInputs(image=read_image(path))


def vqav2(folder: Path) -> list[Item]:
    return questions(folder, "vqav2", "v2_")


def okvqa(folder: Path) -> list[Item]:
    return questions(folder, "okvqa", "")


def vizwiz(folder: Path) -> list[Item]:
    """The validation part; the kind of question is its own, because it may have no answer."""
    with published("vizwiz", folder):
        return [
            Item(
                one["image"],
                "vizwiz",
                functools.partial(ask_about, folder / "val" / one["image"], one["question"]),
                functools.partial(_here, [answer["answer"] for answer in one["answers"]]),
            )
            for one in read_json(folder / "Annotations" / "val.json")
        ]


def seed_bench(folder: Path) -> list[Item]:
    """Questions about pictures with four answers; grouped by what they ask about."""
    with published("seed_bench", folder):
        told = read_json(folder / "SEED-Bench.json")
        names = {number: name for name, number in told["question_type"].items()}
        items = []
        for one in told["questions"]:
            if one["data_type"] != "image":
                continue
            options = tuple(one_space(str(one[f"choice_{letter.lower()}"])) for letter in LETTERS)
            path = folder / "SEED-Bench-image" / one["data_id"]
            right = options[LETTERS.index(one["answer"])]
            asked = functools.partial(ask_about, path, one["question"], options)
            group = names[one["question_type_id"]]
            items.append(
                Item(str(one["question_id"]), "multiple_choice", asked, functools.partial(_here, [right]), group)
            )
        return items


def librispeech(folder: Path, kind: str = "transcription") -> list[Item]:
    """Utterances of test-clean: to be written down, or ("speech") their texts to be read out."""
    with published("LibriSpeech", folder):
        part = folder / "test-clean"
        if not part.is_dir():
            raise FileNotFoundError(2, "absent", str(part))
        told = [(file, line.partition(" ")) for file in sorted(part.rglob("*.trans.txt")) for line in read_lines(file)]
        return [
            Item(
                key,
                kind,
                functools.partial(TaskInputs, text=text.lower())
                if kind == "speech"
                else functools.partial(_sound, file.parent / f"{key}.flac"),
                functools.partial(_here, text),
            )
            for file, (key, _, text) in told
        ]


def _sound(path: Path) -> TaskInputs:
    return TaskInputs(audio=read_audio(path))


def vctk(folder: Path) -> list[Item]:
    """Texts to be read out, one a file."""
    with published("VCTK", folder):
        return [
            Item(file.stem, "speech", functools.partial(TaskInputs, text=text), functools.partial(_here, text))
            for file in sorted((folder / "txt").rglob("*.txt"))
            for text in [one_space(file.read_text(encoding="utf-8"))]
        ]


def video_questions(reader: type[MsrVttQa], folder: Path) -> list[Item]:
    """Questions about the test videos with one answer each, of one word or two."""
    with published(reader.name, folder):
        return [
            Item(
                f"{Path(file).stem}/{number}",
                "video_qa",
                functools.partial(_ask_of_video, folder / file, question),
                functools.partial(_here, [answer]),
            )
            for file, asked in reader(folder).told("test")
            for number, (question, answer) in enumerate(asked)
        ]


@functools.lru_cache(maxsize=2)  # the questions about a video follow one another
def _video(path: Path) -> Video:
    return open_video(path)


def _ask_of_video(path: Path, question: str) -> TaskInputs:
    return TaskInputs(text=question, video=_video(path))


msvd_qa = functools.partial(video_questions, MsvdQa)
msrvtt_qa = functools.partial(video_questions, MsrVttQa)


def mmlu(folder: Path) -> list[Item]:
    """Questions of 57 subjects with four lettered answers; the letter is asked for."""
    with published("mmlu", folder):
        return [item for file in sorted((folder / "test").glob("*_test.csv")) for item in _exam(file)]


def _exam(file: Path) -> Iterator[Item]:
    subject = file.name.removesuffix("_test.csv")
    with open(file, encoding="utf-8", newline="") as opened:
        for number, (question, *choices, answer) in enumerate(csv.reader(opened)):
            if len(choices) != len(LETTERS) or answer not in LETTERS:
                raise ValueError(f"{file.name}, question {number}: not four answers and the letter of one")
            lettered = "".join(f"\n{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=True))
            text = f"{subject.replace('_', ' ')} {question}{lettered}\nAnswer:"
            asked = functools.partial(TaskInputs, text=text, options=LETTERS)
            yield Item(f"{subject}/{number}", "exam", asked, functools.partial(_here, [answer]), subject)
