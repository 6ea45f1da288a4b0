"""A SentencePiece model behind the tokenizer protocol."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mio_jax.errors import MioError

KIND = "text"
UNK, BOS, EOS = "<unk>", "<|startoftext|>", "<|endoftext|>"
TURN_OPEN, TURN_CLOSE = "<|im_start|>", "<|im_end|>"
# Strings at ids 0, 1, 2, ... of the models trained here. Those that Yi's vocabulary has are at Yi's ids.
SPECIALS = (UNK, BOS, EOS, "<|reserved_3|>", "<|reserved_4|>", "<|reserved_5|>", TURN_OPEN, TURN_CLOSE)
SPACE_MARK = "\u2581"  # SentencePiece writes a space so, and reads it back as a space


class TextTokenizer:
    """str <-> int32 ids [length].

    Special strings ("<|im_end|>") in a text are ordinary characters unless `specials=True` asks otherwise, so that
    nobody can end a turn by typing.
    """

    modality = "text"

    def __init__(self, model: bytes) -> None:
        """`model`: a serialised SentencePiece model. Raises MioError if it is none."""
        import sentencepiece

        self._model = sentencepiece.SentencePieceProcessor()
        try:
            self._model.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise MioError(f"this is no SentencePiece model ({error}); train or fetch it again") from error
        self._bytes = model
        self.vocab_size = int(self._model.GetPieceSize())
        self.specials = {
            self._model.IdToPiece(i): i
            for i in range(self.vocab_size)
            if self._model.IsControl(i) or self._model.IsUnknown(i)
        }
        self._pattern = re.compile("|".join(re.escape(s) for s in sorted(self.specials, key=len, reverse=True)))
        by_byte = {f"<0x{value:02X}>": value for value in SPACE_MARK.encode()}
        ids = {byte: self._model.PieceToId(piece) for piece, byte in by_byte.items()}
        self._space_mark = (
            [ids[byte] for byte in SPACE_MARK.encode()] if all(self._model.IsByte(i) for i in ids.values()) else None
        )

    @classmethod
    def load(cls, path: str | Path) -> TextTokenizer:
        try:
            model = Path(path).read_bytes()
        except OSError as error:
            raise MioError(f"cannot read {path}: {error.strerror}") from error
        try:
            return cls(model)
        except MioError as error:
            raise MioError(f"{path}: {error}") from error

    @property
    def fingerprint(self) -> str:
        return f"{KIND}:{hashlib.sha256(self._bytes).hexdigest()[:16]}"

    def special(self, token: str) -> int:
        """Id of a special string. Raises MioError if the model has none of that name."""
        if token not in self.specials:
            raise MioError(f"the text tokenizer has no special {token!r}; it has {', '.join(self.specials)}")
        return self.specials[token]

    def piece(self, index: int) -> str:
        """The piece of an id, as SentencePiece writes it. Raises MioError on an id outside the vocabulary."""
        self._check(np.asarray([index]))
        return str(self._model.IdToPiece(int(index)))

    def encode(self, media: str, *, specials: bool = False) -> np.ndarray:
        """Ids of a text. Nothing is normalised, added or dropped: `decode` gives the same text again.

        Raises MioError on what is no str or cannot be UTF-8 (a lone surrogate).
        """
        if not isinstance(media, str):
            raise MioError(f"a text must be str, not {type(media).__name__}")
        ids: list[int] = []
        at = 0
        for match in self._pattern.finditer(media) if specials else ():
            ids += self._plain(media[at : match.start()])
            ids.append(self.specials[match.group()])
            at = match.end()
        return np.asarray(ids + self._plain(media[at:]), np.int32)

    def _plain(self, text: str) -> list[int]:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise MioError(f"a text cannot be written as UTF-8 at character {error.start}: {error.reason}") from error
        # SentencePiece would give a literal U+2581 back as a space; as bytes it survives.
        if self._space_mark is None or SPACE_MARK not in text:
            return [int(i) for i in self._model.EncodeAsIds(text)]
        ids: list[int] = []
        for number, part in enumerate(text.split(SPACE_MARK)):
            ids += self._space_mark if number else []
            ids += [int(i) for i in self._model.EncodeAsIds(part)]
        return ids

    def decode(self, tokens: np.ndarray | Sequence[int], *, specials: bool = False) -> str:
        """The text of ids [length]; special ids leave nothing, or their strings with `specials=True`.

        Bytes that make no UTF-8 (a model may generate such) become U+FFFD. Raises MioError on an id outside.
        """
        ids = np.asarray(tokens)
        if ids.ndim != 1 or (ids.size and not np.issubdtype(ids.dtype, np.integer)):
            raise MioError(f"text ids must be whole numbers in one row, not {ids.dtype} {ids.shape}")
        self._check(ids)
        special = {i: string for string, i in self.specials.items()}
        parts: list[str] = []
        run: list[int] = []
        for i in (int(i) for i in ids):
            if i not in special:
                run.append(i)
                continue
            parts += [self._model.DecodeIds(run) if run else "", special[i] if specials else ""]
            run = []
        return "".join([*parts, self._model.DecodeIds(run) if run else ""])

    def _check(self, ids: np.ndarray) -> None:
        if ids.size and (ids.min() < 0 or ids.max() >= self.vocab_size):
            bad = ids[(ids < 0) | (ids >= self.vocab_size)][0]
            raise MioError(f"text id {bad} is outside 0..{self.vocab_size - 1}")

    def describe(self) -> dict[str, Any]:
        """Counts of the vocabulary: special, byte and ordinary pieces."""
        kinds = [
            "special" if i in self.specials.values() else "byte" if self._model.IsByte(i) else "ordinary"
            for i in range(self.vocab_size)
        ]
        return {kind: kinds.count(kind) for kind in ("special", "byte", "ordinary")}
