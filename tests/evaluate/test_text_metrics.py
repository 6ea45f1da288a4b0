"""Text metrics by hand."""

from __future__ import annotations

import pytest

from mio_jax.evaluate import text


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("Yes.", "yes", 1),
        (" no ", "No!", 1),
        ("circle", "a circle", 0),
        ("", "yes", 0),
        ("C#4", "C4", 0),
        ("c#4", "C#4", 1),
    ],
)
def test_exact(a: str, b: str, same: int) -> None:
    assert text.exact(a, b) == same


def test_word_f1() -> None:
    assert text.word_f1("red heart", "Red heart.") == 1
    assert text.word_f1("a red heart", "red heart") == pytest.approx(2 * (2 / 3) * 1 / (2 / 3 + 1))
    assert text.word_f1("blue", "red heart") == 0
    assert text.word_f1("", "red") == 0
    assert text.word_f1("", "") == 1
    assert text.word_f1("red red", "red") == pytest.approx(2 * 0.5 * 1 / 1.5)


def test_question_kind() -> None:
    values = ["red", "circle", "blue"]
    assert text.question_kind("Is there a red shape?", values) == text.question_kind("is there a blue shape?", values)
    assert text.question_kind("is there a red shape?", values) != text.question_kind(
        "is there not a red shape?", values
    )
    assert text.question_kind("what is it?", []) == "what is it?"


def test_majority() -> None:
    train = [
        ("colour", "red"),
        ("colour", "red"),
        ("colour", "blue"),
        ("there", "no"),
        ("there", "yes"),
        ("there", "no"),
    ]
    kinds, answers = ["colour", "colour", "there", "new"], ["red", "blue", "no", "no"]
    # red, red, no, and for the kind never seen the most frequent of all: "no" and "red" tie, the first by name wins.
    assert text.majority_accuracy(kinds, answers, train) == pytest.approx(3 / 4)
