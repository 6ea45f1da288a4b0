"""Text as SentencePiece pieces with byte fallback: any string goes in and comes out unchanged."""

from mio_tokenizers.text.tokenizer import SPECIALS, TextTokenizer

__all__ = ["SPECIALS", "TextTokenizer"]
