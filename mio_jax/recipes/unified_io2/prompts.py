"""Unified-IO 2's prompts: placeholders, the prefix that names the output, several wordings a task.

The publication draws a wording uniformly from those of a task (specification section 17). Its 1778 wordings are not
ours to copy: these are written for this project, in the same style. A hint of the wanted form is part of the wording
("in a word or two", "in the style of COCO"), which keeps free answers long where nothing was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from mio_jax.errors import MioError

# The first piece of every prompt: which medium is asked for, and how (S: given an input, R and X: denoising).
PREFIXES = {
    ("text", "S"): "[Text] [S]",
    ("text", "R"): "[Text] [R]",
    ("text", "X"): "[Text] [X]",
    ("image", "S"): "[Image] [S]",
    ("image", "R"): "[Image] [R]",
    ("audio", "S"): "[Audio] [S]",
    ("audio", "R"): "[Audio] [R]",
}
# What stands in for the prompt where none is followed (section 17, exact), and how often in training.
UNCONDITIONAL = {"image": "An image of a random picture.", "audio": "A video of a random audio."}
UNCONDITIONAL_SHARE = 0.1
TRUNCATE = "[TR]"  # in a prompt with a long context: what stands before it is cut so that the rest fits
_NAME = re.compile(r"\{(\w*)\}")

# task -> (medium of the answer, wordings). Names in braces are filled in; {} is the only one of its wording.
TEMPLATES: dict[str, tuple[str, tuple[str, ...]]] = {
    "text_to_image": (
        "image",
        (
            "Draw {}",
            "Make a picture of this: {}",
            'Generate an image that fits the caption "{}"',
            "Create an image. It should show {}",
            "What could a photo of the following look like? {}",
        ),
    ),
    "image_captioning": (
        "text",
        (
            "Caption <image_input> in the style of COCO.",
            "Describe <image_input> in one plain sentence, as a COCO annotator would.",
            "Write a short COCO caption for <image_input>",
            "What does <image_input> show? Answer with a short caption like those of COCO.",
        ),
    ),
    "noisy_captioning": (
        "text",
        (
            "Write a noisy caption for <image_input>, such as a web page might have.",
            "Which alternative text might a web page give for <image_input>?",
            "Guess the noisy web text beside <image_input>",
        ),
    ),
    "vqa": (
        "text",
        (
            "{} Answer in a word or two.",
            "Look at <image_input> and give a short answer: {}",
            "Question: {} Short answer:",
            "Answer this question about <image_input> with as few words as you can. {}",
        ),
    ),
    "instruction": (
        "text",
        (
            "{}",
            "Follow this instruction: {}",
            "Here is a request. {} Reply in full sentences.",
        ),
    ),
    "instruction_with_context": (
        "text",
        (
            "{context} [TR] {instruction}",
            "Read this: {context} [TR] Now do the following. {instruction}",
            "Context: {context} [TR] Task: {instruction}",
        ),
    ),
    "classification": (
        "text",
        (
            "What is in <image_input>? Name its category.",
            "Name the main object of <image_input>",
            "Which category does <image_input> belong to?",
        ),
    ),
    "box_classification": (
        "text",
        (
            "Name the object in {box} of <image_input>",
            "What is inside the region {box} ?",
            "Which category has the thing at {box} in <image_input> ?",
        ),
    ),
    "region_captioning": (
        "text",
        (
            "Describe what is in the region {box}",
            "Write a phrase about the part {box} of <image_input>",
            "What can be said of the area {box} ?",
        ),
    ),
    "refexp": (
        "text",
        (
            'Which region of <image_input> is meant by "{}"?',
            "Find the box of: {}",
            'Locate the one thing that "{}" refers to.',
            "Give the location of this in <image_input>: {}",
        ),
    ),
    "localization": (
        "text",
        (
            "Find every {} in <image_input> and give the boxes.",
            'Where is each instance of the category "{}"? List all of their boxes.',
            "Locate all objects of the kind {}",
        ),
    ),
    "detection": (
        "text",
        (
            "List the objects of <image_input> with their boxes, using the categories of COCO.",
            "Detect every COCO object in <image_input> and name it.",
            "Which objects does <image_input> hold, and where? Use COCO's categories.",
        ),
    ),
    "relationship": (
        "text",
        (
            "How does the thing at {subject} relate to the one at {object} ?",
            "Name the relation of {subject} to {object} in <image_input>",
        ),
    ),
    "keypoints": (
        "text",
        (
            "Give the joints of the person in {box}",
            "Where are the body parts of the person at {box} ? Write MISSING for those that cannot be seen.",
            "Find all human keypoints within {box} of <image_input>",
        ),
    ),
    "segmentation_class": (
        "image",
        (
            "Paint a mask of every {} in <image_input>",
            "Segment the category {}: white where it is, black elsewhere.",
            "Make a black and white picture that shows where there is a {}",
        ),
    ),
    "segmentation_box": (
        "image",
        (
            "Segment the {label} in {box}",
            "Paint a white mask of the one {label} that lies in the region {box} , and black around it.",
            "Make the mask of the {label} at {box} of <image_input>",
        ),
    ),
    "refexp_segmentation": (
        "image",
        (
            'Segment what "{}" refers to in <image_input>',
            "Paint a mask of this thing alone: {}",
        ),
    ),
    "depth": (
        "image",
        (
            "Estimate the depth of <image_input>. What is near is dark.",
            "Make a depth map of <image_input>, lighter the farther away.",
            "How far away is each pixel? Answer with a grey picture in which darker means less depth.",
        ),
    ),
    "surface_normals": (
        "image",
        (
            "Estimate the surface normals of <image_input>",
            "Make a picture whose colours are the directions that the surfaces of <image_input> face.",
            "Show the normal of every pixel of <image_input> as red, green and blue.",
        ),
    ),
    "optical_flow": (
        "image",
        (
            "Estimate the optical flow from <image_history_1> to <image_input>",
            "Show as colours how each pixel moves between <image_history_1> and <image_input>",
        ),
    ),
    "inpainting": (
        "image",
        (
            "Fill in the part of <image_input> that is hidden. It shows: {}",
            "Complete <image_input> so that it fits this: {}",
            "What is missing in <image_input>? Draw it. {}",
        ),
    ),
    "image_editing": (
        "image",
        (
            "Change <image_input> like this: {}",
            "Edit <image_input>. {}",
            "Redraw <image_input> after this instruction: {}",
        ),
    ),
    "next_frame": (
        "image",
        (
            "Draw the frame that comes after <image_input>",
            "What will be seen next in this video? Make the picture.",
        ),
    ),
    "view_synthesis": (
        "image",
        (
            "Draw the object of <image_input> after the camera moved by {}",
            "Show <image_input> from another side; the camera's move is {}",
        ),
    ),
    "text_to_audio": (
        "audio",
        (
            "Make the sound of {}",
            'Generate a recording that fits the caption "{}"',
            "What would the following sound like? {}",
            "Create audio: {}",
        ),
    ),
    "next_audio": (
        "audio",
        (
            "Continue the sound of <audio_input>. It is described so: {}",
            "What will be heard after <audio_input>? The caption says: {}",
        ),
    ),
    "speech": (
        "audio",
        (
            "Read this aloud: {}",
            "Say the following words. {}",
            "Speak: {}",
        ),
    ),
    "video_to_audio": (
        "audio",
        (
            "Make the sound that belongs to this video.",
            "What does the scene of <image_input> sound like? Generate it.",
        ),
    ),
    "audio_captioning": (
        "text",
        (
            "Caption <audio_input> in the style of AudioCaps.",
            "Describe what is heard in <audio_input> with one sentence.",
            "Which sounds does <audio_input> hold? Write a short caption.",
        ),
    ),
    "audio_tagging": (
        "text",
        (
            "Name the category of the sound <audio_input>",
            "Which kind of sound is <audio_input>?",
            "What makes the sound in <audio_input>? Name it.",
        ),
    ),
    "sound_localization": (
        "text",
        (
            "Where in <image_input> does the sound <audio_input> come from? Give the box.",
            "Find the box of what makes the sound <audio_input>",
        ),
    ),
    "video_captioning": (
        "text",
        (
            "Caption this video with a short sentence.",
            "What happens in the video? Say it briefly.",
            "Describe the frames that end with <image_input> in one plain sentence.",
        ),
    ),
    "video_tagging": (
        "text",
        (
            "Which action does this video show?",
            "Name the activity in the video.",
            "What is being done in these frames? Answer with a category.",
        ),
    ),
    "video_qa": (
        "text",
        (
            "Answer this about the video in a word or two: {}",
            "{} Watch the video and answer briefly.",
        ),
    ),
    "tracking": (
        "text",
        (
            "The object was here: {} Where is it in <image_input> ?",
            "Follow this object into <image_input> and give its box. {}",
        ),
    ),
    "camera_transform": (
        "text",
        (
            "How did the camera move from <image_history_1> to <image_input> ?",
            "Give the camera's move between <image_history_1> and <image_input>",
        ),
    ),
    "box_3d": (
        "text",
        (
            "Give the 3-D box of the object in {box}",
            "Where in space is the thing at {box} of <image_input> ? Answer with a cuboid.",
        ),
    ),
    "navigation": (
        "text",
        (
            "The goal is: {} What should the agent do next?",
            "Name the next actions that lead to this: {}",
        ),
    ),
    "robot_plan": (
        "text",
        (
            "Plan the steps of the robot arm. {}",
            "Which picks, places and pushes do this? {}",
        ),
    ),
}


def prefixed(text: str, modality: str, paradigm: str = "S") -> str:
    """The prompt with the piece that names its output before it. MioError on a pair that has none."""
    if (modality, paradigm) not in PREFIXES:
        pairs = ", ".join("/".join(pair) for pair in PREFIXES)
        raise MioError(f"there is no prefix for {modality}/{paradigm}; there are: {pairs}")
    return f"{PREFIXES[modality, paradigm]} {text}"


def unconditional(modality: str) -> str:
    """The neutral prompt of classifier-free guidance, with its prefix. MioError where guidance is of no use."""
    if modality not in UNCONDITIONAL:
        raise MioError(f"there is no neutral prompt for {modality!r}; there are: {', '.join(UNCONDITIONAL)}")
    return prefixed(UNCONDITIONAL[modality], modality)


def placeholders(template: str) -> tuple[str, ...]:
    """Names of a wording's placeholders, "" for {}. MioError where one occurs twice."""
    names = tuple(_NAME.findall(template))
    if len(set(names)) < len(names):
        raise MioError(f"the wording {template!r} has a placeholder twice; each occurs exactly once")
    return names


def fill(template: str, *value: str, **values: str) -> str:
    """The wording with its placeholders replaced; braces within a value stay as they are.

    `fill("Find {}", "a cat")`, `fill("Name {box}", box=...)`. Raises MioError on a value too many or too few.
    """
    given = {**dict(zip(("",), value, strict=False)), **values}
    names = placeholders(template)
    if set(names) != set(given) or len(value) > 1:
        wanted = ", ".join("{" + n + "}" for n in names) or "none"
        got = len(value) + len(values)
        raise MioError(f"the wording {template!r} has the placeholders {wanted}, but got {got} values: {list(values)}")
    return _NAME.sub(lambda match: given[match[1]], template)


def templates(task: str) -> tuple[str, tuple[str, ...]]:
    """(medium of the answer, wordings). Raises MioError naming the tasks that there are."""
    if task not in TEMPLATES:
        raise MioError(f"there are no prompts for {task!r}; there are: {', '.join(sorted(TEMPLATES))}")
    return TEMPLATES[task]


def prompt(
    task: str,
    *value: str,
    rng: np.random.Generator | None = None,
    extra: Sequence[str] = (),
    **values: str,
) -> str:
    """A prompt of a task with its prefix: a wording drawn by `rng`, or the first one.

    `extra` are wordings of a data set beside the task's. Values are put in as they are: publications lower-case answers
    and expressions, which is `clean`'s work.
    """
    modality, wordings = templates(task)
    wordings = (*wordings, *extra)
    chosen = wordings[0] if rng is None else wordings[int(rng.integers(len(wordings)))]
    return prefixed(fill(chosen, *value, **values), modality)


def maybe_unconditional(text: str, modality: str, rng: np.random.Generator, share: float = UNCONDITIONAL_SHARE) -> str:
    """`text`, or in a `share` of the draws the neutral prompt of its medium: trains the model for guidance."""
    return unconditional(modality) if rng.random() < share else text


def clean(text: str) -> str:
    """Captions and expressions as the released tasks write them: lower case, no backslashes, "<person>" as a word."""
    return " ".join(text.lower().replace("\\", " ").replace("<person>", "person").split())


def encode_prompt(text: str, encode: Callable[[str], np.ndarray], max_length: int) -> np.ndarray:
    """Ids of a prompt, int32 [at most `max_length` - 1]: room is left for the end mark.

    With the mark "[TR]" in it, the part before the mark (behind the prefix) is cut so that the rest always fits. Raises
    MioError where the rest alone does not.
    """
    before, mark, after = text.partition(TRUNCATE)
    if not mark:
        return encode(text)[: max_length - 1]
    head, tail = encode(before.strip()), encode(after.strip())
    room = max_length - 1 - len(tail)
    if room < 1:
        raise MioError(f"the prompt behind {TRUNCATE} has {len(tail)} tokens, more than {max_length - 2}; shorten it")
    return np.concatenate([head[:room], tail]).astype(np.int32)
