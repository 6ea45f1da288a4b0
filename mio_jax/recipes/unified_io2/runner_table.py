"""The tasks that can be asked for by name, as data: the released runner's eighteen (specification 19.5), and others.

`mio generate --task list` prints them. Wordings are those of `prompts`; the first one of a task is taken, so that an
answer can be made again.
"""

from __future__ import annotations

from dataclasses import dataclass

from mio_jax.generate.sampling import SamplingConfig
from mio_jax.task_protocol import Asked, TaskInfo

GREEDY = SamplingConfig(greedy=True)
PICTURE = SamplingConfig(top_p=0.9)
DENSE = SamplingConfig(top_p=0.9, temperature=0.9)
MASK = SamplingConfig(top_p=0.95, temperature=0.9)
SOUND = SamplingConfig(top_p=0.9)


@dataclass(frozen=True)
class Entry:
    """How a task is asked.

    Attributes:
      wording: a task of `prompts.TEMPLATES`, which also says the modality of the answer.
      reader: of `answers.READERS`.
      form: of `runner.FORMS`, or "": nothing holds the answer to a form.
      most: tokens of a text.
      steps: of `runner.STEPS`.
      lower: the text is lower-cased, as captions and expressions were in training; instructions keep their case.
    """

    info: TaskInfo
    wording: str
    reader: str
    sampling: SamplingConfig = GREEDY
    guidance: float = 0.0
    form: str = ""
    most: int = 32
    steps: str = "once"
    lower: bool = True


def _entry(
    name: str,
    summary: str,
    needs: str,
    wording: str,
    reader: str,
    *,
    takes: str = "",
    gives: str = "text",
    sampling: SamplingConfig = GREEDY,
    guidance: float = 0.0,
    form: str = "",
    most: int = 32,
    steps: str = "once",
    lower: bool = True,
) -> Entry:
    info = TaskInfo(name, summary, tuple(needs.split()), tuple(takes.split()), tuple(gives.split()))
    return Entry(info, wording, reader, sampling, guidance, form, most, steps, lower)


_RELEASED = (
    _entry(
        "refexp", "the box of what an expression refers to", "image text", "refexp", "boxes", gives="boxes", form="box"
    ),
    _entry("vqa", "a short answer to a question about a picture", "image text", "vqa", "text", takes="options"),
    _entry(
        "box_categorization",
        "the category of what is in a box",
        "image box",
        "box_classification",
        "text",
        takes="options",
    ),
    _entry("categorization", "the category of a picture", "image", "classification", "text", takes="options"),
    _entry(
        "localization",
        "the boxes of everything of one category",
        "image text",
        "localization",
        "boxes",
        gives="boxes",
        form="boxes",
        most=256,
    ),
    _entry(
        "keypoint_box", "the pose of the person in a box", "image box", "keypoints", "pose", gives="poses", form="pose"
    ),
    _entry(
        "keypoint",
        "the poses of all people: finds them, then each one's pose",
        "image",
        "keypoints",
        "pose",
        gives="poses boxes",
        form="pose",
        steps="people",
    ),
    _entry(
        "detection",
        "boxes and names of all objects",
        "image",
        "detection",
        "labelled_boxes",
        gives="boxes labels",
        form="objects",
        most=256,
    ),
    _entry("video_tagging", "the action that a video shows", "video", "video_tagging", "text", takes="audio options"),
    _entry("video_caption", "a sentence about a video", "video", "video_captioning", "text", takes="audio", most=64),
    _entry("audio_caption", "a sentence about a sound", "audio", "audio_captioning", "text", most=64),
    _entry("caption", "a short caption of a picture", "image", "image_captioning", "text", most=64),
    _entry(
        "image_generation",
        "a picture of what a text says",
        "text",
        "text_to_image",
        "picture",
        takes="negative",
        gives="picture",
        sampling=PICTURE,
        guidance=10.0,
    ),
    _entry(
        "surface_normals",
        "surface normals of every pixel, as colours",
        "image",
        "surface_normals",
        "picture",
        gives="picture",
        sampling=DENSE,
    ),
    _entry("depth", "metres from the camera", "image", "depth", "depth", gives="depth picture", sampling=DENSE),
    _entry(
        "segmentation_box",
        "the mask of what a text names in a box",
        "image text box",
        "segmentation_box",
        "mask",
        gives="masks",
        sampling=MASK,
    ),
    _entry(
        "segmentation_class",
        "a mask for each instance of a category: finds them, then paints each",
        "image text",
        "segmentation_box",
        "mask",
        gives="masks boxes",
        sampling=MASK,
        steps="instances",
    ),
    _entry(
        "audio_generation",
        "a sound as a text describes it; with --segments N as long as N of them",
        "text",
        "text_to_audio",
        "sound",
        takes="negative",
        gives="sound",
        sampling=SOUND,
        steps="segments",
    ),
)
_OTHERS = (
    _entry(
        "semantic_segmentation",
        "one mask of everything of a category",
        "image text",
        "segmentation_class",
        "mask",
        gives="masks",
        sampling=MASK,
    ),
    _entry(
        "refexp_segmentation",
        "the mask of what an expression refers to",
        "image text",
        "refexp_segmentation",
        "mask",
        gives="masks",
        sampling=MASK,
    ),
    _entry(
        "inpainting",
        "the part of a picture in a box drawn anew, the rest kept code by code",
        "image box text",
        "inpainting",
        "picture",
        takes="negative",
        gives="picture",
        sampling=PICTURE,
        steps="inpaint",
    ),
    _entry(
        "image_editing",
        "the picture changed as a text says",
        "image text",
        "image_editing",
        "picture",
        takes="negative",
        gives="picture",
        sampling=PICTURE,
    ),
    _entry("region_caption", "a phrase about the part in a box", "image box", "region_captioning", "text", most=64),
    _entry("video_qa", "a short answer about a video", "video text", "video_qa", "text", takes="audio options"),
    _entry("audio_tagging", "the category of a sound", "audio", "audio_tagging", "text", takes="options"),
    _entry("video_to_audio", "the sound of a video", "video", "video_to_audio", "sound", gives="sound", sampling=SOUND),
    _entry("speech", "a text read aloud", "text", "speech", "sound", gives="sound", sampling=SOUND, lower=False),
    _entry(
        "sound_localization",
        "the box of what makes a sound",
        "image audio",
        "sound_localization",
        "boxes",
        gives="boxes",
        form="box",
    ),
    _entry(
        "instruction",
        "an answer to any instruction",
        "text",
        "instruction",
        "text",
        takes="image audio",
        most=256,
        lower=False,
    ),
    _entry(
        "robot_plan",
        "the picks, places and pushes that do what a text says",
        "text image",
        "robot_plan",
        "robot_steps",
        gives="actions",
        most=128,
    ),
    _entry("navigation", "an agent's next actions", "text image", "navigation", "navigation", gives="actions", most=64),
)
TABLE: dict[str, Entry] = {entry.info.name: entry for entry in (*_RELEASED, *_OTHERS)}
RELEASED = tuple(entry.info.name for entry in _RELEASED)


def task_infos() -> dict[str, TaskInfo]:
    """What the tasks need and give, by name."""
    return {name: entry.info for name, entry in TABLE.items()}


def suite_asks() -> dict[str, dict[str, Asked]]:
    """How suites' kinds of examples are asked, where a task of the same name is not what is meant."""
    kinds = {
        "normal": Asked("surface_normals"),
        "segmentation": Asked("segmentation_class"),
        "stuff_segmentation": Asked("semantic_segmentation"),
    }
    return {"grit": kinds}
