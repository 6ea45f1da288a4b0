"""What MIO's paper measures (specification, section 9), over the sets that are in a folder of yours.

Each part has a folder of its own, laid out as the set is published. What is there is run; of every other part the suite
says in one line what it needs: its set, the extra `eval`, or a network of yours.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mio_jax.errors import MioError
from mio_jax.evaluate import captions, mio_sets, suite_vqa, words
from mio_jax.evaluate.functions import function
from mio_jax.evaluate.suites import Data, Item, Missing, Published, Suite, SuiteTask, register
from mio_jax.task_protocol import TaskAnswer


class Part(NamedTuple):
    """A part: its folder and what lies there, its items, what is scored and how, and the paper's figures."""

    folder: str
    layout: str
    items: Callable[[Path], list[Item]]
    predict: Callable[[TaskAnswer], Any]
    metric: str
    protocol: str
    published: Published | None = None


def _text(answer: TaskAnswer) -> str:
    return answer.text


def _picture(answer: TaskAnswer) -> Any:
    return answer.picture


def _sound(answer: TaskAnswer) -> Any:
    return answer.sound


def _told(metric: str, values: Mapping[str, float]) -> Published:
    """Percentages by model."""
    return Published(metric, 100.0, values)


COCO = "dataset_coco.json (Karpathy's split), val2014/"
FLICKR = "dataset_flickr30k.json (Karpathy's split), flickr30k-images/"
VQA = "{0}OpenEnded_mscoco_val2014_questions.json, {0}mscoco_val2014_annotations.json, val2014/"
LIBRI = "test-clean/1089/134686/1089-134686.trans.txt, 1089-134686-0000.flac ..."
TEST_DEV = f"{suite_vqa.PROTOCOL}; val2014 (the paper: test-dev, whose answers are not published)"
ONE_WORD = "equal after VQA normalisation 2 to the one answer there is"
LIKELIEST = "the likeliest of the answers, by the sum over its tokens"
LETTER = "zero-shot, the likeliest letter; the mean over all questions"
LIKENESS = "one picture from each picture's first caption; cosine of embeddings by the given extractor"
SPOKEN = f"one reading of each text, written down by the given recogniser; {words.PROTOCOL}"
SEED = "SEED-LLaMA-I 8B"

coco, flickr = (functools.partial(mio_sets.karpathy, file=f"dataset_{name}.json") for name in ("coco", "flickr30k"))
write, draw = {"kind": "caption"}, {"kind": "image_generation"}
libri_texts = functools.partial(mio_sets.librispeech, kind="speech")

PARTS: dict[str, Part] = {
    "coco_caption": Part(
        "coco",
        COCO,
        functools.partial(coco, **write),
        _text,
        "captions",
        captions.PROTOCOL,
        _told("cider", {"MIO-Instruct": 120.4, SEED: 124.5, "AnyGPT": 107.5}),
    ),
    "flickr30k_caption": Part(
        "flickr30k", FLICKR, functools.partial(flickr, **write), _text, "captions", captions.PROTOCOL
    ),
    "vqav2": Part(
        "vqav2",
        VQA.format("v2_"),
        mio_sets.vqav2,
        _text,
        "vqa",
        TEST_DEV,
        _told("vqa", {"MIO-Instruct": 65.5, SEED: 66.2}),
    ),
    "okvqa": Part(
        "okvqa",
        VQA.format(""),
        mio_sets.okvqa,
        _text,
        "vqa",
        suite_vqa.PROTOCOL,
        _told("vqa", {"MIO-Instruct": 39.9, SEED: 45.9}),
    ),
    "vizwiz": Part(
        "vizwiz",
        "Annotations/val.json, val/",
        mio_sets.vizwiz,
        _text,
        "vqa",
        suite_vqa.PROTOCOL,
        _told("vqa", {"MIO-Instruct": 53.5, SEED: 55.1}),
    ),
    "seed_bench": Part(
        "seed_bench",
        "SEED-Bench.json, SEED-Bench-image/",
        mio_sets.seed_bench,
        _text,
        "exact_match",
        LIKELIEST,
        _told("exact_match", {"MIO-Instruct": 54.4, SEED: 51.5}),
    ),
    "coco_image": Part(
        "coco",
        COCO,
        functools.partial(coco, **draw),
        _picture,
        "picture_similarity",
        LIKENESS,
        _told("clip_i", {"MIO-Instruct": 67.76, "MIO-Base": 64.15, SEED: 70.68, "AnyGPT": 65.0}),
    ),
    "flickr30k_image": Part(
        "flickr30k",
        FLICKR,
        functools.partial(flickr, **draw),
        _picture,
        "picture_similarity",
        LIKENESS,
        _told("clip_i", {"MIO-Instruct": 68.97, "MIO-Base": 62.71, SEED: 66.55}),
    ),
    "librispeech": Part(
        "LibriSpeech",
        LIBRI,
        mio_sets.librispeech,
        _text,
        "wer",
        words.PROTOCOL,
        _told("wer", {"MIO-Base": 6.3, "MIO-Instruct": 10.3, "AnyGPT": 8.5}),
    ),
    "librispeech_tts": Part(
        "LibriSpeech", LIBRI, libri_texts, _sound, "spoken_wer", SPOKEN, _told("wer", {"MIO": 10.3, "AnyGPT": 28.1})
    ),
    "vctk_tts": Part(
        "VCTK",
        "txt/p225/p225_001.txt ...",
        mio_sets.vctk,
        _sound,
        "spoken_wer",
        SPOKEN,
        _told("wer", {"MIO-Base": 12.0, "MIO-Instruct": 4.2, "AnyGPT": 8.5}),
    ),
    "msvd_qa": Part(
        "msvd_qa",
        "test_qa.json, youtube_mapping.txt, YouTubeClips/",
        mio_sets.msvd_qa,
        _text,
        "vqa",
        ONE_WORD,
        _told("vqa", {"MIO-Instruct": 42.6, SEED: 40.9}),
    ),
    "msrvtt_qa": Part(
        "msrvtt_qa",
        "test_qa.json, videos/",
        mio_sets.msrvtt_qa,
        _text,
        "vqa",
        ONE_WORD,
        _told("vqa", {"MIO-Instruct": 35.5, SEED: 30.8}),
    ),
    "mmlu": Part(
        "mmlu",
        "test/abstract_algebra_test.csv ...",
        mio_sets.mmlu,
        _text,
        "exact_match",
        LETTER,
        _told("exact_match", {"MIO-Instruct": 45.7, SEED: 36.1, "AnyGPT": 27.4}),
    ),
}
LAYOUT = "FOLDER/\n" + "\n".join(
    f"  {folder}/  {layout}" for folder, layout in dict.fromkeys((part.folder, part.layout) for part in PARTS.values())
)


def open_mio(data: Data) -> list[SuiteTask | Missing]:
    """What can be run, and what each other part needs. Raises MioError where `--tasks` names one that cannot."""
    if not data.folder.is_dir():
        raise MioError(f"there is no folder {data.folder}; `mio eval --suite list` shows how it is laid out")
    opened = [_open(name, PARTS[name], data) for name in data.tasks or PARTS]
    lacking = next((one for one in opened if isinstance(one, Missing)), None)
    if data.tasks and lacking:
        raise MioError(f"{lacking.name}: {lacking.needs}")
    return opened


def _open(name: str, part: Part, data: Data) -> SuiteTask | Missing:
    folder, needs = data.folder / part.folder, []
    items: list[Item] = []
    if not folder.is_dir():
        needs.append(f"there is no {folder}, which should hold {part.layout}")
    else:
        try:
            items = part.items(folder)
            if not items:
                needs.append(f"{folder} holds none of its examples; it should have {part.layout}")
        except MioError as error:
            needs.append(str(error))
    try:
        metrics = (function(part.metric, data.extractors),)
    except MioError as error:
        needs.append(str(error))
    if needs:
        return Missing(name, "; and ".join(needs))
    return SuiteTask(name, items, part.predict, metrics, part.protocol, part.published)


MIO = register(Suite("mio", "what MIO's paper measures, as far as the sets are there", LAYOUT, tuple(PARTS), open_mio))
