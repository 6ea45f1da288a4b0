"""Tasks by name: how each is asked, held to its form and read; with an engine that says what the test wants."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mio_jax.config import DataConfig, ModelConfig, RunConfig, TokenizersConfig
from mio_jax.errors import MioError
from mio_jax.generate.steering import FREE, GROUP
from mio_jax.recipes.unified_io2 import prompts
from mio_jax.recipes.unified_io2.answers import distinct
from mio_jax.recipes.unified_io2.features import Sample
from mio_jax.recipes.unified_io2.generation import encoded_decoding
from mio_jax.recipes.unified_io2.runner import Runner
from mio_jax.recipes.unified_io2.runner_table import RELEASED, TABLE, task_infos
from mio_jax.recipes.unified_io2.tokens import token_space
from mio_jax.task_protocol import INPUTS, TaskAnswer, TaskInputs, TaskSettings
from mio_tokenizers import Audio, load_set
from mio_tokenizers.structured import KEYPOINTS
from mio_tokenizers.structured.extra_ids import read_boxes, write_box, write_point

TOKENIZERS = load_set(TokenizersConfig(text="unified_io2:bundled:text_tiny"))
SPACE = token_space(TOKENIZERS)
# Every input modality is built: pictures of 64 x 64, 16 x 16 in a history, sounds of 63 x 256 samples.
CONFIG = RunConfig(
    recipe="unified_io2",
    model=ModelConfig(preset="unified_io2_tiny", dim=16, heads=2, head_dim=8, mlp_dim=16, depth=1),
    data=DataConfig(budgets=(200, 260), length=460, text_length=64),
)
RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (40, 80, 3)).astype(np.uint8)  # in the square: 64 wide, 32 high, 16 rows of padding
FRAMES = RNG.integers(20, 256, (9, 30, 30, 3)).astype(np.uint8)
SOUND = Audio(np.sin(np.arange(4000) / 5).astype(np.float32), 16000)
GIVEN = {
    "text": "A Red Ball",
    "image": PICTURE,
    "video": FRAMES,
    "audio": SOUND,
    "box": (20.0, 10.0, 60.0, 30.0),
}


class Scripted:
    """An engine that notes what it is asked and answers with what `says` makes of a sample and its number."""

    def __init__(self, says: Callable[[Sample, int], Any]) -> None:
        self.says, self.calls, self.decoding = says, [], encoded_decoding(CONFIG, SPACE)

    def generate(self, samples: list[Sample], sampling: Any, **asked: Any) -> list[np.ndarray]:
        self.decoding.batch(samples)  # what cannot be made into arrays fails here
        self.calls.append({"samples": list(samples), "sampling": sampling, **asked})
        modality = asked["grammar"].begin
        out = []
        for number, sample in enumerate(samples):
            said = self.says(sample, number)
            if modality == "text":
                out.append(np.append(TOKENIZERS.text.encode(said), SPACE.eos).astype(np.int32))
            else:
                out.append((np.asarray(said) + SPACE.block(modality).start).astype(np.int32))
            assert len(out[-1]) <= asked["max_new_tokens"]
        return out

    def score_batch(self, samples: list[Sample], candidates: list[list[np.ndarray]]) -> list[np.ndarray]:
        self.calls.append({"samples": list(samples), "candidates": candidates})
        return [np.asarray([-abs(len(ids) - 4) - 0.1 * len(ids) for ids in some], np.float32) for some in candidates]


def runner(says: Callable[[Sample, int], Any] = lambda sample, number: "") -> tuple[Runner, Scripted]:
    engine = Scripted(says)
    return Runner(SimpleNamespace(config=CONFIG, tokenizers=TOKENIZERS, space=SPACE), engine), engine


def inputs_of(task: str, **changes: Any) -> TaskInputs:
    return TaskInputs(**{**{name: GIVEN[name] for name in task_infos()[task].needs}, **changes})


def words(sample: Sample) -> str:
    return str(TOKENIZERS.text.decode(sample.text))


def codes(kind: str) -> np.ndarray:
    """Codes of all kinds for a picture, layer after layer for a sound."""
    if kind == "image":
        return np.arange(64) % SPACE.block("image").size
    block = SPACE.block("audio")
    return (np.arange(32) % block.layers) * block.codes_per_layer


def test_the_released_tasks_are_all_there() -> None:
    assert len(RELEASED) == 18
    for entry in TABLE.values():
        wordings = prompts.templates(entry.wording)[1]
        assert set(entry.info.needs) | set(entry.info.takes) <= set(INPUTS)
        names = set(prompts.placeholders(wordings[0]))
        assert ("box" in names) <= ("box" in entry.info.needs or entry.steps in ("people", "instances"))
        assert bool(names - {"box"}) <= ("text" in entry.info.needs), entry.info.name
        for part in entry.info.gives:
            assert part in {field.name for field in dataclasses.fields(TaskAnswer)}


@pytest.mark.parametrize("task", TABLE)
def test_every_task_is_asked_in_its_modality_and_answers_with_what_it_gives(task: str) -> None:
    entry = TABLE[task]
    box = write_box([0.25, 0.25, 0.75, 0.75])
    pose = " ".join(f"{write_point([0.5, 0.5])} {name}" for name in KEYPOINTS)
    robot = "0: pick from ( {0} ) and place to ( {0} )".format(" ".join(["<extra_id_700>"] * 3))
    modality = prompts.templates(entry.wording)[0]

    def says(sample: Sample, number: int) -> Any:
        asked = words(sample)
        if asked.startswith("[Image]"):
            return codes("image")
        if asked.startswith("[Audio]"):
            return codes("audio")
        finds = entry.steps in ("people", "instances") and len(engine.calls) == 1
        texts = {"boxes": box, "labelled_boxes": f"{box} cat", "pose": pose, "robot_steps": robot}
        return box if finds else texts.get(entry.reader, "move ahead")

    made, engine = runner(says)
    [answer] = made.run(task, [inputs_of(task)], seeds=[7])
    for part in entry.info.gives:
        value = getattr(answer, part)
        assert value is not None
        assert len(value), part
    last = engine.calls[-1]
    assert last["grammar"].begin == modality
    assert last["sampling"] == entry.sampling
    assert words(last["samples"][0]).startswith(prompts.PREFIXES[modality, "S"])
    assert last["seeds"] == [7]
    assert (last.get("guidance", 0.0) > 0) == (task == "image_generation")
    if "image" in entry.info.needs and answer.picture is not None:
        assert answer.picture.shape == PICTURE.shape
    for mask in answer.masks or ():
        assert mask.shape == PICTURE.shape[:2]


def test_boxes_are_pixels_of_the_users_picture() -> None:
    """The model says shares of the padded square; the prompt names a box so, and the answer's boxes lead back."""
    made, engine = runner(lambda sample, number: write_box([0.25, 0, 0.75, 1]))
    [answer] = made.run("refexp", [inputs_of("refexp")])
    np.testing.assert_allclose(answer.boxes, [[0, 0, 80, 40]], atol=0.2)
    asked = engine.calls[-1]
    assert "a red ball" in words(asked["samples"][0])  # lower-cased, as in training
    assert list(asked["steering"].forced) == [GROUP] * 4 + [SPACE.eos]
    made.run("box_categorization", [inputs_of("box_categorization")])
    [written], dropped = read_boxes(words(engine.calls[-1]["samples"][0]))
    # (20, 10, 60, 30) of 80 x 40 pixels: 16 to 48 of the square's 64 columns, 24 to 40 of its rows
    np.testing.assert_allclose(written * 64, [24, 16, 40, 48], atol=64 / 999 + 1e-3)
    assert not dropped


def test_boxes_said_again_are_left_out() -> None:
    first, again, other = [0.3, 0.1, 0.5, 0.4], [0.3, 0.1, 0.5, 0.41], [0.3, 0.6, 0.5, 0.9]
    text = " ".join(f"{write_box(box)} cat" for box in (first, again, other))
    made, engine = runner(lambda sample, number: text)
    [found] = made.run("localization", [inputs_of("localization")])
    assert len(found.boxes) == 2
    assert engine.calls[-1]["steering"].threshold == 0.3
    [found] = made.run("detection", [inputs_of("detection")])
    assert (len(found.boxes), found.labels) == (2, ("cat", "cat"))
    assert engine.calls[-1]["steering"].threshold == 0.5
    assert distinct(np.asarray([first, other, again])).tolist() == [0, 1]
    assert distinct(np.zeros((0, 4))).tolist() == []


def test_a_text_that_is_no_box_is_counted() -> None:
    made, _ = runner(lambda sample, number: "<extra_id_300> <extra_id_400> cat")
    [found] = made.run("detection", [inputs_of("detection")])
    assert (found.boxes.shape, found.labels, found.dropped) == ((0, 4), (), 1)


def test_people_are_found_first_and_each_pose_is_whole() -> None:
    boxes = [[0.3, 0.1, 0.6, 0.4], [0.3, 0.5, 0.7, 0.9]]

    def says(sample: Sample, number: int) -> str:
        if len(engine.calls) == 1:
            return " ".join(f"{write_box(box)} person" for box in boxes)
        return " ".join(f"{write_point([0.5, 0.25 + 0.5 * number])} {name}" for name in KEYPOINTS)

    made, engine = runner(says)
    [answer] = made.run("keypoint", [TaskInputs(image=PICTURE)])
    assert "person" in words(engine.calls[0]["samples"][0])
    assert (answer.boxes.shape, answer.poses.shape) == ((2, 4), (2, 17, 3))
    np.testing.assert_allclose(answer.poses[:, 0], [[20, 20, 2], [60, 20, 2]], atol=0.2)
    schedule = np.asarray(engine.calls[1]["steering"].forced)
    assert (schedule == GROUP).sum() == 34
    assert schedule[-1] == SPACE.eos
    [nobody] = runner(lambda sample, number: "")[0].run("keypoint", [TaskInputs(image=PICTURE)])
    assert nobody.poses.shape == (0, 17, 3)


def test_options_are_compared_by_sum_or_mean() -> None:
    made, engine = runner()
    options = ("cat", "a very long answer that has many pieces", "dog")
    [answer] = made.run("vqa", [inputs_of("vqa", options=options)])
    assert answer.text in options
    assert set(answer.scores) == set(options)
    assert max(answer.scores, key=answer.scores.get) == answer.text
    assert all(ids[-1] == SPACE.eos for ids in engine.calls[-1]["candidates"][0])
    [mean] = made.run("vqa", [inputs_of("vqa", options=options)], TaskSettings(average_options=True))
    lengths = [len(ids) for ids in engine.calls[-1]["candidates"][0]]
    np.testing.assert_allclose(
        list(mean.scores.values()), np.asarray(list(answer.scores.values())) / lengths, rtol=1e-6
    )
    many = tuple(f"answer {i}" for i in range(230))
    made.run("categorization", [TaskInputs(image=PICTURE, options=many)])
    assert [len(call["candidates"][0]) for call in engine.calls[-3:]] == [100, 100, 30]
    with pytest.raises(MioError, match="ask them apart"):
        made.run("vqa", [inputs_of("vqa"), inputs_of("vqa", options=options)])


def test_guidance_is_against_the_neutral_prompt_or_a_negative_one() -> None:
    made, engine = runner(lambda sample, number: codes("image"))
    task = "image_generation"
    made.run(task, [TaskInputs(text="a heart"), TaskInputs(text="a heart", negative="A Photograph")])
    asked = engine.calls[-1]
    assert asked["guidance"] == 10.0
    neutral, negative = map(words, asked["against"])
    assert neutral == "[Image] [S] An image of a random picture."
    assert negative == words(asked["samples"][0]).replace("a heart", "a photograph")
    made.run(task, [TaskInputs(text="a heart")], TaskSettings(guidance=0))
    assert "guidance" not in engine.calls[-1]
    with pytest.raises(MioError, match="works by guidance"):
        made.run(task, [TaskInputs(text="a heart", negative="x")], TaskSettings(guidance=0))


def test_inpainting_hides_the_box_and_keeps_the_other_codes() -> None:
    made, engine = runner(lambda sample, number: codes("image"))
    [answer] = made.run("inpainting", [inputs_of("inpainting")])
    asked = engine.calls[-1]
    hidden = asked["samples"][0].hidden
    assert hidden.sum() == 40 * 20
    assert hidden[10:30, 20:60].all()
    forced = asked["steering"].forced.reshape(8, 8)
    free = forced == FREE
    # The box is rows 24 to 40 and columns 16 to 48 of a square of 64: codes 3 and 4 down, 2 to 5 across.
    assert free[3:5, 2:6].all()
    assert free.sum() == 8
    assert (forced[~free] >= 2).all()
    assert np.array_equal(answer.picture[~hidden], PICTURE[~hidden])
    assert not np.array_equal(answer.picture[hidden], PICTURE[hidden])


def test_a_long_sound_goes_on_from_itself() -> None:
    made, engine = runner(lambda sample, number: codes("audio"))
    [one] = made.run("audio_generation", [TaskInputs(text="rain")])
    [three] = made.run("audio_generation", [TaskInputs(text="rain")], TaskSettings(segments=3))
    assert len(three.sound.samples) == 3 * len(one.sound.samples)
    assert [len(call["samples"][0].sound_history) for call in engine.calls[-3:]] == [0, 1, 2]
    with pytest.raises(MioError, match="makes no sound"):
        made.run("caption", [TaskInputs(image=PICTURE)], TaskSettings(segments=2))


def test_a_video_is_five_frames_and_their_sounds() -> None:
    made, engine = runner(lambda sample, number: "dancing")
    sound = Audio(np.sin(np.arange(32000) / 5).astype(np.float32), 16000)
    [answer] = made.run("video_caption", [TaskInputs(video=FRAMES, audio=sound)])
    assert answer.text == "dancing"
    [sample] = engine.calls[-1]["samples"]
    assert len(sample.image_history) == 4
    assert np.array_equal(sample.image, FRAMES[8])
    assert np.array_equal(sample.image_history[0], FRAMES[0])
    assert len(sample.sound_history) == 4
    arrays = engine.decoding.batch([sample])
    assert arrays["inputs/image_history/mask"].any(-1).sum() == 4
    assert arrays["inputs/audio_history/mask"].any(-1).sum() == 4
    two = dataclasses.replace(sample, image_history=sample.image_history[:1])
    assert sample.tobytes() != two.tobytes()


def test_settings_of_the_caller_win() -> None:
    made, engine = runner(lambda sample, number: "a cat")
    made.run(
        "caption",
        [TaskInputs(image=PICTURE)] * 3,
        TaskSettings(sampling={"temperature": 0.7}, max_new_tokens=9, rows=2),
    )
    assert [len(call["samples"]) for call in engine.calls] == [2, 1]
    assert engine.calls[0]["sampling"].temperature == 0.7
    assert not engine.calls[0]["sampling"].greedy
    assert engine.calls[0]["max_new_tokens"] == 9
    made.run("caption", [TaskInputs(image=PICTURE)], TaskSettings(sampling={"num_beams": 3}))
    assert engine.calls[-1]["sampling"].num_beams == 3


@pytest.mark.parametrize(
    ("task", "inputs", "message"),
    [
        ("refexpp", {}, "did you mean 'refexp'?"),
        ("refexp", {"image": PICTURE}, "task 'refexp' needs --text"),
        ("caption", {"image": PICTURE, "text": "what"}, "'caption' has no use for --text; it takes --image"),
        ("keypoint_box", {"image": PICTURE, "box": (0.0, 0.0, 90.0, 10.0)}, "not within the picture, which is 80 wide"),
        ("keypoint_box", {"image": PICTURE, "box": (9.0, 0.0, 9.0, 10.0)}, "not within the picture"),
        ("keypoint_box", {"image": PICTURE, "box": (0.0, float("nan"), 9.0, 10.0)}, "not within the picture"),
        ("vqa", {"image": PICTURE, "text": "why " * 200}, "there is room for 63: shorten the text"),
        ("audio_caption", {"audio": Audio(np.full(100, np.nan, np.float32), 16000)}, "NaN or infinite samples"),
        ("audio_caption", {"audio": Audio(np.ones(100, np.float32), 0)}, "sampling rate of 0 Hz"),
        ("audio_caption", {"audio": Audio(SOUND.samples.repeat(40), 16000)}, "segments of 1.008 s; a model is shown 5"),
        ("video_caption", {"video": FRAMES[:0]}, "no frames"),
        ("caption", {"image": np.zeros((0, 5, 3), np.uint8)}, "the picture is empty"),
        ("caption", {"image": np.zeros((8, 8), np.uint8)}, "a picture must be a uint8 array"),
    ],
)
def test_one_clear_line(task: str, inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(MioError, match=message.replace("?", r"\?")) as caught:
        runner()[0].run(task, [TaskInputs(**inputs)])
    assert "\n" not in str(caught.value)


def test_a_picture_of_one_pixel_and_a_sound_of_any_rate_are_seen() -> None:
    made, engine = runner(lambda sample, number: "small")
    [answer] = made.run("caption", [TaskInputs(image=np.full((1, 1, 3), 200, np.uint8))])
    assert answer.text == "small"
    t = np.arange(48000) / 48000
    tone = np.sin(2 * np.pi * 440 * t).astype(np.float32)
    rates = {48000: tone, 16000: tone[::3], 8000: tone[::6]}
    seen = []
    for rate, samples in rates.items():
        made.run("audio_caption", [TaskInputs(audio=Audio(samples, rate))])
        seen.append(engine.decoding.batch(engine.calls[-1]["samples"])["inputs/audio/input"])
    np.testing.assert_allclose(seen[0], seen[1], atol=0.35)  # the same sound, whatever its rate
    assert seen[2].shape == seen[1].shape
