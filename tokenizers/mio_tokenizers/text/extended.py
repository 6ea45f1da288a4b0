"""Unified-IO 2's text vocabulary: LLaMA's pieces, location tokens, span sentinels, media marks and task prefixes.

LLaMA's licence forbids to ship its SentencePiece file, so a user supplies it (`load("unified_io2:tokenizer.model")`).
Any other SentencePiece model with byte fallback serves as well, such as one trained with
`configs/tokenizers/unified_io2_text.py`; its ids are then its own, and published weights do not fit them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mio_jax.errors import MioError
from mio_tokenizers.text.surgery import special_first

KIND = "unified_io2_text"
PAD, BOS, EOS, UNK = 0, 0, 1, 2  # BOS is the padding and the decoder's first input
LOCATIONS = 1000  # <extra_id_200> .. <extra_id_1199>
SENTINELS = 200  # <extra_id_0> .. <extra_id_199>
HISTORY = 8  # places of the image and of the audio history
PREFIXES = ("[Text] [S]", "[Text] [R]", "[Text] [X]", "[Image] [S]", "[Image] [R]", "[Audio] [S]", "[Audio] [R]")
TABLE_MULTIPLE = 128  # rows of the embedding table are rounded up to it: 33225 pieces, 33280 rows


def extra_pieces() -> tuple[str, ...]:
    """The added strings in the order of their ids (specification section 11): the extra ids descend."""
    return (
        *(f"<extra_id_{n}>" for n in reversed(range(SENTINELS + LOCATIONS))),
        *(f"<{kind}_history_{k}>" for k in range(1, HISTORY + 1) for kind in ("image", "audio")),
        *("<image_input>", "<audio_input>"),
        *PREFIXES,
    )


class ExtendedTextTokenizer:
    """str <-> int32 ids [length], with neither BOS nor EOS added.

    An added piece counts only at the start of a text or after a space: "cat<extra_id_3>" is spelt out. `specials` maps
    the added strings to their ids. `decode` ends before the first EOS and reads ids beyond the pieces (the rows that
    only pad the table) as unknown.
    """

    modality = "text"
    pad_id, bos_id, eos_id, unk_id = PAD, BOS, EOS, UNK

    def __init__(self, model: bytes) -> None:
        """`model`: the SentencePiece model as published, before any edit. Raises MioError if it is none that can be."""
        import sentencepiece

        extra = extra_pieces()
        self._bytes = special_first(model, extra)
        self._model = sentencepiece.SentencePieceProcessor()
        try:
            self._model.LoadFromSerializedProto(self._bytes)
        except RuntimeError as error:
            raise MioError(f"this is no SentencePiece model ({error}); fetch it again") from error
        self.vocab_size = int(self._model.GetPieceSize())
        self.base_size = self.vocab_size - len(extra)
        self.specials = {text: self.base_size + i for i, text in enumerate(extra)}

    @classmethod
    def load(cls, path: str | Path) -> ExtendedTextTokenizer:
        """Reads a SentencePiece file. Raises MioError naming the file."""
        try:
            model = Path(path).read_bytes()
        except FileNotFoundError:
            raise MioError(
                f"there is no SentencePiece file {path}: give LLaMA's tokenizer.model (its licence forbids to ship "
                "it), or train one of your own: mio tokenizer train --config configs/tokenizers/unified_io2_text.py"
            ) from None
        except OSError as error:
            raise MioError(f"cannot read {path}: {error.strerror}") from error
        try:
            return cls(model)
        except MioError as error:
            raise MioError(f"{path}: {error}") from error

    @property
    def fingerprint(self) -> str:
        return f"{KIND}:{hashlib.sha256(self._bytes).hexdigest()[:16]}"

    @property
    def table_size(self) -> int:
        """Rows of an embedding table for this vocabulary: `vocab_size` rounded up to a multiple of 128."""
        return -(-self.vocab_size // TABLE_MULTIPLE) * TABLE_MULTIPLE

    @property
    def first_location(self) -> int:
        """Id of <extra_id_1199>, which stands for 1.0; level q of 0..999 has the id `first_location + 999 - q`."""
        return self.base_size

    @property
    def first_sentinel(self) -> int:
        """Id of <extra_id_199>; sentinel n has the id `first_sentinel + 199 - n`."""
        return self.base_size + LOCATIONS

    def special(self, token: str) -> int:
        """Id of an added string. Raises MioError if there is none of that name."""
        if token not in self.specials:
            raise MioError(f"the text tokenizer has no added piece {token!r}; it has <extra_id_0>, [Text] [S], ...")
        return self.specials[token]

    def sentinel(self, number: int) -> int:
        """Id of the span sentinel <extra_id_NUMBER>. Raises MioError outside 0..199."""
        if not 0 <= number < SENTINELS:
            raise MioError(f"there is no span sentinel {number}; they are 0..{SENTINELS - 1}")
        return self.first_sentinel + SENTINELS - 1 - number

    def piece(self, index: int) -> str:
        """The piece of an id, as SentencePiece writes it. Raises MioError on an id outside the vocabulary."""
        if not 0 <= index < self.vocab_size:
            raise MioError(f"text id {index} is outside 0..{self.vocab_size - 1}")
        return str(self._model.IdToPiece(int(index)))

    def check_table(self, rows: int, where: str) -> None:
        """Raises MioError if a text embedding table of `rows` rows, found at `where`, is not this vocabulary's."""
        if rows != self.table_size:
            raise MioError(
                f"{where} has {rows} text embeddings, but this tokenizer needs {self.table_size} "
                f"({self.base_size} pieces of its SentencePiece model); give the model that the weights were made with"
            )

    def encode(self, media: str) -> np.ndarray:
        """Ids of a text. Raises MioError on what is no str or cannot be UTF-8 (a lone surrogate)."""
        if not isinstance(media, str):
            raise MioError(f"a text must be str, not {type(media).__name__}")
        try:
            media.encode()
        except UnicodeEncodeError as error:
            raise MioError(f"a text cannot be written as UTF-8 at character {error.start}: {error.reason}") from error
        return np.asarray(self._model.EncodeAsIds(media), np.int32)

    def decode(self, tokens: np.ndarray | Sequence[int]) -> str:
        """The text of ids [length] before the first EOS. Bytes that make no UTF-8 become U+FFFD.

        Raises MioError on a negative id or on what is no row of whole numbers.
        """
        ids = np.asarray(tokens)
        if ids.ndim != 1 or (ids.size and not np.issubdtype(ids.dtype, np.integer)):
            raise MioError(f"text ids must be whole numbers in one row, not {ids.dtype} {list(ids.shape)}")
        if ids.size and ids.min() < 0:
            raise MioError(f"text id {ids.min()} is negative")
        ends = np.flatnonzero(ids == EOS)
        ids = ids[: ends[0]] if ends.size else ids
        return str(self._model.DecodeIds([int(i) if i < self.vocab_size else UNK for i in ids]))
