"""MIO's tasks by name (`runner_table`): a user's inputs -> prompts, decoding under the grammar -> answers."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mio_jax.data.media.key_frames import shown_frames, thinned
from mio_jax.data.media.video_reader import Video
from mio_jax.errors import MioError
from mio_jax.generate.grammar import Grammar
from mio_jax.generate.sampling import SamplingConfig
from mio_jax.protocols import Generated, Segment
from mio_jax.recipes.mio import generation, tasks
from mio_jax.recipes.mio.features import encode_answer, encode_prompt, parse
from mio_jax.recipes.mio.prompts import SYSTEM_VOICE
from mio_jax.recipes.mio.runner_table import BASE, TABLE, Entry
from mio_jax.recipes.mio.tokens import EOS, TURN_CLOSE
from mio_jax.task_protocol import TaskAnswer, TaskInputs, TaskSettings
from mio_tokenizers.image.io import check_picture

STYLES = ("base", "chat")


class Question(NamedTuple):
    """A prompt, int32 [length], and what its asker must know."""

    ids: np.ndarray
    note: str


class Runner:
    """Satisfies `mio_jax.task_protocol.TaskRunner`.

    Args:
      run: a trained run (`mio_jax.train.run.Run`): its config, tokenizers, token space and stage are used.
      engine: `mio_jax.generate.engine_of(run)`.
    """

    def __init__(self, run: Any, engine: Any) -> None:
        self.engine, self.tokenizers, self.space = engine, run.tokenizers, run.space
        self.length, self.system = run.config.data.length, run.config.data.system_prompt
        stages = {stage.name: stage.style for stage in run.config.stages}
        self.style = stages.get(run.stage) or run.config.stages[-1].style
        self._seen = functools.lru_cache(maxsize=2)(self._coded)  # a video's questions follow one another

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
        style = settings.style or self.style
        template = template_of(entry, style, settings.wording)
        for one in inputs:
            entry.info.check(one)
        if settings.guidance:
            raise MioError("MIO is decoded without guidance (its scale is 1): leave --guidance out")
        if settings.segments != 1:
            raise MioError(f"task {task!r} makes sounds as long as they get: leave --segments out")
        numbers = list(range(len(inputs)) if seeds is None else seeds)
        answers: list[TaskAnswer] = []
        for at in range(0, len(inputs), settings.rows):
            part = slice(at, at + settings.rows)
            once = {id(one): self.question(entry, template, style, one, settings) for one in unlike(inputs[part])}
            asked = [once[id(one)] for one in inputs[part]]
            if any(one.options for one in inputs[part]):
                made = self._choose(inputs[part], asked, style, settings)
            else:
                made = self._decode(entry, asked, style, settings, numbers[part])
            answers += [dataclasses.replace(one, note=q.note) for one, q in zip(made, asked, strict=True)]
        return answers

    def sampling(self, task: str) -> SamplingConfig:
        return generation.published_sampling(entry_of(task).output)

    # ------------------------------------------------------------------------------------------------------- asking

    def question(self, entry: Entry, template: str, style: str, inputs: TaskInputs, settings: TaskSettings) -> Question:
        """The prompt of one example. Of a video as many frames are shown as the context has room for.

        Raises MioError on media that cannot be, or a prompt that leaves no room for its answer.
        """
        media: dict[str, list[Segment]] = {}
        if inputs.image is not None:
            media["image"] = [self._picture(check_picture(inputs.image))]
        if inputs.audio is not None:
            heard = generation.segment("audio", inputs.audio, self.tokenizers)
            media["audio"] = [heard._replace(value=heard.value[:1]) if entry.content_alone else heard]
        room, note = self._room(entry, settings), ""
        if inputs.video is not None:
            bare = len(self._ids(entry, template, style, inputs.text, {**media, "video": []}))
            fit = (self.length - bare - room) // (2 + self.space.span("image").length)
            if fit < 1:
                raise MioError(
                    f"a prompt of {bare} tokens and an answer of up to {room} leave no room for a frame in the context"
                    f" of {self.length}: shorten the text, or lower --max-new-tokens"
                )
            asked = (settings.key_frames, settings.frames)
            video = inputs.video
            chosen = self._seen(video, *asked) if isinstance(video, Video) else self._coded(video, *asked)
            media["video"] = [chosen[i] for i in thinned(np.arange(len(chosen)), fit)]
            if len(media["video"]) < len(chosen):
                note = f"{fit} of {len(chosen)} frames were shown: the context of {self.length} holds no more"
        ids = self._ids(entry, template, style, inputs.text, media)
        if len(ids) >= self.length:
            raise MioError(
                f"the prompt has {len(ids)} tokens, and the context of {self.length} leaves no room for an answer:"
                " shorten the text or the sound"
            )
        return Question(ids, note)

    def _coded(self, video: Any, how: str, most: int) -> list[Segment]:
        return [self._picture(frame) for frame in shown_frames(video, how, most)]

    def _picture(self, pixels: np.ndarray) -> Segment:
        return generation.segment("image", pixels, self.tokenizers)

    def _ids(self, entry: Entry, template: str, style: str, text: str, media: dict[str, list[Segment]]) -> np.ndarray:
        content = filled(template, text, media)
        # A run that was trained with a system prompt of its own knows no other.
        system = self.system or (SYSTEM_VOICE if entry.voice else "")
        return encode_prompt(generation.prompt(content, style), self.tokenizers, self.space, system=system)

    def _room(self, entry: Entry, settings: TaskSettings) -> int:
        """Tokens of the longest answer, its end included."""
        image = 2 + self.space.span("image").length
        if entry.output == "image":
            return image + 1
        if entry.output == "video":
            return (settings.frames or entry.most) * image + 1
        return settings.max_new_tokens or entry.most

    # ----------------------------------------------------------------------------------------------------- answering

    def _decode(
        self, entry: Entry, asked: Sequence[Question], style: str, settings: TaskSettings, seeds: Sequence[int]
    ) -> list[TaskAnswer]:
        said = self.engine.generate(
            [question.ids for question in asked],
            sampling_of(generation.published_sampling(entry.output), settings),
            max_new_tokens=min(self._room(entry, settings), self.length),
            stop_ids=(self.space.eos, *(self.space.special(s) for s in generation.stop_strings(style))),
            seeds=seeds,
            grammar=FORMS[entry.output](generation.grammar(self.space)),
        )
        return [self._read(entry, parse(ids, self.tokenizers, self.space), style) for ids in said]

    def _read(self, entry: Entry, answer: Generated, style: str) -> TaskAnswer:
        if entry.output == "text":
            return TaskAnswer(text=read_text(answer, style == BASE and entry.one_line))
        kind = "audio" if entry.output == "audio" else "image"
        codes = [segment.value for segment in answer.segments if segment.kind == kind]
        if not codes:
            raise MioError(f"the answer holds no {kind}: {answer.error or 'raise --max-new-tokens'}")
        decode = getattr(self.tokenizers, kind).decode
        if entry.output == "audio":
            return TaskAnswer(sound=decode(codes[0]))
        if entry.output == "image":
            return TaskAnswer(picture=decode(codes[0]))
        return TaskAnswer(video=np.stack([decode(one) for one in codes]))

    def _choose(
        self, inputs: Sequence[TaskInputs], asked: Sequence[Question], style: str, settings: TaskSettings
    ) -> list[TaskAnswer]:
        """The likeliest of each one's answer options, what ends an answer included."""
        if not all(one.options for one in inputs):
            raise MioError("some of these examples have answer options and others have none; ask them apart")
        # In a document the answer follows the prompt's last word, in a chat it begins the reply.
        form = " {}" + EOS if style == BASE else "{}" + TURN_CLOSE
        candidates = [
            [encode_answer([Segment("text", form.format(o))], self.tokenizers, self.space) for o in one.options]
            for one in inputs
        ]
        answers = []
        found = self.engine.score_batch([question.ids for question in asked], candidates)
        for one, some, scores in zip(inputs, candidates, found, strict=True):
            if settings.average_options:
                scores = scores / np.asarray([len(ids) for ids in some])
            best = one.options[int(np.argmax(scores))]
            answers.append(TaskAnswer(text=best, scores=dict(zip(one.options, map(float, scores), strict=True))))
        return answers


def unlike(inputs: Sequence[TaskInputs]) -> list[TaskInputs]:
    """Each of them once: what is answered several times is read once."""
    return list({id(one): one for one in inputs}.values())


FORMS: dict[str, Callable[[Grammar], Grammar]] = {
    "text": lambda grammar: grammar.replace(begin="text", media=()),
    "image": lambda grammar: grammar.replace(begin="image", after="stop"),
    "audio": lambda grammar: grammar.replace(begin="audio", after="stop"),
    "video": lambda grammar: grammar.replace(begin="image", media=("image",)),
}


def task_runner(run: Any, engine: Any) -> Runner:
    """The runner of a trained run."""
    return Runner(run, engine)


def entry_of(task: str) -> Entry:
    """Raises MioError naming the nearest task, or all of them."""
    if task not in TABLE:
        near = difflib.get_close_matches(task, TABLE, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(TABLE)}"
        raise MioError(f"MIO has no task {task!r}; {hint}")
    return TABLE[task]


def template_of(entry: Entry, style: str, wording: str = "") -> str:
    """The wording of a task. Raises MioError where it has none of this style or name."""
    if style not in STYLES:
        raise MioError(f"MIO is asked in style {' or '.join(STYLES)}, not {style!r}")
    if style == BASE:
        if not entry.base:
            raise MioError(
                f"a base model has not learned the task {entry.info.name!r}: use a stage that is tuned to chat"
            )
        return entry.base
    if wording not in entry.chat:
        named = ", ".join(name for name in entry.chat if name) or "the usual one alone"
        raise MioError(f"task {entry.info.name!r} has no wording {wording!r}; it has: {named}")
    return entry.chat[wording]


def filled(template: str, text: str, media: dict[str, list[Segment]]) -> list[Segment]:
    """Content with the text in its place and media in theirs; media that have no place follow on lines of their own.

    Text that stands together is one segment, because segments are tokenised apart. A video is one picture after the
    other, with nothing between them (3.5).
    """
    content: list[Segment] = []
    written = ""
    left = dict(media)
    pieces = re.split(r"\{(text|image|video|audio)\}", template)
    for number, piece in enumerate(pieces):
        if number % 2 == 0:
            written += piece
        elif piece == "text":
            written += text
        else:
            content += [tasks.text(written)] * bool(written) + left.pop(piece)
            written = ""
    for segments in left.values():
        content += [tasks.text(written + "\n"), *segments]
        written = ""
    return content + [tasks.text(written)] * bool(written)


def read_text(answer: Generated, one_line: bool) -> str:
    """What was written; `one_line`: the first line of it, behind the colon with which it goes on from the template."""
    text = " ".join(segment.value.strip() for segment in answer.segments if segment.kind == "text").strip()
    return (text.lstrip(": ").splitlines() or [""])[0].strip() if one_line else text


def sampling_of(usual: SamplingConfig, settings: TaskSettings) -> SamplingConfig:
    """The published settings with the caller's; what asks for a draw, or for no search, ends a search over beams."""
    changes = dict(settings.sampling)
    if {"temperature", "top_p", "top_k", "greedy"} & set(changes):
        changes.setdefault("num_beams", 1)
    if changes.get("num_beams", 1) > 1:
        changes.setdefault("top_p", 1.0)
    return dataclasses.replace(usual, **changes)
