"""One example of any media, and what becomes of it: all features of the model at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mio_jax.data.media.placement import Placement, fit
from mio_jax.data.media.video import sound_segments, trim_black_bars
from mio_jax.errors import MioError
from mio_jax.recipes.unified_io2 import preprocessing as pre
from mio_jax.recipes.unified_io2.prompts import encode_prompt, placeholders
from mio_tokenizers.base import Audio
from mio_tokenizers.structured.extra_ids import write_box
from mio_tokenizers.structured.labelled import write_labelled_boxes
from mio_tokenizers.text import ExtendedTextTokenizer
from mio_tokenizers.text.features import input_features, target_features


@dataclass(frozen=True)
class MediaExample:
    """An example before it becomes numbers of a model.

    `prompt` and `target_text` may hold "{name}" of `boxes` (pixels (y1, x1, y2, x2) of `image`): a single box [4], or
    [n, 4] with as many `labels` of that name, which becomes a list of labelled boxes. They are written as they lie in
    the picture that the model sees.

    Attributes:
      prompt: with its prefix, as `prompts.prompt` makes it.
      image, image_history: pictures [height, width, 3], uint8 or float in [0, 1]; the history in its order.
      hidden: bool [height, width], the part of `image` that the model is not to see.
      audio: of any length that fits; what goes beyond the last segment becomes the history.
      audio_history: segments, each with its sound in the middle; `audio` is then taken so too.
      target_text: one answer or several; "" is an empty answer, from which nothing is learned; None is no text.
      aligned: `target_image` answers `image` pixel by pixel and has its size.
      learned: bool of the size of `target_image`: where there is a loss.
    """

    prompt: str
    image: np.ndarray | None = None
    image_history: Sequence[np.ndarray] = ()
    hidden: np.ndarray | None = None
    audio: Audio | None = None
    audio_history: Sequence[Audio] = ()
    target_text: str | Sequence[str] | None = None
    target_image: np.ndarray | None = None
    aligned: bool = False
    learned: np.ndarray | None = None
    target_audio: Audio | None = None
    boxes: Mapping[str, np.ndarray] = field(default_factory=dict)
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)


def video_fields(frames: np.ndarray, sound: Audio | None = None, shown: int = -1) -> dict[str, Any]:
    """Fields of a `MediaExample` for frames uint8 [n, height, width, 3] and the sound of the whole video.

    Black bars go; frame number `shown` (the last by default; the third helps with questions) is the image input and the
    others the history. Each frame has its own part of the sound.
    """
    frames = trim_black_bars(frames)
    order = [*(i for i in range(len(frames)) if i != shown % len(frames)), shown % len(frames)]
    fields: dict[str, Any] = {"image": frames[order[-1]], "image_history": tuple(frames[i] for i in order[:-1])}
    if sound is not None:
        parts = [Audio(part, sound.rate) for part in sound_segments(sound.samples, sound.rate, len(frames))]
        fields |= {"audio": parts[-1], "audio_history": tuple(parts[:-1])}
    return fields


class Preprocessor:
    """`MediaExample` -> features, keyed and shaped as in `batching.schema` without padding.

    With a generator the training augmentation and the random choice of patches, without one the evaluation geometry.
    "meta/image_info" float32 [11] leads boxes and pictures back to the source (`undo_boxes`, `undo_image`).
    """

    def __init__(self, tokenizer: ExtendedTextTokenizer, sizes: pre.Sizes = pre.FULL) -> None:
        self.tokenizer = tokenizer
        self.sizes = sizes

    def __call__(self, example: MediaExample, rng: np.random.Generator | None = None) -> pre.Features:
        """Raises MioError on media that cannot be read, boxes outside the picture, or more of a medium than fits."""
        out: dict[str, pre.Features] = {}
        placement = None
        if example.image is not None:
            placement = self._place(example, rng)
            out["inputs/image"] = pre.image_features(example.image, placement, self.sizes, rng, example.hidden)
        if len(example.image_history):
            out["inputs/image_history"] = pre.history_features(example.image_history, self.sizes, rng, placement)
        out |= self._sound(example, rng)
        values = {name: self._boxes(example, name, placement, rng) for name in example.boxes}
        ids = encode_prompt(_filled(example.prompt, values), self.tokenizer.encode, self.sizes.text_inputs)
        out["inputs/text"] = input_features(ids, self.sizes.text_inputs)
        if example.target_text is not None:
            texts = [example.target_text] if isinstance(example.target_text, str) else example.target_text
            encoded = [self.tokenizer.encode(_filled(text, values)) for text in texts]
            out["targets/text"] = target_features(encoded, self.sizes.text_targets)
        if example.target_image is not None:
            out["targets/image"] = self._target_image(example, placement, rng)
        if example.target_audio is not None:
            segments = pre.sound_segments(example.target_audio, self.sizes)
            if len(segments) > 1:
                raise MioError(
                    f"a target sound of {len(segments)} segments; the model makes {self.sizes.segment_seconds} s at a "
                    "time: cut it, and give what comes before as audio_history"
                )
            out["targets/audio"] = pre.target_audio(segments[0], self.sizes)
        features = {f"{place}/{name}": array for place, part in out.items() for name, array in part.items()}
        if placement is not None:
            features["meta/image_info"] = placement.info
        return features

    def _place(self, example: MediaExample, rng: np.random.Generator | None) -> Placement:
        """A crop that would lose a box that the text names is given up for the whole picture."""
        image = np.asarray(example.image)
        if image.ndim != 3:
            raise MioError(f"a picture must be [height, width, 3], not {list(image.shape)}")
        placement = pre.place(image, self.sizes.image, rng)
        single = [box for name, box in example.boxes.items() if name not in example.labels]
        if all(placement.boxes(box)[1].all() for box in single):
            return placement
        return fit(image.shape[0], image.shape[1], self.sizes.image)

    def _boxes(
        self, example: MediaExample, name: str, placement: Placement | None, rng: np.random.Generator | None
    ) -> str:
        if placement is None:
            raise MioError(f"the example has boxes {name!r} but no image that they are in")
        moved, kept = placement.boxes(example.boxes[name])
        shares = moved / np.float32(self.sizes.image)
        if name in example.labels:
            labels = list(example.labels[name])
            if len(labels) != len(kept):
                raise MioError(f"{len(kept)} boxes {name!r} with {len(labels)} labels; each box needs one")
            return write_labelled_boxes(shares, [x for x, k in zip(labels, kept, strict=True) if k], rng)
        if len(shares) != 1:
            raise MioError(f"the box {name!r} covers nothing, or is several without labels; give one (y1, x1, y2, x2)")
        return write_box(shares[0])

    def _sound(self, example: MediaExample, rng: np.random.Generator | None) -> dict[str, pre.Features]:
        if example.audio is None:
            if len(example.audio_history):
                raise MioError("the example has audio_history without audio; the last segment is the audio")
            return {}
        if len(example.audio_history):
            segments = [pre.centred_sound(part, self.sizes) for part in (*example.audio_history, example.audio)]
        else:
            segments = list(pre.sound_segments(example.audio, self.sizes))
        out = {"inputs/audio": pre.audio_features(segments[-1], self.sizes, rng)}
        if segments[:-1]:
            out["inputs/audio_history"] = pre.audio_history_features(segments[:-1], self.sizes, rng)
        return out

    def _target_image(
        self, example: MediaExample, placement: Placement | None, rng: np.random.Generator | None
    ) -> pre.Features:
        assert example.target_image is not None
        if not example.aligned:
            return pre.target_image(example.target_image, self.sizes, rng, example.learned)
        if placement is None:
            raise MioError("an aligned target_image needs the image that it answers")
        return pre.aligned_target_image(example.target_image, placement, self.sizes, example.learned)


def _filled(text: str, values: Mapping[str, str]) -> str:
    """Box names replaced; braces that name no box stay as a user wrote them."""
    for name in placeholders(text) if values else ():
        if name in values:
            text = text.replace("{" + name + "}", values[name])
    return text
