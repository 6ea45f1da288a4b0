"""Tasks by name (`runner_table`): inputs of a user -> prompts, decoding in the right form -> answers.

Some tasks ask several times: poses and instance masks first find the boxes, long sounds go on from their own beginning.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mio_jax.data.media.placement import Placement
from mio_jax.errors import MioError
from mio_jax.generate.sampling import SamplingConfig
from mio_jax.generate.steering import Steering
from mio_jax.protocols import Segment
from mio_jax.recipes.unified_io2 import preprocessing as pre
from mio_jax.recipes.unified_io2 import processors, prompts
from mio_jax.recipes.unified_io2.answers import READERS, View
from mio_jax.recipes.unified_io2.features import Sample, encode_answer, parse
from mio_jax.recipes.unified_io2.generation import grammar
from mio_jax.recipes.unified_io2.histories import sound_parts, video_parts
from mio_jax.recipes.unified_io2.inpainting import given_part, pasted
from mio_jax.recipes.unified_io2.row_arrays import media_sizes, spec_of
from mio_jax.recipes.unified_io2.runner_table import TABLE, Entry
from mio_jax.task_protocol import Box, TaskAnswer, TaskInputs, TaskSettings, as_box
from mio_tokenizers.base import Audio
from mio_tokenizers.image.io import check_picture
from mio_tokenizers.structured.extra_ids import write_box

OPTIONS_AT_ONCE = 100
FORMS: dict[str, Callable[[Any], Steering]] = {
    "box": processors.one_box,
    "boxes": lambda tokenizer: processors.boxes(tokenizer, processors.LOCALIZATION_THRESHOLD),
    "objects": processors.boxes,
    "pose": processors.pose,
}


class Runner:
    """Satisfies `mio_jax.task_protocol.TaskRunner`.

    Args:
      run: a trained run (`mio_jax.train.run.Run`): its config, tokenizers and token space are used.
      engine: `mio_jax.generate.engine_of(run)`.
    """

    def __init__(self, run: Any, engine: Any) -> None:
        self.engine, self.tokenizers, self.space = engine, run.tokenizers, run.space
        self.spec = spec_of(run.config)
        self.media = media_sizes(self.spec, run.config.data.text_length)

    def run(
        self,
        task: str,
        inputs: Sequence[TaskInputs],
        settings: TaskSettings | None = None,
        *,
        seeds: Sequence[int] | None = None,
    ) -> list[TaskAnswer]:
        """See `TaskRunner`; a task is decoded in batches of `settings.rows`."""
        entry, settings = entry_of(task), settings or TaskSettings()
        for one in inputs:
            entry.info.check(one)
        if settings.segments != 1 and entry.steps != "segments":
            raise MioError(f"task {task!r} makes no sound that could have {settings.segments} segments")
        if settings.key_frames or settings.frames:
            shown = self.media.frames + 1
            raise MioError(f"this model is shown {shown} frames, evenly spread: leave --key-frames and --frames out")
        if settings.style or settings.wording:
            raise MioError("Unified-IO 2 asks every task in one way: leave --base and --chat out")
        numbers = list(range(len(inputs)) if seeds is None else seeds)
        return STEPS[entry.steps](self, entry, list(inputs), settings, numbers)

    def sampling(self, task: str) -> SamplingConfig:
        return entry_of(task).sampling

    # ------------------------------------------------------------------------------------------------------- asking

    def once(
        self,
        entry: Entry,
        inputs: list[TaskInputs],
        settings: TaskSettings,
        seeds: list[int],
        *,
        earlier: Sequence[tuple[Audio, ...]] = (),
    ) -> list[TaskAnswer]:
        """One question each. `earlier`: the segments that a sound goes on from."""
        answers: list[TaskAnswer] = []
        for at in range(0, len(inputs), settings.rows):
            part = slice(at, at + settings.rows)
            made = [self.sample(entry, one) for one in inputs[part]]
            if earlier:
                made = [
                    (dataclasses.replace(sample, sound_history=before), placement)
                    for (sample, placement), before in zip(made, earlier[part], strict=True)
                ]
            answers += self._batch(entry, inputs[part], made, settings, seeds[part])
        return answers

    def sample(self, entry: Entry, inputs: TaskInputs) -> tuple[Sample, Placement | None]:
        """What the encoder is shown, and how the picture lies in it.

        Raises MioError on media that cannot be, a box outside the picture, or a text that is too long.
        """
        parts: dict[str, Any] = {}
        if inputs.video is not None:
            parts |= video_parts(inputs.video, inputs.audio, self.media)
        elif inputs.audio is not None:
            parts |= sound_parts(inputs.audio, self.media)
        if inputs.image is not None:
            parts["image"] = check_picture(inputs.image)
        placement = pre.place(parts["image"], self.media.image) if "image" in parts else None
        values = {"": prompts.clean(inputs.text) if entry.lower else inputs.text}
        if inputs.box is not None:
            assert placement is not None
            values["box"] = write_box(_shown_box(inputs.box, placement) / np.float32(placement.size))
        return Sample(text=self.prompt(entry, values), **parts), placement

    def prompt(self, entry: Entry, values: dict[str, str]) -> np.ndarray:
        """Ids of the task's first wording. The text stands in its one place, whatever that is called."""
        modality, wordings = prompts.templates(entry.wording)
        names = prompts.placeholders(wordings[0])
        named = {name: values["box"] if name == "box" else values[""] for name in names if name}
        plain = [values[""]] if "" in names else []
        return self.ids(prompts.prefixed(prompts.fill(wordings[0], *plain, **named), modality))

    def ids(self, written: str) -> np.ndarray:
        """Ids of a prompt. Raises MioError where it does not fit, because a cut prompt is another one."""
        ids = self.tokenizers.text.encode(written)
        if len(ids) >= self.media.text_inputs:
            raise MioError(
                f"the prompt has {len(ids)} tokens; there is room for {self.media.text_inputs - 1}: shorten the text"
            )
        return np.asarray(ids, np.int32)

    def _batch(
        self,
        entry: Entry,
        inputs: Sequence[TaskInputs],
        made: Sequence[tuple[Sample, Placement | None]],
        settings: TaskSettings,
        seeds: Sequence[int],
        steering: Steering | None = None,
    ) -> list[TaskAnswer]:
        samples = [sample for sample, _ in made]
        if any(one.options for one in inputs):
            return self._choose(inputs, samples, settings)
        modality = prompts.templates(entry.wording)[0]
        if steering is None:
            steering = self._form(entry, modality)
        said = self.engine.generate(
            samples,
            sampling_of(entry, settings),
            max_new_tokens=self._room(entry, modality, settings, steering),
            seeds=seeds,
            grammar=grammar(self.space).replace(begin=modality),
            steering=steering,
            **self._guidance(entry, modality, inputs, samples, settings),
        )
        read = READERS[entry.reader]
        return [read(self.media_of(modality, ids), View(place)) for ids, (_, place) in zip(said, made, strict=True)]

    def _form(self, entry: Entry, modality: str) -> Steering | None:
        """What holds the answer to its form: that of the task, or of a sound whose codes have several layers."""
        if modality == "text":
            return FORMS[entry.form](self.tokenizers.text) if entry.form else None
        block = self.space.block(modality)
        if block.layers == 1:
            return None
        return processors.layered(block.layers, block.codes_per_layer, self.spec.tokens_of(modality))

    def _room(self, entry: Entry, modality: str, settings: TaskSettings, steering: Steering | None) -> int:
        if modality != "text":
            return self.spec.tokens_of(modality)
        most = settings.max_new_tokens or entry.most
        return max(most, steering.steps if steering else 0)

    def _guidance(
        self,
        entry: Entry,
        modality: str,
        inputs: Sequence[TaskInputs],
        samples: Sequence[Sample],
        settings: TaskSettings,
    ) -> dict[str, Any]:
        """What the scores are pushed away from: the negative text in the task's wording, or the neutral prompt."""
        alpha = entry.guidance if settings.guidance is None else settings.guidance
        if not alpha:
            if any(one.negative for one in inputs):
                raise MioError(
                    f"a negative text works by guidance, which {entry.info.name!r} has off: give --guidance 5"
                )
            return {}
        against = []
        for one, sample in zip(inputs, samples, strict=True):
            if one.negative:
                text = self.prompt(entry, {"": prompts.clean(one.negative)})
            else:
                text = self.ids(prompts.unconditional(modality))
            against.append(dataclasses.replace(sample, text=text))
        return {"guidance": float(alpha), "against": against}

    def _choose(
        self, inputs: Sequence[TaskInputs], samples: Sequence[Sample], settings: TaskSettings
    ) -> list[TaskAnswer]:
        """The likeliest of each one's answer options, the end mark included."""
        candidates = [
            [encode_answer([Segment("text", option)], self.tokenizers, self.space) for option in one.options]
            for one in inputs
        ]
        found: list[list[np.ndarray]] = [[] for _ in inputs]
        for at in range(0, max(map(len, candidates)), OPTIONS_AT_ONCE):
            part = [some[at : at + OPTIONS_AT_ONCE] for some in candidates]
            for row, scores in zip(found, self.engine.score_batch(samples, part), strict=True):
                row.append(scores)
        answers = []
        for one, some, parts in zip(inputs, candidates, found, strict=True):
            if not one.options:
                raise MioError("some of these examples have answer options and others have none; ask them apart")
            scores = np.concatenate(parts)
            if settings.average_options:
                scores = scores / np.asarray([len(ids) for ids in some])
            best = one.options[int(scores.argmax())]
            answers.append(TaskAnswer(text=best, scores=dict(zip(one.options, map(float, scores), strict=True))))
        return answers

    def media_of(self, modality: str, ids: np.ndarray) -> Any:
        """Generated ids -> text, uint8 picture or `Audio`. Raises MioError on codes that make none."""
        answer = parse(ids, self.tokenizers, self.space)
        if answer.error:
            raise MioError(f"the answer cannot be read: {answer.error}")
        value = answer.segments[0].value
        return value if modality == "text" else getattr(self.tokenizers, modality).decode(value)

    # ----------------------------------------------------------------------------------------------- several steps

    def find(self, name: str, inputs: list[TaskInputs], settings: TaskSettings, seeds: list[int]) -> list[np.ndarray]:
        """Boxes of everything of one category, as the task "localization" finds them; with `name` "", of the text."""
        entry = TABLE["localization"]
        if name:
            entry = dataclasses.replace(entry, form="objects")
        first = [TaskInputs(text=name or one.text, image=one.image) for one in inputs]
        answers = self.once(entry, first, dataclasses.replace(settings, sampling={}, guidance=None), seeds)
        return [found.boxes if found.boxes is not None else np.zeros((0, 4)) for found in answers]

    def _within(
        self, entry: Entry, inputs: list[TaskInputs], found: list[np.ndarray], settings: TaskSettings, seeds: list[int]
    ) -> list[list[TaskAnswer]]:
        """The task's own question once for every box of every picture."""
        asked, numbers = [], []
        for one, boxes, seed in zip(inputs, found, seeds, strict=True):
            some = [box for box in boxes if (box[2:] - box[:2] >= 1).all()]
            asked += [dataclasses.replace(one, box=as_box(box)) for box in some]
            numbers.append((len(some), seed))
        each = [seed for count, seed in numbers for _ in range(count)]
        answers = iter(self.once(entry, asked, settings, each))
        return [[next(answers) for _ in range(count)] for count, _ in numbers]

    def people(
        self, entry: Entry, inputs: list[TaskInputs], settings: TaskSettings, seeds: list[int]
    ) -> list[TaskAnswer]:
        found = self.find("person", inputs, settings, seeds)
        out = []
        for boxes, each in zip(found, self._within(entry, inputs, found, settings, seeds), strict=True):
            poses = [answer.poses for answer in each if answer.poses is not None]
            whole = np.concatenate([np.zeros((0, 17, 3), np.float32), *poses])
            text = "\n".join(answer.text for answer in each)
            out.append(TaskAnswer(text=text, boxes=boxes, poses=whole, dropped=sum(answer.dropped for answer in each)))
        return out

    def instances(
        self, entry: Entry, inputs: list[TaskInputs], settings: TaskSettings, seeds: list[int]
    ) -> list[TaskAnswer]:
        found = self.find("", inputs, settings, seeds)
        out = []
        for boxes, each in zip(found, self._within(entry, inputs, found, settings, seeds), strict=True):
            masks = tuple(mask for answer in each for mask in answer.masks or () if mask.any())
            out.append(TaskAnswer(boxes=boxes, masks=masks))
        return out

    def segments(
        self, entry: Entry, inputs: list[TaskInputs], settings: TaskSettings, seeds: list[int]
    ) -> list[TaskAnswer]:
        """Each segment is written with those before it as the history."""
        if settings.segments < 1:
            raise MioError(f"a sound of {settings.segments} segments; it must be at least 1")
        if settings.segments > 1 and not self.spec.has("inputs", "audio_history"):
            raise MioError(
                "this model was built without audio_history, from which a sound goes on: leave segments at 1"
            )
        made: list[tuple[Audio, ...]] = [() for _ in inputs]
        for _ in range(settings.segments):
            before = [parts[-self.media.frames :] for parts in made]
            said = self.once(entry, inputs, settings, seeds, earlier=before)
            made = [(*parts, answer.sound) for parts, answer in zip(made, said, strict=True) if answer.sound]
        return [
            TaskAnswer(sound=Audio(np.concatenate([part.samples for part in parts]), parts[0].rate)) for parts in made
        ]

    def inpaint(
        self, entry: Entry, inputs: list[TaskInputs], settings: TaskSettings, seeds: list[int]
    ) -> list[TaskAnswer]:
        """The box is hidden from the encoder; codes outside it are the picture's own and are kept."""
        out = []
        for at in range(0, len(inputs), settings.rows):
            part, made, codes, kept = inputs[at : at + settings.rows], [], [], []
            for one in part:
                sample, placement = self.sample(entry, one)
                assert one.image is not None
                assert one.box is not None
                given = given_part(one.image, one.box, self.tokenizers.image, self.spec.target_grid("image"))
                made.append((dataclasses.replace(sample, hidden=given.hidden), placement))
                codes.append(given.codes)
                kept.append(given.kept)
            steering = processors.given_codes(np.stack(codes), np.stack(kept))
            answers = self._batch(entry, part, made, settings, seeds[at : at + settings.rows], steering)
            out += [pasted(one, answer) for one, answer in zip(part, answers, strict=True)]
        return out


STEPS: dict[str, Any] = {
    "once": Runner.once,
    "people": Runner.people,
    "instances": Runner.instances,
    "segments": Runner.segments,
    "inpaint": Runner.inpaint,
}


def task_runner(run: Any, engine: Any) -> Runner:
    """The runner of a trained run."""
    return Runner(run, engine)


def entry_of(task: str) -> Entry:
    """Raises MioError naming the nearest task, or all of them."""
    if task not in TABLE:
        near = difflib.get_close_matches(task, TABLE, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(TABLE)}"
        raise MioError(f"Unified-IO 2 has no task {task!r}; {hint}")
    return TABLE[task]


def sampling_of(entry: Entry, settings: TaskSettings) -> SamplingConfig:
    """The task's settings with the caller's; asking for a temperature or a cut means that a greedy task is drawn."""
    changes = dict(settings.sampling)
    if {"temperature", "top_p", "top_k"} & set(changes):
        changes.setdefault("greedy", False)
    return dataclasses.replace(entry.sampling, **changes)


def _shown_box(box: Box, placement: Placement) -> np.ndarray:
    """(x1, y1, x2, y2) of the picture -> (y1, x1, y2, x2) in the square, float32 [4]."""
    height, width = placement.source
    x1, y1, x2, y2 = np.asarray(box, np.float64)
    if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):  # false for NaN
        raise MioError(
            f"the box x1,y1,x2,y2 = {x1:g},{y1:g},{x2:g},{y2:g} is not within the picture, which is {width} wide and "
            f"{height} high"
        )
    moved, kept = placement.boxes(np.asarray([[y1, x1, y2, x2]]))
    if not kept.all():
        raise MioError(f"the box {x1:g},{y1:g},{x2:g},{y2:g} is too thin for what the model sees of the picture")
    return moved[0]
