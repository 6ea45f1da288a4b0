"""The stages' mixtures: what is in them, what records become, what is learned, and what is said of absent sets."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mio_jax.config import AddedSet, DataConfig, RunConfig, StageConfig
from mio_jax.data import registry
from mio_jax.data.availability import usable
from mio_jax.data.loader import make_loader
from mio_jax.data.prepare import prepare
from mio_jax.data.shards import encode_examples
from mio_jax.data.sources import FOLDER_SOURCES, source
from mio_jax.errors import MioError
from mio_jax.protocols import Segment
from mio_jax.recipes.mio import speech_tasks
from mio_jax.recipes.mio.features import encode
from mio_jax.recipes.mio.mixtures import catalogue, parts, tables
from mio_jax.recipes.mio.mixtures.catalogue import KINDS, register
from mio_jax.recipes.mio.prompts import SYSTEM_VOICE
from mio_jax.recipes.mio.tokens import EOS, TURN_CLOSE
from tests.data.made_sets import make
from tests.data.test_folder_sources import VIDEO
from tests.recipes.mio import fakes

SPACE = fakes.space()
ROWS = {(row.set, kind): row for rows in tables.MIXTURES.values() for row in rows for kind, _ in row.kinds}
SETS = sorted({name for name, _ in ROWS})
CONTROL = "<|im_end|>"


class Pictures:
    modality, vocab_size, tokens = "image", 10, 4

    def encode(self, media: np.ndarray) -> np.ndarray:
        return np.asarray(media[:2, :2].mean(-1) / 26, np.int32).reshape(-1)


class Sounds:
    modality, layer_sizes, n_q = "audio", (5, 5), 2

    def encode(self, media: Any) -> np.ndarray:
        frames = 1 + round(10 * len(media.samples) / media.rate)
        return np.arange(2 * frames, dtype=np.int32).reshape(2, frames) % 5


TOKENIZERS = SimpleNamespace(text=fakes.ByteText(), image=Pictures(), audio=Sounds(), sentinels=0)


def records(name: str, raw_dir: Path) -> list[dict[str, Any]]:
    """What a made-up folder of the set becomes, with codes of all media."""
    if name in VIDEO:
        pytest.importorskip("av")
    reader = source(name, folder=make(name, raw_dir))
    examples = list(reader.examples("train", 0, min(3, reader.count("train"))))
    return encode_examples(examples, reader, TOKENIZERS, (), ())


def shown(segments: list[Segment]) -> str:
    return "".join(s.value if s.kind == "text" else f"[{s.kind}]" for s in segments)


def test_the_tables_are_the_publications() -> None:
    sft = tables.INSTRUCTION
    assert len(sft) == 34
    assert len({row.task for row in sft}) == 16
    count = {task: sum(row.task == task for row in sft) for task in ("ASR", "image QA", "TTS", "video understanding")}
    assert count == {"ASR": 3, "image QA": 9, "TTS": 2, "video understanding": 4}
    by_stage = {name: {row.set for row in rows} for name, rows in tables.PRETRAINING.items()}
    assert by_stage["mio_stage1_image_text"] == {"sbu", "cc3m_told", "laion_coco", "journeydb"}
    assert by_stage["mio_stage3_image_text"] == {"cc3m_told", "laion_coco"}
    assert len(by_stage["mio_stage2_interleaved_and_video"]) == 5
    assert "obelics" not in by_stage["mio_stage3_interleaved_and_video"]
    for row in (row for rows in tables.MIXTURES.values() for row in rows):
        assert bool(row.kinds) != bool(row.why)
        assert not row.kinds or row.set in FOLDER_SOURCES
        assert not row.kinds or sum(share for _, share in row.kinds) == pytest.approx(1.0)
    shares = dict(tables.WEBVID.kinds)
    assert shares == {"text_to_video": 0.6, "video_caption": 0.4}
    assert tables.JOURNEYDB.kinds == (("text_to_image", 1.0),)  # text first alone
    used = {kind for _, kind in ROWS}
    assert used == set(KINDS) - set(speech_tasks.KINDS)  # which are for sets of one's own


@pytest.mark.parametrize("name", SETS)
def test_a_set_becomes_documents_or_chats(name: str, tmp_path: Path) -> None:
    made = records(name, tmp_path)
    for kind in sorted(kind for one, kind in ROWS if one == name):
        usable_ones = [r for r in made if KINDS[kind].where is None or KINDS[kind].where(r)]
        assert usable_ones, kind
        for record in usable_ones:
            style = "chat" if kind.startswith("chat_") else "base"
            segments = KINDS[kind].formatter(record, np.random.default_rng(0), style)
            media = {s.kind for s in segments} - {"text"}
            assert ("image" in media) == ("image" in KINDS[kind].inputs + KINDS[kind].outputs) or name == "openhermes"
            assert ("audio" in media) == ("audio" in KINDS[kind].inputs + KINDS[kind].outputs)
            if style == "base":
                assert shown(segments).endswith(EOS)
                example = encode(segments, TOKENIZERS, SPACE)
                assert example.loss_weights[1:].all()
                continue
            example = encode(segments, TOKENIZERS, SPACE, supervise="responses")
            learned = [s for s in segments if s.supervised]
            assert learned
            assert shown(learned).endswith(TURN_CLOSE)
            expected = sum(len(encode([s], TOKENIZERS, SPACE, bos=False).tokens) for s in learned)
            assert example.loss_weights.sum() == expected
            assert example.loss_weights[-1] == 1


def text_of(name: str, kind: str, raw_dir: Path, number: int = 0, seed: int = 0) -> str:
    return shown(KINDS[kind].formatter(records(name, raw_dir)[number], np.random.default_rng(seed), "base"))


def test_templates(tmp_path: Path) -> None:
    assert text_of("sbu", "caption", tmp_path) == f"[image] The caption of this image is: A Dog, 0{EOS}"
    assert text_of("sbu", "text_to_image", tmp_path) == f"Please generate an image of ``A Dog, 0'': [image]{EOS}"
    spoken = "It was so, 0."
    assert text_of("libriheavy", "transcription", tmp_path) == f"[audio] Transcribe this speech: {spoken}{EOS}"
    assert text_of("libriheavy", "transcription_3", tmp_path).startswith("[audio] The transcription of this speech is:")
    assert text_of("libriheavy", "speech", tmp_path) == f"Please generate a speech of ``{spoken}'': [audio]{EOS}"
    # The second picture of MMC4's document fits its sentence with 0.2 alone.
    assert text_of("mmc4_core_ff", "interleaved", tmp_path) == f"A dog came. [image] It sat. {EOS}"
    assert text_of("obelics", "interleaved", tmp_path) == f"Before it. [image] Behind  it. {EOS}"
    tts = text_of("librispeech", "chat_speech", tmp_path)
    assert SYSTEM_VOICE in tts
    assert "Start with <spch>." in tts
    story = text_of("vist", "chat_story", tmp_path)
    assert "Generate a visual story about A trip." in story
    assert "[image] Then 0. [image] Then 1. " in story
    mantis = text_of("mantis_instruct", "chat_conversation", tmp_path)
    assert "[image][image]\nAre both red?" in mantis
    shots = text_of("mmicl", "chat_conversation", tmp_path)
    assert "image 0 is[image]\n.\nWhat is in image 0? A dog.\n\nimage 1 is[image]\n.\nWhat is in image 1?" in shots
    assert "A cat.<|im_end|>" in shots
    assert "Describe it.\n[image]" in text_of("mmicl", "chat_conversation", tmp_path, number=1)
    flan = text_of("vision_flan", "chat_conversation", tmp_path)
    assert "What is it?[image]" in flan
    hermes = text_of("openhermes", "chat_conversation", tmp_path, number=1)
    assert hermes.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is 1?<|im_end|>\n")
    assert hermes.count("<|im_start|>assistant\n") == 2
    reasons = text_of("scienceqa_reasons", "chat_reasons", tmp_path)
    assert "States are parts. It is Utah. The answer is Utah." in reasons


def test_listening_is_to_the_content_layer_alone(tmp_path: Path) -> None:
    record = records("librispeech", tmp_path)[0]
    [heard] = [
        s for s in KINDS["chat_transcription"].formatter(record, np.random.default_rng(0), "") if s.kind == "audio"
    ]
    [said] = [s for s in KINDS["chat_speech"].formatter(record, np.random.default_rng(0), "") if s.kind == "audio"]
    assert (heard.value.shape[0], said.value.shape[0]) == (1, 2)
    assert not heard.supervised
    assert said.supervised


def test_what_a_set_says_is_never_a_control_token() -> None:
    said = f"a{CONTROL}b <image><img3></image> [IMG] <|startoftext|> <unk> 3 < 4"
    assert parts.plain(said).split() == ["ab", "3", "<", "4"]
    record = {"captions": json.dumps([said]), "image": np.zeros(4, np.int32)}
    segments = KINDS["caption"].formatter(record, np.random.default_rng(0), "base")
    tokens = encode(segments, TOKENIZERS, SPACE).tokens
    assert SPACE.special(TURN_CLOSE) not in tokens
    assert (tokens == SPACE.span("image").open).sum() == 1


def test_a_video_has_four_to_eight_frames_by_its_text() -> None:
    assert [parts.frame_count(words) for words in (0, 5, 20, 21, 36, 200)] == [4, 4, 4, 5, 8, 8]
    frames = np.arange(8)[:, None]
    for count in range(4, 9):
        chosen = parts.spread(frames, count)[:, 0]
        assert len(chosen) == count == len(set(chosen))
        assert list(chosen) == sorted(chosen)
    assert parts.spread(frames[:3], 8).shape == (3, 1)
    record = {"frames": np.zeros((8, 4), np.int32), "captions": json.dumps(["word " * 30])}
    made = KINDS["text_to_video"].formatter(record, np.random.default_rng(0), "base")
    assert sum(s.kind == "image" for s in made) == 6


def test_speech_that_is_too_long_is_listened_to_alone() -> None:
    def record(frames: int) -> dict[str, Any]:
        return {"transcript": "x", "audio": np.zeros((4, frames), np.int32)}

    assert KINDS["speech"].where(record(675))  # 13.5 s at 50 Hz
    assert not KINDS["speech"].where(record(676))
    assert KINDS["transcription"].where(record(750))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=400), st.integers(0, 2)), min_size=1, max_size=40), st.integers(50, 3000))
def test_documents_are_cut_to_fit(items: list[str | int], room: int) -> None:
    content = [Segment("text", x) if isinstance(x, str) else Segment("image", np.zeros(4, np.int32)) for x in items]
    kept = parts.within(content, room)
    assert kept == content[: len(kept)] or (len(kept) == 1 and content[0].value.startswith(kept[0].value))
    if kept == content[: len(kept)] and len(kept) < len(content):
        assert sum(map(parts.tokens_of, content[: len(kept) + 1])) > room


def test_unreadable_sets_are_named_with_their_reason(tmp_path: Path) -> None:
    register(str(tmp_path))
    entries = registry.lookup("mio_instruct")
    assert sum(share for _, share in entries) == pytest.approx(1.0)
    why = {task.title: task.unreadable for task, _ in entries if task.unreadable}
    assert set(why) == {"SpeechInstruct"}
    assert "HuBERT units" in why["SpeechInstruct"]
    assert not any(task.unreadable for task, _ in registry.lookup("mio_stage2_interleaved_and_video"))
    unreadable = next(task for task, _ in entries if task.title == "SpeechInstruct")
    with pytest.raises(MioError, match="not published"):
        unreadable.formatter({}, np.random.default_rng(0), "base")
    lacking = r"no token records of 'coco'.*nor of 26 more of its sets \(without a reader here: 1\)"
    with pytest.raises(MioError, match=lacking) as caught:
        usable("mio_instruct", entries, DataConfig(records_dir=str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_a_set_of_ones_own(tmp_path: Path) -> None:
    own = AddedSet(
        "speech_instruct", "readers.py:Spoken", "mio_instruct", ("chat_conversation", "chat_caption"), rate=3.0
    )
    register(str(tmp_path), (own,))
    rates = {task.name: share for task, share in registry.lookup("mio_instruct")}
    assert "mio_speech_instruct" not in rates  # its reader takes the unreadable row's place
    assert rates["mio_speech_instruct_chat_caption"] == pytest.approx(1.5 / 103)
    with pytest.raises(MioError, match="no kind of task 'captioning'; there are: caption, chat_caption"):
        register(str(tmp_path), (AddedSet("x", "a:B", "mio_instruct", ("captioning",)),))
    with pytest.raises(MioError, match="has a set 'coco' of its own"):
        register(str(tmp_path), (AddedSet("coco", "a:B", "mio_instruct", ("chat_caption",)),))
    register(str(tmp_path))
    assert catalogue.task_name("speech_instruct", "") in {task.name for task, _ in registry.lookup("mio_instruct")}


def test_codes_that_are_missing_are_one_line() -> None:
    with pytest.raises(MioError, match="has no codes of its image; prepare the records with them"):
        KINDS["chat_questions"].formatter({"id": "a", "questions": '[["q", "a"]]'}, np.random.default_rng(0), "chat")


def test_a_stage_is_trained_with_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sets from made-up folders through preparation to a batch; the others are left out, and said to be."""
    for name in ("coco", "vizwiz", "librispeech"):
        make(name, tmp_path)
    made = SimpleNamespace(**vars(TOKENIZERS), fingerprints={name: f"{name}-0" for name in ("text", "image", "audio")})
    data = DataConfig(
        records_dir=str(tmp_path / "records"),
        raw_dir=str(tmp_path),
        length=1200,
        code_seen=True,
        absent_sets="leave_out",
        packing_bins=2,
        prefetch=0,
    )
    stage = StageConfig("instruct", 1, "mio_instruct", 4, style="chat", supervise="responses")
    config = RunConfig(data=data, stages=(stage,))
    prepare(config, made, sets=["coco", "vizwiz", "librispeech"])
    register(data.records_dir)
    loader = make_loader(
        config,
        stage,
        lambda segments: encode(segments, made, SPACE, supervise="responses"),
        seed=0,
        fingerprints=made.fingerprints,
    )
    batch = next(loader)
    assert "goes without 24 of 27 sets" in capsys.readouterr().out
    assert batch["tokens"].shape == (4, 1200)
    assert set(np.unique(batch["modality_ids"])) == {0, 1, 2}
    weights, tokens = batch["loss_weights"], batch["tokens"]
    assert 0 < weights.mean() < 0.5  # of the system's and the user's words nothing is learned
    assert not weights[batch["segment_ids"] == 0].any()
    ends = tokens == SPACE.special(TURN_CLOSE)
    learned = weights[ends].reshape(-1)
    assert set(learned) == {0.0, 1.0}  # those of replies alone
