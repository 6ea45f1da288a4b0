"""A small vocabulary, a tiny model over it, and a reader of spans that shares nothing with the grammar."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax
import numpy as np

from mio_jax.generate import Engine
from mio_jax.nn.base import init_params, split_model
from mio_jax.nn.transformer import Decoder, DecoderSpec
from mio_jax.recipes.mio.tokens import mio_token_space

SPACE = mio_token_space(text_vocab=20, image_codes=7, image_length=5, speech_codes=12, speech_layers=3)
STOP = SPACE.special("<|im_end|>")
SPEC = DecoderSpec(SPACE.vocab_size, dim=16, depth=2, heads=4, kv_heads=2, head_dim=4, mlp_dim=24, init_std=0.3)
CONTEXT = 96


@cache
def tiny_model() -> tuple[Any, Any]:
    """(graphdef, params)."""
    return split_model(build)[0], jax.jit(lambda: init_params(build, jax.random.key(0)))()


@cache
def tiny_engine() -> Engine:
    return Engine(*tiny_model(), SPACE, SPEC, CONTEXT)


def build(key: jax.Array) -> Decoder:
    return Decoder(SPEC, key)


def read(tokens: np.ndarray) -> tuple[list[tuple[str, int]], str]:
    """[(modality, codes of a layer)] of a response, text as ("text", tokens), and the first fault or ""."""
    tokens = [int(t) for t in tokens]
    if STOP in tokens:
        if tokens.index(STOP) != len(tokens) - 1:
            return [], "goes on after its end"
        tokens.pop()
    special = {i for _, i in SPACE.specials}
    image, speech = SPACE.block("image"), SPACE.block("speech")
    found: list[tuple[str, int]] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        if token == SPACE.special("<image>"):
            body = tokens[at + 1 : at + 6]
            if len(body) < 5 or not all(image.start <= t < image.stop for t in body):
                return found, "image without its codes"
            if tokens[at + 6 : at + 7] != [SPACE.special("</image>")]:
                return found, "image not closed"
            found.append(("image", 5))
            at += 7
        elif token == SPACE.special("<spch>"):
            end = at + 1
            while end < len(tokens) and speech.start <= tokens[end] < speech.stop:
                end += 1
            layers = [(t - speech.start) // 4 for t in tokens[at + 1 : end]]
            n = len(layers) // 3
            if n == 0 or layers != [0] * n + [1] * n + [2] * n:
                return found, "sound without equal layers"
            if tokens[end : end + 1] != [SPACE.special("</spch>")]:
                return found, "sound not closed"
            found.append(("audio", n))
            at = end + 1
        elif token < 20 and token not in special:
            found.append(("text", 1))
            at += 1
        else:
            return found, f"{token} does not belong in text"
    return found, ""
