"""The bundled SEED tokenizer: it draws pictures it has not seen, and the tiny MIO's configuration names it."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from mio_jax.config_loading import load_config_file
from mio_jax.data.sources import source
from mio_jax.recipes.mio.tasks import MIXTURES
from mio_tokenizers import bundled
from mio_tokenizers.image.seed import SeedDecoder, SeedTokenizer
from mio_tokenizers.loading import load_set
from mio_tokenizers.weights_file import read_data_notice

ROOT = Path(__file__).parents[2]
FILE = ROOT / "tokenizers" / "mio_tokenizers" / "weights" / "seed_tiny.safetensors"


def psnr(made: np.ndarray, target: np.ndarray) -> float:
    error = np.mean((made.astype(np.float32) - target) ** 2, axis=(1, 2, 3))
    return float(np.mean(10 * np.log10(255**2 / error)))


def test_it_draws_pictures_it_has_not_seen() -> None:
    """Nearer to the picture than the mean picture is, and than what another picture's codes give."""
    config = load_config_file(ROOT / "configs" / "mio" / "seed_tiny.py")
    assert {stage.mixture for stage in config.stages} <= set(MIXTURES)
    tokenizer = load_set(config.tokenizers).image
    assert isinstance(tokenizer, SeedTokenizer)
    assert (tokenizer.vocab_size, tokenizer.tokens) == (512, 32)
    assert isinstance(tokenizer.decoder, SeedDecoder)
    assert {"seed_tiny", "image_vq_tiny"} <= set(bundled()), "and no decoder of one"
    assert not any("." in name for name in bundled())
    assert "OpenMoji" in read_data_notice(FILE)["name"]
    held_out = list(itertools.islice(source("openmoji").examples("test"), 0, 480, 15))
    drawings = np.stack([example["image"] for example in held_out])
    codes = tokenizer.encode_batch(drawings)
    made = tokenizer.decode_batch(codes)
    assert (made.dtype, made.shape) == (np.uint8, drawings.shape)
    own = psnr(made, drawings)
    assert own > psnr(np.broadcast_to(drawings.mean(axis=0), drawings.shape), drawings) + 1
    assert own > psnr(np.roll(made, 1, axis=0), drawings) + 1
    assert len(np.unique(codes)) > 80
    assert len(np.unique(codes, axis=0)) > 0.8 * len(codes), "hardly any two pictures have the same codes"
