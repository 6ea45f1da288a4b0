"""MIO's prompts as strings: base templates, the chat template, placeholders, media strings, padding, and the way back.

These functions know a token space and a text tokenizer only as arguments, so that they serve the published layout and
the tiny one alike. Templates are those of the MIO paper and its published examples (specification sections 3.3 to 4.4).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from mio_jax.data.token_space import TokenSpace
from mio_jax.errors import MioError
from mio_jax.recipes.mio.tokens import (
    BOS,
    IMAGE_CLOSE,
    IMAGE_OPEN,
    SPEECH_CLOSE,
    SPEECH_OPEN,
    TURN_CLOSE,
    TURN_OPEN,
    UNK,
    unflatten,
)

SYSTEM_STD = (
    "You are MIO, an AI assistant capable of understanding and generating images, text, videos, and speech, "
    "selecting the appropriate modality according to the context."
)
SYSTEM_VOICE = (
    "You are MIO, an AI assistant capable of understanding images, text, videos, and speech, and generating speech. "
    "Please respond to the user with speech only, starting with <spch> and ending with </spch>."
)
SYSTEMS = {"std": SYSTEM_STD, "voice": SYSTEM_VOICE}

SYSTEM_FORMAT = TURN_OPEN + "system\n{system}" + TURN_CLOSE
USER_FORMAT = TURN_OPEN + "user\n{query}" + TURN_CLOSE
ASSISTANT_FORMAT = TURN_OPEN + "assistant\n{response}" + TURN_CLOSE
SEPARATOR = "\n"
USER_STARTER = TURN_OPEN + "user\n"
ASSISTANT_STARTER = TURN_OPEN + "assistant\n"
STOP_WORDS = (TURN_CLOSE,)

IMAGE_PLACEHOLDER, SPEECH_PLACEHOLDER = "<image_placeholder_{}>", "<speech_placeholder_{}>"


def system_turn(system: str) -> str:
    return SYSTEM_FORMAT.format(system=system) + SEPARATOR


# ---------------------------------------------------------------------------------------------------- media strings


def image_string(codes: Sequence[int]) -> str:
    return IMAGE_OPEN + "".join(f"<img{int(code)}>" for code in codes) + IMAGE_CLOSE


def speech_string(
    codes: Any, *, layers: int, codebook_size: int, add_timbre: bool = False, add_begin_end: bool = True
) -> str:
    """Codes [at least `layers`, frames] of a residual codec as MIO's token string.

    `add_timbre` False: the content layer alone, as MIO listens; True: `layers` layers one after another, as it speaks.
    Without the tags, content alone is joined by spaces and everything else is not: the published code does so.
    Raises MioError on too few layers or a code outside its codebook.
    """
    codes = np.asarray(codes)
    if codes.ndim != 2 or codes.shape[0] < (layers if add_timbre else 1):
        raise MioError(f"speech codes have shape {codes.shape}; {layers if add_timbre else 1} layers are needed")
    used = codes[: layers if add_timbre else 1]
    if used.size and (used.min() < 0 or used.max() >= codebook_size):
        raise MioError(f"speech codes {used.min()}..{used.max()} leave the codebook of {codebook_size}")
    numbers = (used + codebook_size * np.arange(used.shape[0])[:, None]).reshape(-1)
    tokens = [f"<spch{int(n)}>" for n in numbers]
    if add_begin_end:
        return SPEECH_OPEN + "".join(tokens) + SPEECH_CLOSE
    return ("" if add_timbre else " ").join(tokens)


_SPEECH_TOKEN = re.compile(r"<spch(\d+)>")


def parse_speech_string(string: str, *, layers: int, codebook_size: int) -> np.ndarray:
    """The codes [layers, frames] of a complete speech string: `layers` runs in order, of equal length, in range.

    Raises MioError saying which of these fails.
    """
    codes, problem = unflatten(np.asarray([int(n) for n in _SPEECH_TOKEN.findall(string)]), layers, codebook_size)
    if problem:
        raise MioError(f"incomplete speech string ({problem}): {string[:60]!r}")
    return codes


# ------------------------------------------------------------------------------------------------------ templates


def base_prompt(text: str, *, add_bos: bool = True) -> str:
    return BOS + text if add_bos and not text.startswith(BOS) else text


def chat_prompt(
    conversation: Sequence[dict[str, str]], *, mode: str = "std", add_generation_prompt: bool = True
) -> str:
    """A conversation (`{"role", "content"}` turns) in the chat template.

    System turns count only in mode "custom", where the first turn must be one. Raises MioError otherwise.
    """
    if isinstance(conversation, dict) or any(not isinstance(turn, dict) for turn in conversation):
        raise MioError("a conversation is a list of turns, each a dict with 'role' and 'content'")
    if mode == "custom":
        if not conversation or conversation[0]["role"] != "system":
            raise MioError("chat mode 'custom': the first turn must have the role 'system'")
        system = conversation[0]["content"]
    elif mode in SYSTEMS:
        system = SYSTEMS[mode]
    else:
        raise MioError(f"unknown chat mode {mode!r}; there are: std, voice, custom")
    text = BOS + system_turn(system)
    for turn in conversation:
        if turn["role"] == "user":
            text += USER_FORMAT.format(query=turn["content"]) + SEPARATOR
        elif turn["role"] == "assistant":
            text += ASSISTANT_FORMAT.format(response=turn["content"]) + SEPARATOR
        elif turn["role"] != "system":
            raise MioError(f"unknown role {turn['role']!r} in a conversation; there are: system, user, assistant")
    return text + ASSISTANT_STARTER if add_generation_prompt else text.removesuffix(SEPARATOR)


def substitute(text: str, images: Sequence[str] = (), speeches: Sequence[str] = ()) -> str:
    """Replaces every occurrence of the j-th placeholder by the j-th media string.

    Raises MioError where a placeholder is left over: the sample has too few media.
    """
    for form, media in ((IMAGE_PLACEHOLDER, images), (SPEECH_PLACEHOLDER, speeches)):
        for j, string in enumerate(media):
            text = text.replace(form.format(j), string)
        left = re.search(re.escape(form).replace(r"\{\}", r"\d+"), text)
        if left:
            raise MioError(f"prompt has {left.group()} but only {len(media)} media of that kind")
    return text


def substitute_batch(
    texts: Sequence[str],
    images: Sequence[Sequence[str]] | None = None,
    speeches: Sequence[Sequence[str]] | None = None,
    *,
    allow_empty: bool = True,
) -> list[str]:
    """`substitute` for every sample of a batch.

    `allow_empty` False refuses a sample with an empty media list among others, as the published code does.
    Raises MioError on lists that do not match the texts.
    """
    for what, lists in (("images", images), ("speeches", speeches)):
        if lists is None:
            continue
        if len(lists) != len(texts):
            raise MioError(f"{len(texts)} prompts but {len(lists)} lists of {what}")
        empty = [i for i, entry in enumerate(lists) if not entry]
        if empty and not allow_empty:
            raise MioError(f"sample {empty[0]} has an empty list of {what}; give None for a batch without {what}")
    none: list[Sequence[str]] = [()] * len(texts)
    return [substitute(*sample) for sample in zip(texts, images or none, speeches or none, strict=True)]


# ------------------------------------------------------------------------------------------------------------ ids


@functools.lru_cache(maxsize=64)
def _added_pattern(space: TokenSpace) -> re.Pattern[str]:
    strings = sorted((re.escape(token) for token, _ in space.specials), key=len, reverse=True)
    coded = [block.token_pattern for block in space.blocks if block.token_format]
    return re.compile("|".join(strings + coded))


def _added_id(token: str, space: TokenSpace) -> int | None:
    ids = dict(space.specials)
    if token in ids:
        return ids[token]
    for block in space.blocks:
        code = block.code_of(token)
        if code is not None:
            return block.start + code
    return None


def tokenize(string: str, space: TokenSpace, encode_text: Callable[[str], Any]) -> list[int]:
    """Ids of a prompt string: special and media tokens are matched before the text tokenizer sees what is between.

    A media token whose number is outside its block is plain text, as for any token that was never added.
    """
    ids: list[int] = []
    text = ""
    at = 0
    for match in _added_pattern(space).finditer(string):
        added = _added_id(match.group(), space)
        text += string[at : match.start()]
        at = match.end()
        if added is None:
            text += match.group()
            continue
        if text:
            ids.extend(int(i) for i in encode_text(text))
            text = ""
        ids.append(added)
    text += string[at:]
    if text:
        ids.extend(int(i) for i in encode_text(text))
    return ids


def render(ids: Sequence[int], space: TokenSpace, decode_text: Callable[[Any], str]) -> str:
    """The string of `ids`, special and media tokens kept: `tokenize` read backwards."""
    strings = {i: token for token, i in space.specials}
    coded = [b for b in space.blocks if b.token_format]
    out: list[str] = []
    run: list[int] = []

    def flush() -> None:
        if run:
            out.append(decode_text(np.asarray(run, np.int32)))
            run.clear()

    for i in (int(i) for i in ids):
        block = next((b for b in coded if b.start <= i < b.stop), None)
        if i in strings or block is not None:
            flush()
            out.append(strings[i] if block is None else block.token_format.format(i - block.start))
        else:
            run.append(i)
    flush()
    return "".join(out)


class PromptBatch(NamedTuple):
    """int32 [batch, length] each; `attention_mask` is 0 at the left padding."""

    input_ids: np.ndarray
    attention_mask: np.ndarray


def pad_left(sequences: Sequence[Sequence[int]], pad: int, max_length: int | None = None) -> PromptBatch:
    """Cuts every sequence to `max_length` on the right, then pads on the left to the longest of the batch."""
    if not sequences:
        raise MioError("an empty batch of prompts")
    cut = [list(ids)[:max_length] for ids in sequences]
    width = max(len(ids) for ids in cut)
    batch = PromptBatch(np.full((len(cut), width), pad, np.int32), np.zeros((len(cut), width), np.int32))
    for row, ids in enumerate(cut):
        if ids:
            batch.input_ids[row, width - len(ids) :] = ids
            batch.attention_mask[row, width - len(ids) :] = 1
    return batch


# ------------------------------------------------------------------------------------------------- de-tokenisation

_IMAGE_SPAN = re.compile(r"<image>\s*((?:<img\d+>\s*)+)</image>")
_SPEECH_SPAN = re.compile(r"<spch>\s*((?:<spch\d+>\s*)+)</spch>")
_IMAGE_TOKEN = re.compile(r"<img(\d+)>")


@dataclass
class Detokenized:
    """One generated string: `text` with placeholders for its media, whose codes stand beside it in order."""

    text: str
    images: list[np.ndarray] = field(default_factory=list)  # int32 [codes found in the span]
    speeches: list[np.ndarray] = field(default_factory=list)  # int32 [layers, frames]
    speech_strings: list[str] = field(default_factory=list)

    def files(self, kind: str, sample: int) -> list[str]:
        """Names under which the published code stores the media of sample number `sample`."""
        count, ending = (len(self.images), "jpg") if kind == "image" else (len(self.speeches), "wav")
        return [f"detokenized_{kind}_{sample}_{index}.{ending}" for index in range(count)]


def assistant_reply(string: str) -> str:
    """What follows the last assistant turn's opening, without turn ends and padding."""
    return string.rsplit(ASSISTANT_STARTER, 1)[-1].replace(TURN_CLOSE, "").replace(UNK, "").strip()


def detokenize(string: str, *, layers: int, codebook_size: int, extract_assistant: bool = False) -> Detokenized:
    """Takes the media out of a generated string. A span that is not closed stays text.

    Raises MioError on a closed speech span that is not complete (see `parse_speech_string`).
    """
    text = assistant_reply(string) if extract_assistant else string
    result = Detokenized("")

    def take_image(match: re.Match[str]) -> str:
        result.images.append(np.asarray([int(n) for n in _IMAGE_TOKEN.findall(match.group(1))], np.int32))
        return IMAGE_PLACEHOLDER.format(len(result.images) - 1)

    def take_speech(match: re.Match[str]) -> str:
        result.speeches.append(parse_speech_string(match.group(1), layers=layers, codebook_size=codebook_size))
        result.speech_strings.append(match.group())
        return SPEECH_PLACEHOLDER.format(len(result.speeches) - 1)

    result.text = _SPEECH_SPAN.sub(take_speech, _IMAGE_SPAN.sub(take_image, text))
    return result
