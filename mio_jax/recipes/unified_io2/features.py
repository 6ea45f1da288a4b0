"""Segments -> a `Sample`, the media and ids of one example; and what was generated back into segments.

What may be seen and what is to be said are told apart by `Segment.supervised`. Inputs are text, "pixels" (uint8
[height, width, 3]) and "sound" (`mio_tokenizers.Audio`), for the encoders look at the media themselves, and what was
seen and heard before, "pixels_history" and "sound_history", lists of such; "hidden", bool [height, width] of the
picture, is what the encoder is not to see. Targets are text and the codes of tokenizers, "image" int32 [codes] and
"audio" int32 [layers, frames].

Examples of pre-training ask for nothing yet: "whole_text" (str), "whole_image" and "whole_audio" (`Whole`: the medium
and its codes) may each be shown or asked for, which stages with objective "denoising" draw (`denoising.Corruption`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mio_jax.data.token_space import TokenSpace
from mio_jax.errors import MioError
from mio_jax.protocols import Generated, Segment
from mio_jax.recipes.unified_io2.patch_choice import PatchChoice
from mio_jax.recipes.unified_io2.prompts import prefixed

WHOLE = ("whole_text", "whole_image", "whole_audio")
# Kinds of what the encoder looks at -> fields of a sample.
LOOKED_AT = {"pixels": "image", "sound": "sound", "pixels_history": "image_history", "sound_history": "sound_history"}
LOOKED_AT["hidden"] = "hidden"


@dataclass(frozen=True, eq=False)
class Sample:
    """One example before its media become patches.

    Attributes:
      text: int32 [n], ids of the prompt.
      image, sound: what the encoder looks at; None: nothing.
      image_history, sound_history: what was before them, oldest first: pictures, and `Audio` of a segment each;
        `sound` is then a segment too, with its middle shown.
      target_text: int32 [n] without an end mark; None: no text is asked for.
      target_image: int32 [codes]; None.
      target_audio: int32 [times * layers] time after time, each layer's codes behind those of the layer before; None.
      hidden: bool [height, width] of `image`, what the encoder is not to see; of a `target_image` that part alone
        is learned.
      whole: which of "text", "image", "audio" may be shown as well as asked for; nothing is asked for yet. Their
        targets, where there are any, are those of the inputs themselves.
      image_choice, sound_choice: which patches the encoder gets; None: all.
      restores: the modality whose own input is shown in part ("image", "audio"), or "".
      seen_weight: of the loss on codes of it that the encoder saw, beside 1 for the others.
      layers: of the codes of sounds.
    """

    text: np.ndarray
    image: np.ndarray | None = None
    sound: Any = None
    image_history: tuple[np.ndarray, ...] = ()
    sound_history: tuple[Any, ...] = ()
    target_text: np.ndarray | None = None
    target_image: np.ndarray | None = None
    target_audio: np.ndarray | None = None
    hidden: np.ndarray | None = None
    whole: tuple[str, ...] = ()
    image_choice: PatchChoice | None = None
    sound_choice: PatchChoice | None = None
    restores: str = ""
    seen_weight: float = 1.0
    layers: int = 1

    def tobytes(self) -> bytes:
        """Equal for equal inputs."""
        parts = [self.text, self.image, None if self.sound is None else self.sound.samples, self.hidden]
        parts += [*self.image_history, *(sound.samples for sound in self.sound_history)]
        return b"|".join(b"" if part is None else np.ascontiguousarray(part).tobytes() for part in parts)

    def tolist(self) -> list[int]:
        return [int(i) for i in self.text]

    def __len__(self) -> int:
        return len(self.text)


def encode(
    segments: list[Segment],
    tokenizers: Any,
    space: TokenSpace,
    *,
    supervise: str = "responses",
    bos: bool = True,
    system: str = "",
) -> Sample:
    """One example; `supervise`, `bos` and `system` are of chats and change nothing here.

    Raises:
      MioError: a kind that the recipe does not know, several media where one has room, codes outside the vocabulary,
        or an example that asks for something and has whole parts too.
    """
    asked = "".join(s.value for s in segments if s.kind in ("text", "whole_text") and not s.supervised)
    parts: dict[str, Any] = {"text": tokenizers.text.encode(asked), "layers": space.block("audio").layers}
    whole = tuple(s.kind.removeprefix("whole_") for s in segments if s.kind in WHOLE)
    if whole:
        parts["whole"] = whole
        if any(s.supervised or (s.kind == "text" and "text" in whole) for s in segments):
            raise MioError(
                "an example with whole parts asks for nothing itself, and has one text: leave supervised segments out"
            )
    for segment in segments:
        if segment.kind in WHOLE:
            _put_whole(parts, segment, space)
        elif segment.kind == "text":
            if segment.supervised:
                _put(parts, "target_text", tokenizers.text.encode(segment.value))
        elif segment.supervised and segment.kind in ("image", "audio"):
            codes = np.asarray(segment.value)
            _put(parts, f"target_{segment.kind}", _flat(codes, space, segment.kind))
        elif not segment.supervised and segment.kind in LOOKED_AT:
            history = segment.kind.endswith("_history")
            _put(parts, LOOKED_AT[segment.kind], tuple(segment.value) if history else segment.value)
        else:
            side = "a target" if segment.supervised else "an input"
            raise MioError(
                f"{segment.kind!r} cannot be {side}: inputs are text, pixels and sound, targets text and codes"
            )
    return Sample(**parts)


def _put_whole(parts: dict[str, Any], segment: Segment, space: TokenSpace) -> None:
    """A part that may be shown as well as said: its field as an input, and its codes where it has any."""
    kind = segment.kind.removeprefix("whole_")
    if kind == "text":
        if parts["whole"].count("text") > 1:
            raise MioError("an example has two whole texts; join them")
        return
    _put(parts, "image" if kind == "image" else "sound", segment.value.seen)
    if segment.value.codes is not None:
        _put(parts, f"target_{kind}", _flat(np.asarray(segment.value.codes), space, kind))


def _put(parts: dict[str, Any], name: str, value: Any) -> None:
    if name in parts:
        raise MioError(f"an example has two of {name.replace('_', ' ')}; this model has room for one")
    parts[name] = value


def _flat(codes: np.ndarray, space: TokenSpace, kind: str) -> np.ndarray:
    """Codes as numbers of the modality's table: those of several layers time by time."""
    block = space.block(kind)
    layered = codes.reshape(block.layers, -1) if codes.ndim == 1 else codes
    if layered.shape[0] != block.layers or (layered < 0).any() or (layered >= block.codes_per_layer).any():
        raise MioError(
            f"{kind} codes {list(codes.shape)} are not {block.layers} layers of 0..{block.codes_per_layer - 1}"
        )
    return (layered + np.arange(block.layers)[:, None] * block.codes_per_layer).T.reshape(-1).astype(np.int32)


def encode_prompt(segments: list[Segment], tokenizers: Any, space: TokenSpace, *, system: str = "") -> Sample:
    """What the model is asked with; raises as `encode` does."""
    return encode([s for s in segments if not s.supervised], tokenizers, space)


def plain_prompt(text: str) -> str:
    """A text that is to be gone on from, as language-model benchmarks are asked (20): the prefix and nothing else."""
    return prefixed(text, "text")


def encode_answer(segments: list[Segment], tokenizers: Any, space: TokenSpace) -> np.ndarray:
    """int32 ids of the token space: a text with its end mark, or the codes of one medium."""
    sample = encode([s._replace(supervised=True) for s in segments if s.kind != "text" or s.value], tokenizers, space)
    if sample.target_image is not None:
        return sample.target_image + np.int32(space.block("image").start)
    if sample.target_audio is not None:
        return sample.target_audio + np.int32(space.block("audio").start)
    ids = sample.target_text if sample.target_text is not None else np.zeros(0, np.int32)
    return np.append(ids, np.int32(space.eos)).astype(np.int32)


def parse(tokens: Any, tokenizers: Any, space: TokenSpace) -> Generated:
    """Ids of one modality, as generation gives them -> text, or the codes of a picture or a sound."""
    ids = np.asarray(tokens, np.int64).reshape(-1)
    if not ids.size:
        return Generated((Segment("text", ""),))
    kinds = {space.modalities[i] for i in np.unique(space.modality_ids(ids))}
    if kinds == {"text"}:
        return Generated((Segment("text", tokenizers.text.decode(ids.astype(np.int32))),))
    if len(kinds) > 1:
        return Generated((), f"ids of {' and '.join(sorted(kinds))} in one answer")
    [kind] = kinds
    block = space.block(kind)
    codes = (ids - block.start).astype(np.int32)
    if codes.size % block.layers:
        return Generated((), f"{codes.size} codes do not make up times of {block.layers} layers")
    layered = (
        codes.reshape(-1, block.layers).T - np.arange(block.layers, dtype=np.int32)[:, None] * block.codes_per_layer
    )
    if (layered < 0).any() or (layered >= block.codes_per_layer).any():
        return Generated((), f"{kind} codes of one layer stand where another's belong")
    return Generated((Segment(kind, layered if block.layers > 1 else layered[0]),))
