"""Text as SentencePiece pieces with byte fallback: any string goes in and comes out unchanged."""

from mio_tokenizers.text.extended import ExtendedTextTokenizer, extra_pieces
from mio_tokenizers.text.tokenizer import SPECIALS, TextTokenizer

__all__ = ["SPECIALS", "ExtendedTextTokenizer", "TextTokenizer", "extra_pieces"]
