"""Training and evaluation of the text tokenizer (SentencePiece BPE). Seconds on a CPU; deterministic."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mio_jax.config import require, require_choice
from mio_jax.errors import MioError
from mio_tokenizers.text.tokenizer import SPECIALS, TextTokenizer
from mio_tokenizers.training.config import TokenizerTrainConfig
from mio_tokenizers.training.kinds import Media, select

BYTES = 256
LLAMA_SPECIALS = ("<unk>", "<s>", "</s>")
# What stands at the first ids, and whether a text is taken to begin with a space.
LAYOUTS = ("yi", "llama")
SEPARATOR = b"\x1e"  # between the texts of a blob, as `mio_jax.data.media_arrays` packs them


@dataclass(frozen=True)
class TextTrainConfig(TokenizerTrainConfig):
    """`shares` says how much of the training text each entry of `media` makes up (empty: by their lengths).

    `sentences` are texts from the config itself (prompt templates), with their own share. `layout` "yi": special
    strings at Yi's ids, texts as they are; "llama": <unk>, <s>, </s>, then bytes, a space put before a text.
    """

    kind: str = "text"
    vocab_size: int = 2048  # special and byte pieces included
    shares: tuple[float, ...] = ()
    sentences: tuple[str, ...] = ()
    sentences_share: float = 0.0
    corpus_characters: int = 2_000_000
    character_coverage: float = 0.998  # rarer characters are left to the byte pieces
    layout: str = "yi"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("layout", self.layout, LAYOUTS)
        require(
            self.vocab_size > BYTES + len(SPECIALS),
            f"vocab_size is {self.vocab_size}; it must exceed {BYTES + len(SPECIALS)} (bytes and specials)",
        )
        require(
            not self.shares or len(self.shares) == len(self.media),
            f"tokenizer config {self.name!r}: {len(self.shares)} shares for {len(self.media)} media",
        )
        require(
            0 < self.character_coverage <= 1, f"character_coverage is {self.character_coverage}; it must be in (0, 1]"
        )


Config = TextTrainConfig


def texts_of(blob: np.ndarray, name: str) -> list[str]:
    """The distinct texts of a blob in order. Raises MioError if it is none or holds none."""
    if blob.dtype != np.uint8 or blob.ndim != 1:
        raise MioError(f"media {name} are {blob.dtype} {blob.shape}; texts are one uint8 row of UTF-8")
    texts = [part.decode() for part in dict.fromkeys(blob.tobytes().split(SEPARATOR)) if part]
    if not texts:
        raise MioError(f"media {name} hold no text")
    return texts


def portion(texts: list[str], characters: int) -> Iterator[str]:
    """About so many characters of `texts`: all of them as often as they fit, then every n-th."""
    total = sum(map(len, texts))
    for _ in range(characters // total):
        yield from texts
    left = (characters % total) / total
    for i, text in enumerate(texts):
        if int((i + 1) * left) > int(i * left):  # spread evenly, the same on every machine
            yield text


def corpus(config: TextTrainConfig, media: Media) -> Iterator[str]:
    texts = [texts_of(blob, name) for name, blob in zip(config.media, select(media, config, "train"), strict=True)]
    shares = list(config.shares or [sum(map(len, t)) for t in texts])
    if config.sentences:
        texts.append(list(config.sentences))
        shares.append(config.sentences_share)
    for part, share in zip(texts, shares, strict=True):
        yield from portion(part, int(config.corpus_characters * share / sum(shares)))


def train(config: TextTrainConfig, media: Media) -> TextTokenizer:
    """Trains and writes `config.out`, atomically."""
    import sentencepiece

    model = io.BytesIO()
    yi = config.layout == "yi"
    specials = SPECIALS if yi else LLAMA_SPECIALS
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=corpus(config, media),
            model_writer=model,
            model_type="bpe",
            vocab_size=config.vocab_size,
            character_coverage=config.character_coverage,
            byte_fallback=True,
            split_digits=True,
            normalization_rule_name="identity",
            add_dummy_prefix=not yi,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            unk_piece=specials[0],
            bos_piece=specials[1],
            eos_piece=specials[2],
            control_symbols=list(specials[3:]),
            max_sentence_length=1 << 20,
            shuffle_input_sentence=False,
            num_threads=1,  # one order of additions: the same model everywhere
            minloglevel=2,
        )
    except RuntimeError as error:
        raise MioError(f"SentencePiece could not train {config.name!r}: {error}") from error
    tokenizer = TextTokenizer(model.getvalue())
    wrong = [s for i, s in enumerate(specials) if tokenizer.specials.get(s) != i]
    if wrong:
        raise MioError(
            f"the trained model has {wrong[0]!r} at id {tokenizer.specials.get(wrong[0])}; expected its place"
        )
    out = Path(config.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".tmp")
    partial.write_bytes(model.getvalue())
    os.replace(partial, out)
    return TextTokenizer.load(out)


def evaluate(config: TextTrainConfig, tokenizer: TextTokenizer, media: Media) -> dict[str, Any]:
    """Held-out texts: characters a token, share of byte tokens, share of texts that come back unchanged (must be 1)."""
    figures = {}
    bytes_from = tokenizer.encode("\x00")[-1]  # byte pieces are one run of 256 ids
    for name, blob in zip(config.media, select(media, config, "test"), strict=True):
        texts = texts_of(blob, name)
        ids = [tokenizer.encode(text) for text in texts]
        joined = np.concatenate(ids)
        figures[name] = {
            "texts": len(texts),
            "characters_per_token": round(sum(map(len, texts)) / len(joined), 3),
            "tokens_per_text": round(len(joined) / len(texts), 2),
            "byte_tokens": round(float(np.mean((joined >= bytes_from) & (joined < bytes_from + BYTES))), 4),
            "round_trip": sum(tokenizer.decode(i) == t for i, t in zip(ids, texts, strict=True)) / len(texts),
        }
    return {"fingerprint": tokenizer.fingerprint, "vocabulary": tokenizer.describe(), "held_out": figures}
