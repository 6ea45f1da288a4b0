"""Short answers to questions: the VQA benchmark's normalisation and its scores, and exact match.

The normalisation is that of the revised official script (version 2): punctuation, number words, articles and
contractions. It is full of accidents that scores depend on, and those are kept: what looks odd below is on purpose.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
NUMBERS = {"none": "0"} | {word: str(number) for number, word in enumerate(_DIGITS)}
ARTICLES = frozenset(("a", "an", "the"))
PERIODS = 32  # how many are taken out: a flag in the place of a count
_PERIOD = re.compile(r"\.(?!\d)")
_GROUPED = re.compile(r"\d,\d")
_CONTRACTIONS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've he's
how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock
oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd
someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're there's
they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's
where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've
y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _misspelt(word: str) -> list[str]:
    """The word without one of its apostrophes."""
    return [word[:i] + word[i + 1 :] for i, letter in enumerate(word) if letter == "'"]


CONTRACTIONS = dict(itertools.chain.from_iterable(((form, w) for form in _misspelt(w)) for w in _CONTRACTIONS.split()))
CONTRACTIONS["somebody'd"] = "somebodyd"


def normalise_answer(answer: str) -> str:
    """The form in which answers are compared. "The  red/blue one." -> "red blue 1"."""
    answer = answer.replace("\n", " ").replace("\t", " ").strip()
    out = answer
    for mark in PUNCTUATION:
        beside_space = mark + " " in answer or " " + mark in answer
        out = out.replace(mark, "" if beside_space or _GROUPED.search(answer) else " ")
    out = _PERIOD.sub("", out, count=PERIODS)
    words = [NUMBERS.get(word, word) for word in out.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def vqa_score(prediction: str, references: Sequence[str]) -> float:
    """min(1, matches / 3) over all annotators, as GRIT counts; with one reference: equal or not."""
    said = normalise_answer(prediction)
    same = sum(normalise_answer(reference) == said for reference in references)
    return float(same) if len(references) == 1 else min(1.0, same / 3)


def leave_one_out_score(prediction: str, references: Sequence[str]) -> float:
    """The VQA benchmark's own accuracy: the mean, over annotators, of min(1, matches among the others / 3)."""
    said = normalise_answer(prediction)
    same = [normalise_answer(reference) == said for reference in references]
    scores = [min(1.0, (sum(same) - one) / 3) for one in same]
    return sum(scores) / len(scores) if scores else 0.0


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """1 where the prediction is one of the references, but for case and space around it."""
    return float(prediction.strip().lower() in [reference.strip().lower() for reference in references])
