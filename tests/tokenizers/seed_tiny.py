"""A SEED tokenizer so small that tests of it take no time."""

from __future__ import annotations

import functools

import jax
import numpy as np

from mio_jax.nn.base import apply, init_params, split_model
from mio_tokenizers.image.model import ImageVQSettings
from mio_tokenizers.image.seed.decoder import PixelDecoder, PixelDecoderSettings, SeedDecoder
from mio_tokenizers.image.seed.model import SeedModel
from mio_tokenizers.image.seed.preprocess import standardise
from mio_tokenizers.image.seed.settings import SeedSettings
from mio_tokenizers.image.seed.tokenizer import SeedTokenizer

SETTINGS = SeedSettings(
    img_size=16,
    patch_size=8,
    vit_dim=8,
    vit_depth=2,
    vit_heads=2,
    mlp_ratio=2.0,
    hidden=8,
    heads=2,
    layers=2,
    inter=8,
    queries=3,
    codebook_dim=4,
    n_embed=10,
    depth=1,
    block_heads=2,
    down=(6, 5, 4),
    feat_dim=12,
)
DECODER = PixelDecoderSettings(
    tokens=3,
    code_dim=4,
    dim=8,
    heads=2,
    mlp_dim=8,
    read_depth=1,
    draw_depth=1,
    picture=ImageVQSettings(image_size=16, patch=4, channels=(8,), encoder_blocks=(0,), decoder_blocks=(0,)),
)


@functools.cache
def tokenizer() -> SeedTokenizer:
    """Random weights, with codes that some pictures have: a random network's vectors are all near one another."""
    build = functools.partial(SeedModel, SETTINGS)
    params = jax.jit(functools.partial(init_params, build))(jax.random.key(0, impl="rbg"))
    graphdef, _ = split_model(build)
    seen = standardise(pictures(SETTINGS.n_embed, 7).astype(np.float32) / 255)
    codes = jax.jit(lambda p, x: apply(graphdef, p).latents(x))(params, seen)[:, 0]
    return SeedTokenizer.from_training(SETTINGS, params, codes)


@functools.cache
def decoder() -> SeedDecoder:
    build = functools.partial(PixelDecoder, DECODER)
    params = jax.jit(functools.partial(init_params, build))(jax.random.key(2, impl="rbg"))
    return SeedDecoder.from_params(DECODER, tokenizer().fingerprint, params)


def pictures(n: int, seed: int = 0, size: int = 16) -> np.ndarray:
    """A disc of some colour at some place on white each, uint8 [n, size, size, 3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    out = np.full((n, size, size, 3), 255, np.uint8)
    for picture in out:
        cy, cx, r = *rng.uniform(3, size - 3, 2), rng.uniform(3, 6)
        picture[(y - cy) ** 2 + (x - cx) ** 2 < r * r] = rng.integers(0, 200, 3)
    return out
