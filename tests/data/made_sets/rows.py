"""Made-up folders of shards: pairs of the web, texts, instructions, edits."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from tests.data.made_sets.files import picture, picture_bytes, write, write_lines, write_parquet


def pairs(folder: Path) -> None:
    """Two shards of eight pairs, as img2dataset writes them; one says how many it holds, one does not."""
    for shard in (0, 1):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for number in range(8):
                key = f"{shard:05d}{number:04d}"
                told = json.dumps({"clip_score": 0.2 + number / 50}).encode()
                files = {".jpg": picture_bytes(number), ".txt": f"A  Dog, {number}".encode(), ".json": told}
                for ending, data in files.items():
                    member = tarfile.TarInfo(key + ending)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    write(folder / "00000_stats.json", {"count": 10, "successes": 8})


def redcaps(folder: Path) -> None:
    told = []
    for number in range(19):
        told.append({"image_id": f"x{number}", "subreddit": "Birding", "caption": f"my  bird {number}"})
        if number != 2:  # that one vanished
            picture(folder / f"images/birding/x{number}.jpg", number)
    write(folder / "annotations/birding_2019.json", {"info": {}, "annotations": told})


TEXTS = [f"Text number {n} is about dogs and about the weather of that day." for n in range(60)]


def c4(folder: Path) -> None:
    for part in ("train", "validation"):
        rows = [{"text": text, "url": "x", "timestamp": "y"} for text in TEXTS[:4]]
        write_lines(folder / f"en/c4-{part}.00000-of-00001.json.gz", rows)


def mc4(folder: Path) -> None:
    for part in ("de", "de-validation"):
        write_lines(
            folder / f"multilingual/c4-{part}.tfrecord-00000-of-00001.json.gz", [{"text": t} for t in TEXTS[:3]]
        )


def stack(folder: Path) -> None:
    for language in ("python", "markdown"):
        write_parquet(folder / f"data/{language}/train-00000-of-00001.parquet", {"content": TEXTS, "lang": ["x"] * 60})


def wikipedia(folder: Path) -> None:
    write_parquet(folder / "20231101.en/train-00000-of-00001.parquet", {"title": ["x"] * 60, "text": TEXTS})


def refinedweb(folder: Path) -> None:
    write_parquet(folder / "data/train-00000-of-00001-abc.parquet", {"content": TEXTS, "url": ["x"] * 60})


def redpajama(folder: Path) -> None:
    rows = [{"text": text, "pred_label": "x"} for text in TEXTS]
    write_lines(folder / "common_crawl/2023-06/en_head_0000.json.gz.dedup.classifier.jsonl.zst", rows)
    write_lines(folder / "book/book.jsonl", rows)


def alpaca(folder: Path) -> None:
    one = {"instruction": "Name a {thing}.", "input": "", "output": "A stone."}
    other = {"instruction": "Sum up the text.", "input": "It rains. [TR]", "output": "Rain."}
    write(folder / "alpaca_data.json", [one, other])


def dolly(folder: Path) -> None:
    one = {"instruction": "What is it?", "context": "A cat sat.", "response": "A cat.", "category": "closed_qa"}
    write_lines(folder / "databricks-dolly-15k.jsonl", [one])


def open_assistant(folder: Path) -> None:
    replies = [{"text": "Second best.", "rank": 1}, {"text": "Best.", "rank": 0}, {"text": "Not ranked.", "rank": None}]
    prompt = {"text": "Tell me of dogs.", "lang": "en", "replies": replies}
    trees = [{"prompt": prompt}, {"prompt": {**prompt, "lang": "es"}}, {"prompt": {**prompt, "replies": []}}]
    write_lines(folder / "2023-04-12_oasst_ready.trees.jsonl.gz", trees)


def mbpp(folder: Path) -> None:
    task = {"text": "Write a function that adds.", "code": "def add(a, b):\r\n    return a + b\r\n"}
    write_lines(folder / "mbpp.jsonl", [{**task, "task_id": number} for number in (2, 11, 601)])


def flan(folder: Path) -> None:
    one = {"inputs": "Is this so? It rains.", "targets": "yes", "task": "glue/rte"}
    for part in ("flan", "t0", "niv2", "cot", "dialog"):
        write_lines(folder / f"{part}_zs_opt_train.jsonl.gz", [one, {**one, "task": "wmt16_translate/de-en"}])


def _edits(folder: Path, parts: tuple[str, ...], columns: tuple[str, str, str]) -> None:
    before, asked, after = columns
    for part in parts:
        cells = [{"bytes": picture_bytes(n), "path": None} for n in (1, 2)]
        table = {before: cells, asked: ["make it  night", "add a hat"], after: cells[::-1]}
        write_parquet(folder / f"data/{part}-00000-of-00001-abc.parquet", table)


def magicbrush(folder: Path) -> None:
    _edits(folder, ("train", "dev"), ("source_img", "instruction", "target_img"))


def instruct_pix2pix(folder: Path) -> None:
    _edits(folder, ("train",), ("original_image", "edit_prompt", "edited_image"))


MAKERS = {
    **dict.fromkeys(("laion_aesthetics", "laion_400m", "cc12m", "cc3m", "sbu", "laion_coco", "laion_gpt4v"), pairs),
    **{
        maker.__name__: maker
        for maker in (
            *(redcaps, c4, mc4, stack, wikipedia, refinedweb, redpajama),
            *(alpaca, dolly, open_assistant, mbpp, flan, magicbrush, instruct_pix2pix),
        )
    },
}
