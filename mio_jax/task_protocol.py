"""What a recipe's task runner takes and gives, as the command line and the evaluation suites know it.

A recipe that can be asked for tasks by name has `task_infos()` and `task_runner(run, engine)` beside the names of
`mio_jax.protocols.Recipe`. Coordinates here are those of a user's own picture: (x1, y1, x2, y2) in its pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from mio_jax.errors import MioError

if TYPE_CHECKING:
    from mio_jax.data.media.video_reader import Video
    from mio_jax.generate.sampling import SamplingConfig
    from mio_tokenizers.base import Audio

# input -> (flag of `mio generate`, what it is)
INPUTS = {
    "text": ("--text", "a caption, a question, a name or an instruction"),
    "image": ("--image", "a picture"),
    "video": ("--video", "a video file, an animated GIF, WebP or PNG, or a folder of frames"),
    "audio": ("--audio", "a sound"),
    "box": ("--box", "x1,y1,x2,y2 in pixels of the picture"),
    "options": ("--options", "answers to choose from, separated by commas, or a file with one a line"),
    "negative": ("--negative", "what is not wanted, instead of the neutral prompt of guidance"),
}


Box = tuple[float, float, float, float]  # x1, y1, x2, y2


def as_box(values: Iterable[float]) -> Box:
    """Four numbers. Raises ValueError on another count."""
    x1, y1, x2, y2 = map(float, values)
    return x1, y1, x2, y2


@dataclass(frozen=True, eq=False)
class TaskInputs:
    """What one example of a task brings.

    Attributes:
      image: uint8 [height, width, 3].
      video: uint8 [frames, height, width, 3], in their order; or a `Video`, of which the recipe takes what it shows.
      audio: a sound at any rate (that of a video, where there is one).
      box: (x1, y1, x2, y2) in pixels of `image`.
    """

    text: str = ""
    image: np.ndarray | None = None
    video: np.ndarray | Video | None = None
    audio: Audio | None = None
    box: Box | None = None
    options: tuple[str, ...] = ()
    negative: str = ""

    @property
    def given(self) -> tuple[str, ...]:
        """Names of what is there."""
        present = {name: getattr(self, name) for name in INPUTS}
        return tuple(
            name
            for name, value in present.items()
            if not (value is None or (isinstance(value, str | tuple) and not value))
        )


@dataclass(frozen=True)
class TaskInfo:
    """One task: `needs` and `takes` (beside them, if wanted) are keys of `INPUTS`; `gives`: parts of its answer."""

    name: str
    summary: str
    needs: tuple[str, ...]
    takes: tuple[str, ...] = ()
    gives: tuple[str, ...] = ("text",)

    def check(self, inputs: TaskInputs) -> None:
        """Raises MioError naming what is missing, or what this task has no use for."""
        flags = {name: flag for name, (flag, _) in INPUTS.items()}
        lacks = [flags[name] for name in self.needs if name not in inputs.given]
        if lacks:
            raise MioError(f"task {self.name!r} needs {' and '.join(lacks)} ({self.summary})")
        surplus = [flags[name] for name in inputs.given if name not in (*self.needs, *self.takes)]
        if surplus:
            wanted = ", ".join(flags[name] for name in (*self.needs, *self.takes)) or "nothing"
            raise MioError(f"task {self.name!r} has no use for {' and '.join(surplus)}; it takes {wanted}")


@dataclass(frozen=True)
class TaskSettings:
    """How a task is answered where that differs from its own settings.

    Attributes:
      sampling: fields of `SamplingConfig` to be replaced, such as {"top_p": 0.9}.
      guidance: strength of classifier-free guidance; None: the task's.
      max_new_tokens: of a text; None: the task's.
      average_options: answer options are compared by their mean log-likelihood a token, not by its sum.
      segments: of a sound, each continuing the ones before.
      rows: how many answers are decoded at once.
      style: "base" or "chat", of recipes that are asked in either way; "": as the run's stage was trained.
      wording: which of the task's wordings, where it has several; "": the one that is trained.
      key_frames, frames: which frames of a video are shown and at most how many, of recipes that choose them
        (`mio_jax.data.media.key_frames`); "" and 0: the recipe's own choice.
    """

    sampling: Mapping[str, Any] = field(default_factory=dict)
    guidance: float | None = None
    max_new_tokens: int | None = None
    average_options: bool = False
    segments: int = 1
    rows: int = 16
    style: str = ""
    wording: str = ""
    key_frames: str = ""
    frames: int = 0


class Asked(NamedTuple):
    """How a recipe answers a kind of example of a suite (`mio_jax.evaluate.suites`): by which task, and how."""

    task: str
    settings: TaskSettings = TaskSettings()


@dataclass(frozen=True, eq=False)
class TaskAnswer:
    """What an answer holds; None and () where the task has no such part.

    Attributes:
      text: what the model wrote, or the option that was chosen.
      boxes: float32 [n, 4] of (x1, y1, x2, y2) in pixels of the picture, with as many `labels` where there are names.
      poses: float32 [people, 17, 3] of (x, y, visible: 2 or 0) in COCO's order of parts.
      masks: bool [height, width] each, of the picture's size.
      picture: uint8 [height, width, 3]: made, edited, or surface normals as colours.
      video: uint8 [frames, height, width, 3].
      depth: float32 [height, width] in metres.
      actions: of a plan, as dicts.
      scores: log-likelihood of each option.
      dropped: pieces of the text that were not well formed.
      note: what a reader of the answer must know about how it was asked; "": nothing.
    """

    text: str = ""
    boxes: np.ndarray | None = None
    labels: tuple[str, ...] = ()
    poses: np.ndarray | None = None
    masks: tuple[np.ndarray, ...] | None = None
    picture: np.ndarray | None = None
    video: np.ndarray | None = None
    depth: np.ndarray | None = None
    sound: Audio | None = None
    actions: tuple[Mapping[str, Any], ...] | None = None
    scores: Mapping[str, float] | None = None
    dropped: int = 0
    note: str = ""


class TaskRunner(Protocol):
    """Answers a recipe's tasks with a trained run."""

    def run(
        self,
        task: str,
        inputs: Sequence[TaskInputs],
        settings: TaskSettings | None = None,
        *,
        seeds: Sequence[int] | None = None,
    ) -> list[TaskAnswer]:
        """Answers of one task, one for each of the inputs, decoded as one batch.

        Raises MioError on an unknown task, and on inputs that are missing, surplus or impossible.
        """
        ...

    def sampling(self, task: str) -> SamplingConfig:
        """The task's own settings."""
        ...
