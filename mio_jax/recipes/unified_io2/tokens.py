"""The vocabulary: three tables that a model keeps apart, told apart here by where their ids begin.

A model's text ids are these; its image and audio ids are `RESERVED` more than the number of a code, and each of its
tables begins at 0. What generation hands out are ids of this space.
"""

from __future__ import annotations

from typing import Any

from mio_jax.data.token_space import Block, TokenSpace
from mio_jax.errors import MioError

PUBLISHED = {"text": 33225, "image": 16384, "audio": 8192}


def _space(text: int, image: int, audio: int, layers: int = 1) -> TokenSpace:
    blocks = (
        Block("text", "text", 0, text),
        Block("image", "image", text, image),
        Block("audio", "audio", text + image, audio, layers),
    )
    return TokenSpace("unified_io2", blocks, (), (), bos=0, eos=1, pad=0)


def published_space() -> TokenSpace:
    """That of the published models: LLaMA's pieces and the added ones, VQGAN's codes, ViT-VQGAN's codes."""
    return _space(**PUBLISHED)


def token_space(tokenizers: Any) -> TokenSpace:
    """The space of the tokenizers at hand (`mio_tokenizers.TokenizerSet`).

    Raises MioError if the text tokenizer lacks the added pieces of Unified-IO 2.
    """
    text, audio = tokenizers.text, tokenizers.audio
    if not hasattr(text, "first_sentinel"):
        raise MioError(
            "Unified-IO 2 needs its own text pieces: set tokenizers.text to unified_io2:FILE, where FILE is a "
            "SentencePiece model (LLaMA's for the published weights) or bundled:text_tiny"
        )
    layers = int(getattr(audio, "n_q", 1))
    return _space(text.vocab_size, tokenizers.image.vocab_size, audio.vocab_size * layers, layers)
