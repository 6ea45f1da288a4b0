"""Sets of spoken sentences: splits by what is said, three ways to tell it, and clips that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mio_jax.data.media_arrays import collect_media, windows
from mio_jax.data.sources import source
from mio_jax.data.sources.places import readable_examples
from mio_jax.data.sources.speech import Clip, SpeechFolder, words_of
from mio_jax.data.sources.speech_sets import Asterisk, TuxPaintFrench, said_by_name
from mio_jax.errors import MioError
from mio_tokenizers.audio.io import write_wav
from mio_tokenizers.base import Audio
from tests.data.made_sets import speech


def tone(seconds: float, rate: int, channels: int = 1) -> Audio:
    wave = 0.4 * np.sin(2 * np.pi * 200 * np.arange(round(seconds * rate)) / rate).astype(np.float32)
    return Audio(np.stack([wave] * channels, 1) if channels > 1 else wave, rate)


def test_what_the_names_of_prompts_tell() -> None:
    told = {
        "digits/7": "seven",
        "digits/40": "forty",
        "digits/h-2": "second",
        "digits/h-30": "thirtieth",
        "digits/h-hundred": "hundredth",
        "digits/h-12": "twelfth",
        "digits/day-0": "Sunday",
        "digits/mon-11": "December",
        "digits/oclock": "o'clock",
        "digits/thousand": "thousand",
        "phonetic/q_p": "quebec",
        "phonetic/9_p": "niner",
        "letters/a": "a",
        "letters/exclaimation-point": "exclamation point",
    }
    assert {name: said_by_name(name) for name in told} == told
    assert {said_by_name(n) for n in ("letters/ascii33", "vm-intro", "phonetic/10_p", "digits/37", "digits/day-7")} == {
        None
    }


def test_prompts_are_split_by_their_words(tmp_path: Path) -> None:
    speech.asterisk(tmp_path)
    reader = Asterisk(tmp_path)
    clips = {clip.file: clip.text for clip in reader.clips()}
    assert clips["activated.wav"] == "Activated."
    assert clips["digits/h-20.wav"] == "twentieth"
    assert "tones.wav" not in clips
    assert not [file for file in clips if file.startswith(("silence/", "letters/ascii"))]
    held = {example["transcript"] for example in reader.examples("test")}
    assert 0 < len(held) < 12
    assert not held & {example["transcript"] for example in reader.examples("train")}
    assert reader.drawn("Hello, THERE") == reader.drawn("hello there")
    (tmp_path / "core-sounds-en.txt").unlink()
    assert "activated.wav" not in {clip.file for clip in reader.clips()}


def test_stamps_that_share_a_recording_are_one_clip(tmp_path: Path) -> None:
    pytest.importorskip("soundfile")
    speech.tuxpaint(tmp_path)
    clips = TuxPaintFrench(tmp_path).clips()
    assert sorted(clip.text for clip in clips) == sorted({f"Le {letter}" for letter in "abcdefghijklmnopqrstuvwxyz"})


@pytest.mark.parametrize("form", ["beside", "csv", "jsonl"])
def test_three_ways_to_tell_what_is_said(form: str, tmp_path: Path) -> None:
    said = {"a.wav": "Good morning", "more/b.wav": "good evening", "c.wav": "Good, morning!"}
    for number, file in enumerate(said):
        write_wav(tmp_path / file, tone(0.2, 8000 * (number + 1)))
        if form == "beside":
            (tmp_path / file).with_suffix(".txt").write_text(said[file] + "\n")
    if form == "csv":
        lines = ["file,text", *(f'{file},"{text}"' for file, text in said.items())]
        (tmp_path / "metadata.csv").write_text("\n".join(lines))
    if form == "jsonl":
        rows = [{"file": file, "text": text, "split": "train"} for file, text in said.items()]
        (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    reader = SpeechFolder(tmp_path)
    assert {Clip(*clip).text.strip() for clip in reader.clips()} == set(said.values())
    splits = {example["id"]: split for split in reader.splits for example in reader.examples(split)}
    assert len(splits) == 3
    assert splits["speech/a.wav"] == splits["speech/c.wav"], "the same words in two splits"
    assert form != "jsonl" or set(splits.values()) == {"train"}


def test_clips_that_cannot_be_used_are_told_of_and_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "speech"
    write_wav(folder / "good.wav", tone(0.5, 44100, channels=2))
    write_wav(folder / "long.wav", tone(15.5, 4000))
    write_wav(folder / "silent.wav", Audio(np.zeros(800, np.float32), 8000))
    write_wav(folder / "mute.wav", tone(0.5, 8000))
    (folder / "broken.wav").write_bytes(b"RIFF no sound")
    rows = [{"file": f"{name}.wav", "text": "words"} for name in ("good", "long", "silent", "broken", "absent")]
    rows = [{**row, "split": "train"} for row in [*rows, {"file": "mute.wav", "text": " ! "}]]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    bad: list[str] = []
    found = list(readable_examples(source("speech", folder=folder), "train", bad))
    assert [example["id"] for example in found] == ["speech/good.wav"]
    assert found[0]["audio"].samples.shape == (22050,)
    reasons = ("15.5 s long", "silent", "no readable", "there is no sound file", "no transcript")
    assert all(told in reason for told, reason in zip(reasons, bad, strict=True)), bad
    assert not any("\n" in reason for reason in bad)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("file,words\na.wav,x\n", "has no 'text'"),
        ("file,text,split\na.wav,x,dev\n", "split is 'dev'"),
    ],
)
def test_tables_of_another_form_are_one_line(table: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text(table)
    with pytest.raises(MioError, match=told):
        SpeechFolder(tmp_path).count("train")
    (tmp_path / "metadata.jsonl").write_text("")
    with pytest.raises(MioError, match="which one counts"):
        SpeechFolder(tmp_path).clips()


def test_sounds_of_any_length_become_pieces_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pieces = windows(tone(2.5, 8000, channels=2), 4000, 4000)
    assert pieces.shape == (3, 4000)
    assert pieces.dtype == np.int16
    short = windows(tone(0.25, 4000), 4000, 4000)
    assert short.shape == (1, 4000)
    assert np.abs(short[0, 1000:]).max() == 0 < np.abs(short).max()
    folder = tmp_path / "speech"
    for name, seconds in (("a", 0.5), ("b", 2.2)):
        write_wav(folder / f"{name}.wav", tone(seconds, 8000))
    write_wav(folder / "c.wav", Audio(np.zeros(80, np.float32), 8000))
    rows = [{"file": f"{name}.wav", "text": name, "split": "train"} for name in "abc"]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    media = collect_media(["speech.audio"], ["train"], raw_dir=str(tmp_path), window=(4000, 4000))
    assert media["train/speech.audio"].shape == (4, 4000)
    assert "speech, train: 1 of 3 left out" in capsys.readouterr().out


def test_words_are_what_is_heard() -> None:
    assert words_of(" It's  twelve O'Clock -- now! ") == "it's twelve o'clock now"
