"""Metrics of generated text: answers, names, words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np


def normalise(text: str) -> str:
    """Lower case, one space between words, no punctuation at the ends of words."""
    return " ".join(word for word in (w.strip(".,;:!?\"'()`") for w in text.lower().split()) if word)


def exact(prediction: str, answer: str) -> float:
    """1 where both say the same after `normalise`, else 0."""
    return float(normalise(prediction) == normalise(answer))


def word_f1(prediction: str, reference: str) -> float:
    """Harmonic mean of word precision and recall, repeated words counted as often as they occur."""
    said, wanted = Counter(normalise(prediction).split()), Counter(normalise(reference).split())
    if not said or not wanted:
        return float(said == wanted)
    common = sum((said & wanted).values())
    return 2.0 * common / (said.total() + wanted.total())


def edits(wanted: Sequence[str], said: Sequence[str]) -> int:
    """How many items (characters of a string, words of a list) to put in, take out or change (Levenshtein)."""
    row = np.arange(len(said) + 1)
    for number, item in enumerate(wanted, 1):
        changed = row[:-1] + np.array([item != other for other in said], np.int64)
        # Along a row each place may also be reached from the one before it, at the cost of one: a running minimum.
        best = np.concatenate([[number], np.minimum(changed, row[1:] + 1)])
        row = np.minimum.accumulate(best - np.arange(len(best))) + np.arange(len(best))
    return int(row[-1])


def question_kind(question: str, values: Sequence[str]) -> str:
    """The question with the values it asks about blanked, and its kind of opening: what is asked, not of what.

    "is there not a red shape?" -> "is there not a _ shape?".
    """
    pattern = "|".join(re.escape(value) for value in sorted(values, key=len, reverse=True))
    return re.sub(rf"\b(?:{pattern})\b", "_", question.lower()) if values else question.lower()


def majority_accuracy(kinds: Sequence[str], answers: Sequence[str], train: Sequence[tuple[str, str]]) -> float:
    """Accuracy of answering each kind of question with its most frequent answer in `train` [(kind, answer)].

    A kind that was never asked there gets the most frequent answer of all.
    """
    overall = Counter(answer for _, answer in train)
    by_kind: dict[str, Counter[str]] = {}
    for kind, answer in train:
        by_kind.setdefault(kind, Counter())[answer] += 1
    top = [min(by_kind.get(kind, overall).items(), key=lambda item: (-item[1], item[0]))[0] for kind in kinds]
    return float(np.mean([exact(guess, answer) for guess, answer in zip(top, answers, strict=True)]))
