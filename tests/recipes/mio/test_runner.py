"""Tasks by name: how each is asked in either style, what its answer may hold and how it is read."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mio_jax.config import DataConfig, RunConfig, StageConfig
from mio_jax.data.media.video_reader import video_of
from mio_jax.errors import MioError
from mio_jax.recipes.mio.features import parse
from mio_jax.recipes.mio.prompts import SYSTEM_STD, SYSTEM_VOICE, render
from mio_jax.recipes.mio.runner import Runner, filled
from mio_jax.recipes.mio.runner_table import EVALUATION, TABLE, VIDEO_QA, suite_asks, task_infos
from mio_jax.task_protocol import TaskInputs, TaskSettings
from mio_tokenizers.base import Audio
from tests.recipes.mio import fakes

SPACE = fakes.space()
PICTURE = np.full((5, 7, 3), 90, np.uint8)
FRAMES = np.zeros((12, 4, 4, 3), np.uint8) + np.arange(12, dtype=np.uint8)[:, None, None, None]
SOUND = Audio(np.ones(30, np.float32), 16000)
GIVEN: dict[str, Any] = {"text": "a cat", "image": PICTURE, "video": FRAMES, "audio": SOUND, "options": ("A", "B")}
IMAGE = "<image><img1><img2><img3><img4></image>"


class Codes:
    """A picture is its first pixel in the first of four codes; a sound of three frames has two layers."""

    def image(self) -> Any:
        return SimpleNamespace(
            vocab_size=10,
            tokens=4,
            encode=lambda picture: np.asarray([picture[0, 0, 0] % 10, 2, 3, 4], np.int32),
            decode=lambda codes: np.zeros((2, 2, 3), np.uint8) + np.uint8(codes[0]),
        )

    def audio(self) -> Any:
        return SimpleNamespace(
            layer_sizes=(5, 5),
            n_q=2,
            encode=lambda sound: np.asarray([[1, 2, 3], [3, 2, 1]], np.int32),
            decode=lambda codes: Audio(codes.reshape(-1).astype(np.float32), 16000),
        )


TOKENIZERS = SimpleNamespace(text=fakes.ByteText(), image=Codes().image(), audio=Codes().audio(), sentinels=0)


class Scripted:
    """An engine that notes what it is asked and says what the test wants, as ids of a string."""

    def __init__(self, says: str) -> None:
        self.says, self.calls = says, []

    def generate(self, prompts: list[np.ndarray], sampling: Any, **asked: Any) -> list[np.ndarray]:
        from mio_jax.recipes.mio.prompts import tokenize

        self.calls.append({"prompts": [shown(ids) for ids in prompts], "sampling": sampling, **asked})
        ids = np.asarray(tokenize(self.says, SPACE, TOKENIZERS.text.encode), np.int32)
        assert asked["grammar"].check(ids, asked["stop_ids"]) is None
        assert len(ids) <= asked["max_new_tokens"] + len(asked["stop_ids"])
        return [ids] * len(prompts)

    def score_batch(self, prompts: list[np.ndarray], candidates: list[list[np.ndarray]]) -> list[np.ndarray]:
        self.calls.append({"prompts": [shown(i) for i in prompts], "said": [[shown(c) for c in s] for s in candidates]})
        return [np.asarray([-float(len(ids)) for ids in some], np.float32) for some in candidates]


def shown(ids: np.ndarray) -> str:
    return render(ids, SPACE, TOKENIZERS.text.decode)


def runner(says: str = "", style: str = "chat", length: int = 900, system: str = "") -> tuple[Runner, Scripted]:
    stages = (
        StageConfig("one", mixture="m", batch_size=1, style="base"),
        StageConfig("two", mixture="m", batch_size=1, style="chat"),
    )
    config = RunConfig(data=DataConfig(length=length, system_prompt=system), stages=stages)
    run = SimpleNamespace(config=config, tokenizers=TOKENIZERS, space=SPACE, stage="two" if style == "chat" else "one")
    engine = Scripted(says)
    return Runner(run, engine), engine


def inputs_of(task: str, **changes: Any) -> TaskInputs:
    return TaskInputs(**{**{name: GIVEN[name] for name in task_infos()[task].needs}, **changes})


SAYS = {"text": "a dog", "image": IMAGE, "audio": "<spch><spch1><spch2><spch7><spch6></spch>", "video": IMAGE * 2}


@pytest.mark.parametrize("task", list(TABLE))
@pytest.mark.parametrize("style", ["base", "chat"])
def test_every_task_in_either_style(task: str, style: str) -> None:
    entry = TABLE[task]
    made, engine = runner(SAYS[entry.output], style)
    if style == "base" and not entry.base:
        with pytest.raises(MioError, match=f"has not learned the task '{task}'"):
            made.run(task, [inputs_of(task)])
        return
    [answer] = made.run(task, [inputs_of(task)])
    [call] = engine.calls
    [prompt] = call["prompts"]
    assert prompt.startswith("<|startoftext|>")
    system = SYSTEM_VOICE if entry.voice else SYSTEM_STD
    assert (system in prompt) == (style == "chat")
    assert "{" not in prompt
    assert prompt.count("<image>") == {"image": 1, "video": 12}.get(entry.info.needs[0], 0)
    if "options" in entry.info.needs:
        ending = " {}<|endoftext|>" if style == "base" else "{}<|im_end|>"
        assert call["said"] == [[ending.format("A"), ending.format("B")]]
        assert (answer.text, set(answer.scores or ())) == ("A", {"A", "B"})
        return
    assert call["sampling"] == made.sampling(task)
    given = {"text": answer.text, "picture": answer.picture, "sound": answer.sound, "video": answer.video}
    assert [name for name, value in given.items() if value is not None and not isinstance(value, str)] == [
        name for name in entry.info.gives if name != "text"
    ]
    if entry.output == "text":
        assert answer.text == "a dog"
    elif entry.output == "image":
        assert answer.picture is not None
        assert answer.picture[0, 0, 0] == 1
    elif entry.output == "audio":
        assert answer.sound is not None
        assert answer.sound.samples.tolist() == [1, 2, 2, 1]
    else:
        assert answer.video is not None
        assert answer.video.shape == (2, 2, 2, 3)


@pytest.mark.parametrize(
    ("task", "style", "wording", "prompt"),
    [
        ("caption", "base", "", "{i} The caption of this image is"),
        ("caption", "chat", "", "Provide a one-sentence caption for the provided image.\n{i}"),
        ("caption", "chat", EVALUATION, "Provide a one-sentence caption for the provided image. {i}"),
        ("vqa", "chat", "", "a cat\n{i}"),
        ("vqa", "chat", EVALUATION, "a cat\nAnswer the question using a single word or phrase.\n{i}"),
        (
            *("vqa", "chat", "vizwiz"),
            "a cat\nWhen the provided information is insufficient, respond with 'Unanswerable'.\nAnswer the question"
            " using a single word or phrase.\n{i}",
        ),
        ("image_generation", "chat", EVALUATION, "Please generate an image according to the given description. a cat"),
        ("image_generation", "base", "", "Please generate an image of ``a cat'': "),
        ("transcription", "chat", EVALUATION, "Please transcribe this speech.{s}"),
        ("transcription", "base", "", "{s} The transcription of this speech is"),
        (
            *("speech", "chat", EVALUATION),
            "Please generate a speech according to the given transcription. Start with <spch>. a cat",
        ),
        ("video_caption", "base", "", "Please describe the following video: {v}"),
        ("video_qa", "chat", EVALUATION, VIDEO_QA.replace("{video}", "{v}").replace("{text}", "a cat")),
        ("exam", "chat", "", "The following are multiple choice questions (with answers) about a cat"),
    ],
)
def test_the_papers_words(task: str, style: str, wording: str, prompt: str) -> None:
    made, engine = runner(SAYS[TABLE[task].output], style)
    given = inputs_of(task, **({"video": FRAMES[:2]} if "video" in TABLE[task].info.needs else {}))
    made.run(task, [given], TaskSettings(wording=wording))
    picture, black = (f"<image><img{code}><img2><img3><img4></image>" for code in (0, 1))
    speech = "<spch><spch1><spch2><spch3></spch>"  # the first layer alone
    expected = prompt.replace("{i}", picture).replace("{s}", speech).replace("{v}", picture + black)
    found = engine.calls[0]["prompts"][0].removeprefix("<|startoftext|>")
    if style == "chat":
        found = found.split("<|im_start|>user\n")[1].split("<|im_end|>\n<|im_start|>assistant\n")[0]
    assert found == expected


def test_a_sound_that_is_no_speech_is_shown_whole() -> None:
    made, engine = runner("rain")
    made.run("audio_caption", [inputs_of("audio_caption")])
    assert "<spch><spch1><spch2><spch3><spch8><spch7><spch6></spch>" in engine.calls[0]["prompts"][0]


def test_a_run_with_a_system_prompt_of_its_own_keeps_it() -> None:
    made, engine = runner(SAYS["audio"], system="You are MIO.")
    made.run("speech", [inputs_of("speech")])
    assert "system\nYou are MIO.<|im_end|>" in engine.calls[0]["prompts"][0]


def test_frames_are_chosen_and_thinned() -> None:
    made, engine = runner("a dog")
    still = video_of(FRAMES)
    for settings, video, numbers in (
        (TaskSettings(), FRAMES, range(12)),
        (TaskSettings(), still, range(12)),  # no cut: every (12 // 10)-th
        (TaskSettings(frames=3), still, (2, 6, 10)),
        (TaskSettings(key_frames="uniform", frames=2), FRAMES, (3, 9)),
    ):
        [answer] = made.run("video_caption", [inputs_of("video_caption", video=video)], settings)
        prompt = engine.calls[-1]["prompts"][0]
        assert [int(part.split(">")[0]) for part in prompt.split("<image><img")[1:]] == [n % 10 for n in numbers]
        assert "</image><image>" in prompt, "nothing between frames"
        assert answer.note == ""


def test_as_many_frames_as_the_context_holds() -> None:
    made, engine = runner("a dog", "base", length=120)
    [answer] = made.run("video_caption", [inputs_of("video_caption")])
    assert answer.note == "3 of 12 frames were shown: the context of 120 holds no more"
    assert engine.calls[0]["prompts"][0].count("<image>") == 3
    assert len(FRAMES) == 12
    with pytest.raises(MioError, match="leave no room for a frame in the context of 120"):
        made.run("video_qa", [inputs_of("video_qa")])
    with pytest.raises(MioError, match="the context of 120 leaves no room for an answer"):
        made.run("image_generation", [inputs_of("image_generation", text="long " * 30)])


def test_a_video_is_read_once_for_several_answers() -> None:
    reads: list[int] = []

    def frames() -> Any:
        reads.append(1)
        return iter(FRAMES)

    video = video_of(FRAMES)
    video._frames = frames
    made, engine = runner("a dog")
    made.run("video_caption", [inputs_of("video_caption", video=video)] * 3, TaskSettings(rows=3), seeds=[1, 2, 3])
    assert len(reads) == 2, "once for its cuts, once for its frames"
    assert engine.calls[0]["seeds"] == [1, 2, 3]


def test_a_base_models_answer_is_its_first_line() -> None:
    for says, text in ((": a dog\nmore", "a dog"), (" a: b", "a: b"), ("\n\n", "")):
        assert runner(says, "base")[0].run("caption", [inputs_of("caption")])[0].text == text
    assert runner("one\ntwo", "base")[0].run("continuation", [TaskInputs(text="zero")])[0].text == "one\ntwo"
    assert runner(": one\ntwo")[0].run("caption", [inputs_of("caption")])[0].text == ": one\ntwo"


def test_options_by_their_sum_or_mean() -> None:
    options = ("dogs", "cat")
    made, engine = runner()
    given = inputs_of("vqa", options=options)
    [answer] = made.run("vqa", [given], TaskSettings(average_options=True))
    assert answer.scores == {"dogs": -1.0, "cat": -1.0}
    [answer] = made.run("vqa", [given])
    assert (answer.text, answer.scores) == ("cat", {"dogs": -5.0, "cat": -4.0})
    with pytest.raises(MioError, match="others have none"):
        made.run("vqa", [given, inputs_of("vqa")])
    assert len(engine.calls) == 2


def test_settings_of_ones_own() -> None:
    made, engine = runner("a dog")
    assert made.sampling("caption").num_beams == 5
    for given, expected in (
        ({"greedy": True}, {"greedy": True, "num_beams": 1}),
        ({"top_p": 0.5}, {"top_p": 0.5, "num_beams": 1}),
        ({"num_beams": 2}, {"num_beams": 2}),
    ):
        made.run("caption", [inputs_of("caption")], TaskSettings(sampling=given))
        found = dataclasses.asdict(engine.calls[-1]["sampling"])
        assert {name: found[name] for name in expected} == expected
    made, engine = runner(IMAGE)
    made.run("image_generation", [inputs_of("image_generation")], TaskSettings(sampling={"num_beams": 5}))
    assert engine.calls[0]["sampling"].top_p == 1.0


@pytest.mark.parametrize(
    ("task", "changes", "settings", "message"),
    [
        ("captions", {}, {}, "did you mean 'caption'?"),
        ("sing", {}, {}, "MIO has no task 'sing'; there are: caption"),
        ("caption", {"text": "x"}, {}, "no use for --text"),
        ("caption", {}, {"guidance": 2.0}, "without guidance"),
        ("speech", {}, {"segments": 2}, "leave --segments out"),
        ("caption", {}, {"wording": "best"}, "has no wording 'best'; it has: evaluation"),
        ("caption", {}, {"style": "poem"}, "in style base or chat, not 'poem'"),
        ("caption", {"image": PICTURE[..., :1]}, {}, "a picture must be"),
        ("video_caption", {"video": FRAMES[:0]}, {}, "has no frames"),
        ("video_caption", {}, {"key_frames": "scenes"}, "has no scene cut"),
    ],
)
def test_one_clear_line(task: str, changes: dict[str, Any], settings: dict[str, Any], message: str) -> None:
    given = inputs_of(task, **changes) if task in TABLE else TaskInputs(text="x")
    with pytest.raises(MioError, match=message.replace("?", r"\?")):
        runner("a dog")[0].run(task, [given], TaskSettings(**settings))


def test_media_without_a_place_follow_on_lines_of_their_own() -> None:
    made, engine = runner("a dog")
    made.run("instruction", [TaskInputs(text="Which?", image=PICTURE, video=FRAMES[:1])])
    assert "user\nWhich?\n<image><img0><img2><img3><img4></image>\n<image>" in engine.calls[0]["prompts"][0]
    assert [segment.value for segment in filled("x {text}.", "y", {})] == ["x y."]


def test_suites_are_asked_in_the_papers_words() -> None:
    asks = suite_asks()["mio"]
    assert asks["caption"].settings.wording == asks["transcription"].settings.wording == EVALUATION
    assert (asks["vizwiz"].task, asks["vizwiz"].settings.wording) == ("vqa", "vizwiz")
    for asked in asks.values():
        assert asked.settings.wording in TABLE[asked.task].chat


def test_what_is_read_is_what_was_said() -> None:
    """The fake codec's layers begin at 0 and 5."""
    from mio_jax.recipes.mio.prompts import tokenize

    answer = parse(tokenize(SAYS["audio"], SPACE, TOKENIZERS.text.encode), TOKENIZERS, SPACE)
    assert [segment.value.tolist() for segment in answer.segments] == [[[1, 2], [2, 1]]]
