"""MIO's vocabulary as a table: Yi's text pieces, six added tokens, then the image and the speech codes.

The published checkpoints have 76,294 ids, but the order of the two code blocks behind the added tokens is not
documented, so it is an argument here, and `space_from_added_tokens` reads it from a checkpoint's own table.
"""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any

import numpy as np

from mio_jax.data.token_space import Block, Span, TokenSpace
from mio_jax.errors import MioError

UNK, BOS, EOS = "<unk>", "<|startoftext|>", "<|endoftext|>"
TURN_OPEN, TURN_CLOSE = "<|im_start|>", "<|im_end|>"
IMAGE_OPEN, IMAGE_CLOSE = "<image>", "</image>"
SPEECH_OPEN, SPEECH_CLOSE = "<spch>", "</spch>"

YI_SPECIALS = ((UNK, 0), (BOS, 1), (EOS, 2), (TURN_OPEN, 6), (TURN_CLOSE, 7))  # ids inside the SentencePiece vocabulary
ADDED_TOKENS = ("[SPCH]", SPEECH_CLOSE, "[IMG]", SPEECH_OPEN, IMAGE_CLOSE, IMAGE_OPEN)  # in the checkpoints' order

IMAGE_FORMAT, SPEECH_FORMAT, LOCATION_FORMAT = "<img{}>", "<spch{}>", "<loc{}>"
SENTINEL_FORMAT = "<extra_id_{}>"

ADDED_TOKENS_FILE = "added_tokens.json"  # string -> id, beside a Hugging Face checkpoint

PUBLISHED_TEXT_VOCAB = 64000  # Yi's tokenizer
PUBLISHED_IMAGE_CODES, PUBLISHED_IMAGE_LENGTH = 8192, 32  # SEED-Tokenizer 2
PUBLISHED_SPEECH_CODES, PUBLISHED_SPEECH_LAYERS = 4096, 4  # SpeechTokenizer, the first 4 of 8 layers of 1024


def mio_token_space(
    text_vocab: int,
    image_codes: int = PUBLISHED_IMAGE_CODES,
    image_length: int = PUBLISHED_IMAGE_LENGTH,
    speech_codes: int = PUBLISHED_SPEECH_CODES,
    speech_layers: int = PUBLISHED_SPEECH_LAYERS,
    order: tuple[str, ...] = ("image", "speech"),
    locations: int = 0,
    sentinels: int = 0,
    specials: tuple[tuple[str, int], ...] = YI_SPECIALS,
    name: str = "mio",
) -> TokenSpace:
    """The table of a MIO vocabulary.

    Args:
      text_vocab: pieces of the text tokenizer; `specials` are ids inside it.
      image_codes, image_length: codebook size, and codes that every picture has.
      speech_codes: ids of all layers together; `speech_layers` equal layers follow one another.
      order: of the two code blocks behind the added tokens.
      locations: extra ids for boxes and points at the very end (0: none; the published models have none).
      sentinels: ids behind these that stand for hidden spans (0: none; for training with a mixture of denoisers).
    Raises:
      MioError: an order that is not a permutation of image and speech, or sizes that make no table.
    """
    if sorted(order) != ["image", "speech"]:
        raise MioError(f"token space {name!r}: order is {order}; it must name 'image' and 'speech' once each")
    if min(text_vocab, image_codes, image_length, speech_codes, speech_layers) <= 0 or min(locations, sentinels) < 0:
        raise MioError(f"token space {name!r}: all sizes must be positive")
    at = text_vocab
    added = tuple((token, at + i) for i, token in enumerate(ADDED_TOKENS))
    blocks = [Block("text", "text", 0, text_vocab), Block("added", "text", at, len(ADDED_TOKENS))]
    at += len(ADDED_TOKENS)
    for kind in order:
        if kind == "image":
            blocks.append(Block("image", "image", at, image_codes, 1, IMAGE_FORMAT))
        else:
            blocks.append(Block("speech", "audio", at, speech_codes, speech_layers, SPEECH_FORMAT))
        at = blocks[-1].stop
    if locations:
        blocks.append(Block("location", "text", at, locations, 1, LOCATION_FORMAT))
        at = blocks[-1].stop
    if sentinels:
        blocks.append(Block("sentinel", "text", at, sentinels, 1, SENTINEL_FORMAT))
    ids = dict(specials + added)
    for token in (BOS, EOS):
        if token not in ids:
            raise MioError(f"token space {name!r}: the text vocabulary lacks {token!r}")
    return TokenSpace(
        name=name,
        blocks=tuple(blocks),
        specials=specials + added,
        spans=(
            Span("image", "image", ids[IMAGE_OPEN], ids[IMAGE_CLOSE], image_length),
            Span("audio", "speech", ids[SPEECH_OPEN], ids[SPEECH_CLOSE]),
        ),
        bos=ids[BOS],
        eos=ids[EOS],
        pad=ids.get(UNK, 0),
    )


def published_token_space(order: tuple[str, ...]) -> TokenSpace:
    """The 76,294 ids of MIO-7B. `order` has no default: ask the checkpoint (`space_from_checkpoint`)."""
    return mio_token_space(PUBLISHED_TEXT_VOCAB, order=order)


def published_space() -> TokenSpace:
    """That of the published checkpoints, 76,294 rows."""
    return published_token_space(("image", "speech"))


def token_space(tokenizers: Any) -> TokenSpace:
    """The table that fits the tokenizers at hand (`mio_tokenizers.TokenizerSet`).

    The order of the two code blocks is that of the checkpoint's list that `tokenizers.added_tokens` names, and image
    first where it names none.

    Raises MioError where the text tokenizer's special pieces do not lie at Yi's ids, or where that list is of another
    vocabulary than these tokenizers make.
    """
    text, image, audio = tokenizers.text, tokenizers.image, tokenizers.audio
    where = getattr(tokenizers, "added_tokens", "")
    listed = space_from_checkpoint(where, image_length=image.tokens, speech_layers=audio.n_q) if where else None
    made = mio_token_space(
        text.vocab_size,
        image_codes=image.vocab_size,
        image_length=image.tokens,
        # Layers of a block are equally large; of a codec whose layers are not, the smaller ones leave ids unused.
        speech_codes=max(audio.layer_sizes) * audio.n_q,
        speech_layers=audio.n_q,
        order=tuple(block.name for block in listed.blocks if block.token_format) if listed else ("image", "speech"),
        sentinels=tokenizers.sentinels,
    )
    for block in listed.blocks if listed else ():
        if made.block(block.name) != block:
            raise MioError(
                f"tokenizers.added_tokens: {where} has {block.size} {block.name} ids from {block.start}, these "
                f"tokenizers make {made.block(block.name).size} from {made.block(block.name).start}"
            )
    return made


def read_added_tokens(folder: str | pathlib.Path) -> dict[str, int]:
    """The added-token table, string -> id, that stands beside a Hugging Face checkpoint (a folder, or the file itself).

    Looks in added_tokens.json, tokenizer.json and tokenizer_config.json. Raises MioError if none holds one.
    """
    table = _find_table(pathlib.Path(folder))
    if not table:
        raise MioError(
            f"{folder} has no added-token table (added_tokens.json, tokenizer.json or tokenizer_config.json); the order"
            " of MIO's image and speech blocks must be read from it and is never guessed"
        )
    return table


def _find_table(folder: pathlib.Path) -> dict[str, int]:
    """The table, empty where there is none. Raises MioError on files that are damaged or do not agree."""
    names: tuple[str, ...] = (ADDED_TOKENS_FILE, "tokenizer.json", "tokenizer_config.json")
    if folder.is_file():
        folder, names = folder.parent, (folder.name,)
    table: dict[str, int] = {}
    for name in names:
        path = folder / name
        if not path.is_file():
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if name == "tokenizer.json":
                found = {entry["content"]: int(entry["id"]) for entry in content.get("added_tokens", [])}
            elif name == "tokenizer_config.json":
                decoder = content.get("added_tokens_decoder", {})
                found = {entry["content"]: int(i) for i, entry in decoder.items()}
            else:
                found = {str(token): int(i) for token, i in content.items()}
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise MioError(f"{path} is not a table of added tokens: {error!r}") from error
        for token, i in found.items():
            if table.setdefault(token, i) != i:
                raise MioError(f"{path} gives {token!r} the id {i}, another file of the checkpoint {table[token]}")
    return table


def space_from_added_tokens(
    table: dict[str, int],
    *,
    image_length: int = PUBLISHED_IMAGE_LENGTH,
    speech_layers: int = PUBLISHED_SPEECH_LAYERS,
) -> TokenSpace:
    """The token space that an added-token table (string -> id) describes.

    Raises MioError where the table is not MIO's: a tag is missing or elsewhere, a block has holes, codes are absent.
    """
    starts = {}
    for kind, string in (("image", IMAGE_FORMAT), ("speech", SPEECH_FORMAT)):
        pattern = re.compile(re.escape(string).replace(r"\{\}", r"(\d+)"))
        codes = {int(m.group(1)): i for token, i in table.items() if (m := pattern.fullmatch(token))}
        if not codes:
            raise MioError(f"the added-token table has no {string.format('N')} tokens: no MIO checkpoint has that one")
        start = codes.get(0, -1)
        wrong = next((k for k in range(len(codes)) if codes.get(k) != start + k), None)
        if wrong is not None:
            raise MioError(
                f"the added-token table's {string.format('N')} tokens are no contiguous block: code {wrong} is at id"
                f" {codes.get(wrong)}, expected {start + wrong}"
            )
        starts[kind] = (start, len(codes))
    missing = [token for token in ADDED_TOKENS if token not in table]
    if missing:
        raise MioError(f"the added-token table lacks {missing}")
    text_vocab = table[ADDED_TOKENS[0]]
    order = tuple(sorted(starts, key=lambda kind: starts[kind][0]))
    space = mio_token_space(
        text_vocab, starts["image"][1], image_length, starts["speech"][1], speech_layers, order=order
    )
    for token, i in space.specials:
        if token in table and table[token] != i:
            raise MioError(f"the added-token table has {token!r} at id {table[token]}; MIO's layout expects {i}")
    for kind, (start, _) in starts.items():
        if space.block(kind).start != start:
            raise MioError(
                f"the added-token table starts the {kind} codes at id {start}; MIO's layout expects"
                f" {space.block(kind).start}"
            )
    return space


def space_from_checkpoint(folder: str | pathlib.Path, **lengths: int) -> TokenSpace:
    """`read_added_tokens` and `space_from_added_tokens` in one."""
    return space_from_added_tokens(read_added_tokens(folder), **lengths)


def check_weights(path: str | pathlib.Path, space: TokenSpace, tokenizers: Any) -> None:
    """Refuses weights whose rows mean other tokens than the run's vocabulary.

    Raises MioError where the added-token table beside them has another layout, or where there is none for a vocabulary
    of the published size and `tokenizers.added_tokens` names none either: the order of the blocks is never guessed.
    """
    folder = pathlib.Path(path)
    folder = folder if folder.is_dir() else folder.parent
    table = _find_table(folder)
    published = space.vocab_size == published_space().vocab_size
    if not table and published and not getattr(tokenizers, "added_tokens", ""):
        raise MioError(
            f"{folder} has no added-token table, so whether its image or its speech codes come first is not known; "
            "put the checkpoint's added_tokens.json there, or name one: --config.tokenizers.added_tokens=FILE"
        )
    if IMAGE_FORMAT.format(0) not in table:  # a text model's own specials
        return
    lengths = {"image_length": space.span("image").length, "speech_layers": space.block("speech").layers}
    for block in space_from_added_tokens(table, **lengths).blocks:
        if (block.start, block.size) != ((own := space.block(block.name)).start, own.size):
            raise MioError(
                f"the weights in {folder} have their {block.name} ids from {block.start} to {block.stop - 1}, this "
                f"run from {own.start} to {own.stop - 1}; take theirs: --config.tokenizers.added_tokens={folder}"
            )


def unflatten(codes: np.ndarray, layers: int, codes_per_layer: int) -> tuple[np.ndarray, str]:
    """Layer-major code numbers [layers * frames] -> int32 [layers, frames], and what is wrong ("" if nothing).

    Well formed: `layers` runs in order, all of one length, each within its own layer's numbers.
    """
    codes = np.asarray(codes, np.int64)
    empty = np.zeros((layers, 0), np.int32)
    if codes.size == 0:
        return empty, "no codes"
    if codes.min() < 0 or codes.max() >= layers * codes_per_layer:
        return empty, f"a code outside 0..{layers * codes_per_layer - 1}"
    layer = codes // codes_per_layer
    if np.any(np.diff(layer) < 0):
        return empty, "layers out of order"
    counts = np.bincount(layer, minlength=layers)
    if len(set(counts.tolist())) != 1:
        return empty, f"layers of unequal length {counts.tolist()}"
    return (codes.reshape(layers, -1) - codes_per_layer * np.arange(layers)[:, None]).astype(np.int32), ""
