"""Formatters and directions: what a record becomes, and that prompts of evaluation are those of training."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest

from mio_jax.config import RunConfig
from mio_jax.protocols import Direction, Segment
from mio_jax.recipes.mio import features, tasks
from mio_jax.recipes.mio.directions import directions, question_of
from tests.recipes.mio import fakes

SPACE, TOKENIZERS = fakes.space(), fakes.tokenizers()
RECORDS: dict[str, dict[str, Any]] = {
    "openmoji": {
        "id": "openmoji/1",
        "image": np.asarray([1, 2, 3, 4], np.int32),
        "mask": np.asarray([5, 6, 7, 8], np.int32),
        "caption": "red heart",
        "captions": json.dumps({"en": "red heart", "de": "rotes Herz", "fr": "cœur rouge", "xx": "no such language"}),
        "meta/group": "symbols",
        "meta/tone": "",
    },
    "instruments": {
        "id": "instruments/1",
        "audio": np.asarray([[0, 1], [2, 3]], np.int32),
        "caption": "violin playing C4",
        "meta/instrument": "violin",
        "meta/note": "C4",
        "meta/midi": "60",
    },
    "easy_vqa": {
        "id": "easy_vqa/1",
        "image": np.asarray([0, 0, 1, 1], np.int32),
        "questions": json.dumps([["what shape is it?", "circle"], ["is it red?", "no"]]),
        "caption": "a teal circle",
        "meta/shape": "circle",
        "meta/colour": "teal",
    },
    "text": {"id": "text/1", "text": " ".join(f"word{i}" for i in range(300))},
}


def flat(segments: list[Segment]) -> str:
    """Segments as one string, media as [kind]."""
    return "".join(s.value if s.kind == "text" else f"[{s.kind}]" for s in segments)


@pytest.mark.parametrize("name", tasks.TASKS)
@pytest.mark.parametrize("style", ["base", "chat"])
def test_every_task_makes_examples(name: str, style: str) -> None:
    record_set, formatter, _, inputs, outputs = tasks.TASKS[name]
    record = RECORDS[record_set]
    segments = formatter(record, np.random.default_rng(0), style)
    again = formatter(record, np.random.default_rng(0), style)
    assert flat(segments) == flat(again)
    kinds = {s.kind for s in segments}
    assert {m for m in (*inputs.split(), *outputs.split()) if m != "text"} <= kinds
    supervise = "responses" if style == "chat" else "all"
    example = features.encode(segments, TOKENIZERS, SPACE, supervise=supervise, system="s")
    assert example.loss_weights.sum() > 0
    if style == "base":
        assert flat(segments).endswith("<|endoftext|>")
    else:
        assert flat(segments).startswith("<|im_start|>user\n")
        assert example.tokens[-1] == SPACE.special("<|im_end|>")
        supervised = {SPACE.modalities[m] for m in example.modality_ids[example.loss_weights > 0]}
        assert set(outputs.split()) <= supervised


def test_base_templates_are_those_of_the_paper() -> None:
    record = {**RECORDS["openmoji"]}
    del record["captions"]
    rng = np.random.default_rng(0)
    caption, picture = tasks.image_to_text(record, rng, "base"), tasks.text_to_image(record, rng, "base")
    assert flat(caption) == "[image] The caption of this image is: red heart<|endoftext|>"
    assert flat(picture) == "Please generate an image of ``red heart'': [image]<|endoftext|>"


def test_other_languages_are_named_and_rare() -> None:
    rng = np.random.default_rng(0)
    made = [flat(tasks.image_to_text(RECORDS["openmoji"], rng, "base")) for _ in range(400)]
    counts = Counter(text.split(" is: ")[1].removesuffix("<|endoftext|>") for text in made)
    assert set(counts) == {"red heart", "rotes Herz", "cœur rouge"}
    assert 0.8 < counts["red heart"] / 400 < 0.9
    assert all(("in German" in text) == ("rotes Herz" in text) for text in made)
    assert all(("in French" in text) == ("cœur" in text) for text in made)


@pytest.mark.parametrize("style", ["base", "chat"])
def test_questions_share_their_picture(style: str) -> None:
    many = {**RECORDS["easy_vqa"], "questions": json.dumps([[f"question {i}?", f"answer {i}"] for i in range(10)])}
    segments = tasks.answer_question(many, np.random.default_rng(0), style)
    whole = flat(segments)
    assert whole.count("[image]") == 1
    asked = [i for i in range(10) if f"question {i}?" in whole]
    assert len(asked) == tasks.QUESTIONS
    replies = [s.value for s in segments if s.supervised]
    if style == "chat":
        assert sorted(replies) == sorted([f"answer {i}" for i in asked] + ["<|im_end|>"] * len(asked))
        assert whole.count("<|im_start|>user\n") == whole.count("<|im_end|>\n<|im_start|>assistant\n") == len(asked)
        assert "<|im_end|>\n<|im_start|>user\n" in whole
    order = [whole.index(f"answer {i}") for i in asked]
    assert all(whole.index(f"question {i}?") < at for i, at in zip(asked, order, strict=True))


def test_text_windows_are_whole_words_of_bounded_length() -> None:
    text = RECORDS["text"]["text"]
    starts = set()
    for seed in range(30):
        window = tasks.window(text, np.random.default_rng(seed), 100)
        assert len(window) <= 100
        assert set(window.split()) <= set(text.split())
        starts.add(window.split()[0])
    assert len(starts) > 10
    assert tasks.window("short", np.random.default_rng(0), 100) == "short"
    assert len(tasks.window("x" * 500, np.random.default_rng(0), 100)) == 100


def test_mixtures_name_tasks() -> None:
    for name, parts in tasks.MIXTURES.items():
        assert {task for task, _ in parts} <= set(tasks.TASKS), name
    assert {task for task, _ in tasks.MIXTURES["mio_all"]} == set(tasks.TASKS)
    assert {task for task, _ in tasks.MIXTURES["mio_sft"]} == set(tasks.TASKS)


def test_registration_is_idempotent(tmp_path: Any) -> None:
    from mio_jax.data import registry

    for _ in range(2):
        tasks.register_tasks(str(tmp_path))
    found = {task.name: rate for task, rate in registry.lookup("mio_pairs")}
    assert found["mio_openmoji_text_to_image"] == pytest.approx(3 / 10)
    shapes = registry.lookup("mio_easy_vqa_shapes_text_to_image")[0][0]
    assert shapes.where is not None
    assert not shapes.where({"caption": ""})


ALL = directions(RunConfig())


def record_of(direction: Direction) -> dict[str, Any]:
    return RECORDS[tasks.TASKS[direction.task][0]]


@pytest.mark.parametrize("direction", ALL, ids=lambda d: d.name)
def test_prompt_and_target_are_a_training_chat(direction: Direction) -> None:
    """A direction asks exactly as the fine-tuning examples of its task did."""
    record = record_of(direction)
    formatter = tasks.TASKS[direction.task][1]
    prompt, target = direction.prompt(record), direction.target(record)
    trained = [flat(formatter(record, np.random.default_rng(seed), "chat")) for seed in range(20)]
    assert any(chat.startswith(flat([*prompt, *target]) + "<|im_end|>") for chat in trained)
    room = len(features.encode(target, TOKENIZERS, SPACE, bos=False).tokens)
    assert room <= 60  # of the fakes' short media; the real ones are counted below
    assert direction.options["differs"][0] in record


@pytest.mark.parametrize("direction", ALL, ids=lambda d: d.name)
def test_shuffling_takes_the_conditioning_and_nothing_else(direction: Direction) -> None:
    record = record_of(direction)
    other = {
        key: value[::-1].copy() if isinstance(value, np.ndarray) else f"other {value}" for key, value in record.items()
    }
    other["questions"] = json.dumps([["other?", "other"]])
    shuffled = direction.shuffle(record, other)
    before, after = direction.prompt(record), direction.prompt(shuffled)
    assert flat(before) != flat(after) or any(
        not np.array_equal(a.value, b.value) for a, b in zip(before, after, strict=True)
    )
    changed = {key for key in record if shuffled[key] is not record[key]}
    assert len(changed) == 1
    assert not any(key.startswith("meta/") for key in changed)


def test_room_for_real_media() -> None:
    """64 codes and 100 codes with their tags and the end of the turn."""
    room = {direction.name: direction.max_new_tokens for direction in ALL}
    assert room["text->image"] >= 64 + 3
    assert room["image->mask"] >= 64 + 3
    assert room["text->audio"] >= 100 + 3
    assert room["image->text+mask"] >= 64 + 3 + 30


def test_question_of_is_stable() -> None:
    asked = {question_of({**RECORDS["easy_vqa"], "id": f"easy_vqa/{i}"}) for i in range(20)}
    assert len(asked) == 2
    assert len({question_of(RECORDS["easy_vqa"]) for _ in range(5)}) == 1
