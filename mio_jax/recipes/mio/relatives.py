"""Vocabularies and prompts of MIO's relatives, as further tables: AnyGPT and SEED-LLaMA (specification, section 10).

A `Relative` says in which order its tokens were added behind its text vocabulary; `space_of` lays that out, and
`relative_space` reads the ids from a checkpoint's own table instead. Both have MIO's image codes (SEED-Tokenizer 2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mio_jax.data.token_space import Block, Span, TokenSpace
from mio_jax.errors import MioError


class Medium(NamedTuple):
    """How one medium's codes are written: `open`, a token a code, `close`.

    `layers` of equal size are numbered one behind another. `frame_major`: all layers of the first frame come first,
    then those of the second; otherwise all frames of the first layer. `length`: codes of every one, 0: any number.
    """

    name: str
    modality: str
    codes: int
    token_format: str
    open: str
    close: str
    layers: int = 1
    frame_major: bool = False
    length: int = 0

    @property
    def per_layer(self) -> int:
        return self.codes // self.layers


class ChatForm(NamedTuple):
    """A conversation as one string; `{}` is what was said."""

    before: str  # everything
    user: str
    assistant: str
    opening: str  # of the reply that is asked for
    force: str = " {}"  # behind it: the opening tag of the medium that the reply must begin with


@dataclass(frozen=True)
class Relative:
    """A family of models.

    Attributes:
      added: what was added to the text vocabulary, in order: a token as it is, or a medium's name for its codes.
      begin, end, pad: special tokens of the text vocabulary; `text_specials` has their ids.
    """

    name: str
    media: tuple[Medium, ...]
    added: tuple[str, ...]
    chat: ChatForm
    text_vocab: int = 32_000
    text_specials: tuple[tuple[str, int], ...] = (("<unk>", 0), ("<s>", 1), ("</s>", 2))  # of LLaMA's vocabulary
    begin: str = "<s>"
    end: str = "</s>"
    pad: str = "<unk>"

    def medium(self, name: str) -> Medium:
        """Raises MioError naming the media that there are."""
        for one in self.media:
            if one.name == name:
                return one
        raise MioError(f"{self.name} has no medium {name!r}; it has {', '.join(one.name for one in self.media)}")


SEED_CODES, SEED_LENGTH = 8192, 32

ANYGPT_MEDIA = (
    Medium("image", "image", SEED_CODES, "<👀{}>", "<soim>", "<eoim>", length=SEED_LENGTH),
    Medium("speech", "audio", 1024, "<🗣️{}>", "<sosp>", "<eosp>"),  # the content layer alone
    Medium("music", "music", 4 * 2048, "<🎶{}>", "<somu>", "<eomu>", layers=4, frame_major=True),
)


def anygpt(bot: str = "AnyGPT", bot_end: str = "<eom>", media: tuple[Medium, ...] = ANYGPT_MEDIA) -> Relative:
    """AnyGPT as it calls itself `bot`: first the tokens of roles, then each medium's codes and its two tags."""
    system = (
        f"You are an AI assistant named {bot} who can understand and generate multimodal content, including text, "
        "speech, images and audio."
    )
    roles = ("[Human]", f"[{bot}]", "<eoh>", bot_end, "<-Res->", "<-Ins->")
    return Relative(
        name=bot.lower(),
        media=media,
        added=(*roles, *(token for one in media for token in (one.name, one.open, one.close))),
        chat=ChatForm(f"{system}\n", "[Human]: {}<eoh>\n", f"[{bot}]: {{}}{bot_end}\n", f"[{bot}]:"),
    )


def _seed_llama(name: str, user: str, opening: str) -> Relative:
    image = Medium("image", "image", SEED_CODES, "<img_{:05d}>", "<img>", "</img>", length=SEED_LENGTH)
    # How a second turn is written is not published, so an earlier reply has no form.
    chat = ChatForm("<s>", user, "", opening, "{}")
    return Relative(name, (image,), ("image", image.open, image.close), chat)


RELATIVES: dict[str, Relative] = {
    "anygpt": anygpt(),
    "mmgpt": anygpt("MMGPT", "<eos>"),  # what the same family called itself before
    "seed_llama_8b": _seed_llama("seed_llama_8b", "USER: {}\n", "ASSISTANT:"),
    "seed_llama_14b": _seed_llama("seed_llama_14b", "[INST] {} [/INST]\n", ""),
}


# ------------------------------------------------------------------------------------------------------------ prompts


def prompt_of(relative: Relative, turns: Sequence[tuple[str, str]], force: str = "") -> str:
    """A conversation of ("user" or "assistant", what was said) turns, up to where the reply begins.

    `force`: name of the medium that the reply is to begin with. Raises MioError on another role, or on an earlier reply
    of a family whose form of one is not known.
    """
    chat, text = relative.chat, relative.chat.before
    for role, said in turns:
        if role not in ("user", "assistant"):
            raise MioError(f"unknown role {role!r} in a conversation; {relative.name} has: user, assistant")
        form = chat.user if role == "user" else chat.assistant
        if not form:
            raise MioError(f"how {relative.name} writes a conversation of several turns is not published; ask it one")
        text += form.replace("{}", said)
    return text + chat.opening + (chat.force.format(relative.medium(force).open) if force else "")


def media_string(medium: Medium, codes: Any) -> str:
    """Codes int [frames], or [layers, frames], with their tags.

    Raises MioError on another number of layers or a code outside its codebook.
    """
    codes = np.atleast_2d(np.asarray(codes))
    if codes.shape[0] != medium.layers or codes.ndim != 2:
        raise MioError(f"{medium.name} codes have shape {codes.shape}; {medium.layers} layers are needed")
    if codes.size and (codes.min() < 0 or codes.max() >= medium.per_layer):
        raise MioError(f"{medium.name} codes {codes.min()}..{codes.max()} leave the codebook of {medium.per_layer}")
    numbers = codes + medium.per_layer * np.arange(medium.layers)[:, None]
    flat = (numbers.T if medium.frame_major else numbers).reshape(-1)
    return medium.open + "".join(medium.token_format.format(int(n)) for n in flat) + medium.close


def parse_media_string(medium: Medium, string: str) -> np.ndarray:
    """The codes int32 [layers, frames] of what `media_string` writes; MioError where it is not well formed."""
    block = Block(medium.name, medium.modality, 0, medium.codes, medium.layers, medium.token_format)
    if not (string.startswith(medium.open) and string.endswith(medium.close)):
        raise MioError(f"{string[:40]!r} is no {medium.name}: it must stand between {medium.open} and {medium.close}")
    body = string[len(medium.open) : len(string) - len(medium.close)]
    found = re.findall(block.token_pattern, body)
    codes = [block.code_of(token) for token in found]
    if "".join(found) != body or None in codes or not codes or len(codes) % medium.layers:
        raise MioError(
            f"{string[:40]!r} is no whole {medium.name} of {medium.layers} layers of codes below {medium.codes}"
        )
    numbers = np.asarray(codes, np.int64)
    grid = numbers.reshape(-1, medium.layers).T if medium.frame_major else numbers.reshape(medium.layers, -1)
    codes_of = grid - medium.per_layer * np.arange(medium.layers)[:, None]
    if codes_of.min() < 0 or codes_of.max() >= medium.per_layer:
        raise MioError(f"{string[:40]!r}: the layers of this {medium.name} are out of order")
    return codes_of.astype(np.int32)


# ------------------------------------------------------------------------------------------------------------- tables


def space_of(relative: Relative) -> TokenSpace:
    """The table, with the ids that adding the tokens in their order gives."""
    ids: dict[str, int] = {}
    at = relative.text_vocab
    for one in relative.added:
        ids[one] = at
        at += _codes(relative).get(one, 1)
    return _space(relative, ids)


def relative_space(relative: Relative, table: Mapping[str, int]) -> TokenSpace:
    """The table as a checkpoint's own list of added tokens (string -> id) has it, whatever their order there.

    Raises MioError where a token is missing, a medium's codes are no run of ids, or ids are left that nothing names.
    """
    ids: dict[str, int] = {}
    for name in relative.added:
        if name not in _codes(relative):
            if name not in table:
                raise MioError(f"the added-token table lacks {name!r}, which {relative.name} has")
            ids[name] = table[name]
            continue
        medium = relative.medium(name)
        form = medium.token_format
        ids[name] = table.get(form.format(0), -1)
        for number in range(medium.codes):
            found = table.get(form.format(number), -1)
            if found != ids[name] + number or found < 0:
                where = f"at id {found}" if found >= 0 else "missing"
                raise MioError(
                    f"the added-token table's {name} codes are no run of ids: {form.format(number)} is {where}"
                )
    return _space(relative, ids)


def _codes(relative: Relative) -> dict[str, int]:
    return {one.name: one.codes for one in relative.media}


def _space(relative: Relative, ids: Mapping[str, int]) -> TokenSpace:
    media = {one.name: one for one in relative.media}
    blocks = [Block("text", "text", 0, relative.text_vocab)]
    for name, start in ids.items():
        if name in media:
            one = media[name]
            blocks.append(Block(name, one.modality, start, one.codes, one.layers, one.token_format))
        else:
            blocks.append(Block(name, "text", start, 1))
    specials = (*relative.text_specials, *((name, start) for name, start in ids.items() if name not in media))
    known = dict(specials)
    return TokenSpace(
        name=relative.name,
        blocks=tuple(sorted(blocks, key=lambda block: block.start)),
        specials=specials,
        spans=tuple(
            Span(one.modality, one.name, known[one.open], known[one.close], one.length) for one in relative.media
        ),
        bos=known[relative.begin],
        eos=known[relative.end],
        pad=known[relative.pad],
        modalities=("text", *dict.fromkeys(one.modality for one in relative.media)),
    )
