"""Made-up folders of transcribed speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.data.made_sets.files import write, write_lines


def encoded(path: Path, seconds: float, rate: int = 16000) -> None:
    """A tone in the format that the name says: FLAC, MP3, Opus."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(seconds * rate)) / rate
    subtype = {".opus": ("OGG", "OPUS"), ".mp3": ("MP3", "MPEG_LAYER_III"), ".flac": ("FLAC", "PCM_16")}[path.suffix]
    wave = (0.3 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
    soundfile.write(path, wave, rate, format=subtype[0], subtype=subtype[1])


def librispeech(folder: Path) -> None:
    for part, key in (("train-clean-100", "19-198"), ("train-other-500", "20-199"), ("test-clean", "61-70968")):
        where = folder / part / key.replace("-", "/")
        write(where / f"{key}.trans.txt", f"{key}-0000 A MAN  SPOKE\n{key}-0001 AND WENT\n")
        encoded(where / f"{key}-0000.flac", 0.5)
        encoded(where / f"{key}-0001.flac", 0.3)


def libriheavy(folder: Path) -> None:
    book = "download/librilight/small/100/fairies/01_fairies.flac"
    encoded(folder / book, 3.0)
    for part in ("small", "test_clean"):
        cuts = []
        for number, (start, seconds) in enumerate(((0.5, 1.0), (1.5, 0.25))):
            texts = [f"It was  so, {number}.", "IT WAS SO"]
            told = {"recording_id": "fairies", "start": 0, "duration": seconds, "custom": {"texts": texts}}
            recording = {"sampling_rate": 16000, "sources": [{"type": "file", "channels": [0], "source": book}]}
            cut = {"id": f"{part}/{number}", "start": start, "duration": seconds, "channel": 0}
            cuts.append({**cut, "supervisions": [told], "recording": recording})
        write_lines(folder / f"libriheavy_cuts_{part}.jsonl.gz", cuts)


def gigaspeech(folder: Path) -> None:
    path = "audio/podcast/P0000/POD1.opus"
    encoded(folder / path, 2.0, 48000)
    texts = ("AS THEY SAY <COMMA> IT IS SO <PERIOD>", "<MUSIC>", "IS IT <QUESTIONMARK>")
    segments = []
    for number, (text, subset) in enumerate(zip(texts, ("{XL}", "{XL}", "{TEST}"), strict=True)):
        times = {"begin_time": 0.5 * number, "end_time": 0.5 * number + 0.5}
        segments.append({"sid": f"POD1_S{number}", "text_tn": text, "subsets": [subset, "{L}"], **times})
    write(folder / "GigaSpeech.json", {"dataset": "GigaSpeech", "audios": [{"path": path, "segments": segments}]})


def common_voice(folder: Path) -> None:
    head = "client_id\tpath\tsentence\tup_votes\n"
    for part, name in (("train", "common_voice_en_1"), ("test", "common_voice_en_2")):
        write(folder / f"{part}.tsv", f'{head}abc\t{name}.mp3\tHe said: "Go  now.\t2\n')
        encoded(folder / f"clips/{name}.mp3", 0.5, 32000)


MAKERS = {maker.__name__: maker for maker in (librispeech, libriheavy, gigaspeech, common_voice)}
