"""Training of the small decoder that draws SEED's codes as pixels, for a tokenizer that stays as it is."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.config import require
from mio_jax.errors import MioError
from mio_tokenizers.image.io import to_square
from mio_tokenizers.image.seed.decoder import PixelDecoder, PixelDecoderSettings, SeedDecoder
from mio_tokenizers.image.seed.tokenizer import SeedTokenizer
from mio_tokenizers.training.config import TokenizerTrainConfig
from mio_tokenizers.training.image_augment import AugmentConfig, augment
from mio_tokenizers.training.image_losses import psnr, reconstruction_losses
from mio_tokenizers.training.kinds import Media, select
from mio_tokenizers.training.loop import LossFn, StepAux
from mio_tokenizers.training.run import data_notice, fit_config
from mio_tokenizers.training.seed_parts import Parts, check_weights, rows
from mio_tokenizers.vq_tokenizer import BLOCK
from mio_tokenizers.weights_file import nested_arrays


@dataclass(frozen=True)
class DrawingLossConfig:
    """Weights of the losses (see `image_losses.reconstruction_losses`)."""

    l1: float = 1.0
    l2: float = 1.0
    edge: float = 0.5
    multiscale: float = 0.5
    edge_strength: float = 2.0

    def __post_init__(self) -> None:
        for name in ("l1", "l2", "edge", "multiscale", "edge_strength"):
            require(getattr(self, name) >= 0, f"loss.{name} is {getattr(self, name)}; it must be 0 or more")


@dataclass(frozen=True)
class SeedDecoderTrainConfig(TokenizerTrainConfig):
    """`out` should be where the tokenizer looks: decoder.safetensors in its folder, NAME.decoder.safetensors beside it.

    Attributes:
      tokenizer: whose codes are drawn, as `mio_tokenizers.load` names it.
      weights: the share of each of the media in a batch; empty: by their sizes.
      variants: the pictures as they are, and so many changed copies less one; all are encoded before training.
    """

    kind: str = "seed_decoder"
    tokenizer: str = ""
    weights: tuple[float, ...] = ()
    settings: PixelDecoderSettings = field(default_factory=PixelDecoderSettings)
    loss: DrawingLossConfig = field(default_factory=DrawingLossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    variants: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(self.name, self.weights, self.media)
        require(bool(self.tokenizer), f"tokenizer config {self.name!r}: tokenizer is empty; name whose codes to draw")
        require(self.variants > 0, f"variants is {self.variants}; it must be positive")


Config = SeedDecoderTrainConfig


def tokenizer_of(config: SeedDecoderTrainConfig) -> SeedTokenizer:
    """Raises MioError if it is none of SEED's, or its codes do not fit the decoder's settings."""
    from mio_tokenizers.loading import load

    found = load(config.tokenizer)
    if not isinstance(found, SeedTokenizer):
        raise MioError(f"tokenizer {config.tokenizer!r} is {type(found).__name__}; this decoder draws SEED's codes")
    ours, theirs = (config.settings.tokens, config.settings.code_dim), (found.tokens, found.settings.code_dim)
    if ours != theirs:
        raise MioError(f"settings.tokens and code_dim are {ours}; the codes of {config.tokenizer} have {theirs}")
    return found


def squares(config: SeedDecoderTrainConfig, media: Media, split: str) -> list[np.ndarray]:
    """Of each of the media, uint8 [n, size, size, 3] at the decoder's size. Raises MioError if they are no pictures."""
    size, out = config.settings.picture.image_size, []
    for name, array in zip(config.media, select(media, config, split), strict=True):
        if array.dtype != np.uint8 or array.ndim != 4 or not len(array):
            raise MioError(f"media {name} are {array.dtype} {list(array.shape)}; a decoder learns from pictures")
        out.append(np.stack([to_square(picture, size) for picture in array]))
    return out


def varied(pictures: np.ndarray, config: SeedDecoderTrainConfig) -> np.ndarray:
    """The pictures, then their changed copies, uint8 [variants * n, size, size, 3]."""
    change = jax.jit(lambda block, key: augment(block, key, config.augment))
    out = [pictures]
    for variant in range(1, config.variants):
        key = jax.random.fold_in(jax.random.key(config.seed), variant)
        for start in range(0, len(pictures), BLOCK):
            block = pictures[start : start + BLOCK]
            padded = np.concatenate([block, np.repeat(block[-1:], BLOCK - len(block), axis=0)])
            made = change(padded.astype(np.float32) / 255, jax.random.fold_in(key, start))
            out.append(np.round(np.asarray(made)[: len(block)] * 255).astype(np.uint8))
    return np.concatenate(out)


def make_loss(config: SeedDecoderTrainConfig, parts: Parts) -> LossFn:
    """Weighted sum of the reconstruction losses."""
    weights = config.loss

    def loss_fn(params: Any, extra: Any, batch: Any, key: jax.Array, adversary: Any) -> tuple[jax.Array, StepAux]:
        target = batch["pictures"].astype(jnp.float32) / 255
        made = parts.model(params)(batch["vectors"])
        terms = reconstruction_losses(made, target, weights.edge_strength)
        total = sum((getattr(weights, name) * value for name, value in terms.items()), jnp.zeros(()))
        return total, StepAux(extra, terms | {"psnr": jnp.mean(psnr(made, target))})

    return loss_fn


def centred(params: dict[str, jax.Array], vectors: np.ndarray) -> dict[str, jax.Array]:
    """The first parameters, changed so that what enters has unit variance about the mean of its place.

    Code vectors of one place differ little beside what all of them share; unscaled, that little would be lost beside
    the table of places. `vectors`: float32 [n, tokens, code_dim] of the training pictures.
    """
    mean = vectors.mean(axis=0)
    scale = 1 / max(float(np.sqrt(vectors.var(axis=0).mean())), 1e-6)
    kernel = params["enter.kernel"] * scale
    return params | {"enter.kernel": kernel, "places": params["places"] - mean @ kernel}


def train(config: SeedDecoderTrainConfig, media: Media) -> SeedDecoder:
    """Trains, or continues in `config.work_dir`; writes `config.out`."""
    tokenizer = tokenizer_of(config)
    made = [varied(array, config) for array in squares(config, media, "train")]
    counts, pictures = [len(array) for array in made], np.concatenate(made)
    codes = tokenizer.encode_batch(pictures)
    parts = Parts(functools.partial(PixelDecoder, config.settings))
    data = {"pictures": pictures, "codes": codes, "codebook": tokenizer.codebook}
    batch = config.optim.batch_size

    def sample(data: Any, key: jax.Array) -> Any:
        chosen = rows(key, batch, counts, config.weights)
        return {"pictures": data["pictures"][chosen], "vectors": data["codebook"][data["codes"][chosen]]}

    first = centred(parts.first(config.seed, {}), tokenizer.codebook[codes])
    fitted = fit_config(config, make_loss(config, parts), first, data, sample, [pictures])
    params = nested_arrays(fitted.params, parts.abstract, config.kind)
    SeedDecoder.from_params(config.settings, tokenizer.fingerprint, params).save(config.out, data_notice(config))
    return SeedDecoder.load(config.out)


def evaluate(config: SeedDecoderTrainConfig, tokenizer: SeedDecoder, media: Media) -> dict[str, Any]:
    """PSNR (dB) of held-out pictures drawn from their codes; controls: the next one's drawing, the mean picture.

    "held_out" is of all media together; where there are several, "of" has each one's.
    """
    codes_of = tokenizer_of(config)
    if codes_of.fingerprint != tokenizer.tokenizer:
        raise MioError(f"the decoder is of {tokenizer.tokenizer}, not of {config.tokenizer} ({codes_of.fingerprint})")
    sets = squares(config, media, "test")
    drawn = [tokenizer.draw(codes_of.code_vectors(codes_of.encode_batch(pictures))) for pictures in sets]
    figures = {"fingerprint": tokenizer.fingerprint, "held_out": compared(np.concatenate(drawn), np.concatenate(sets))}
    if len(sets) > 1:
        figures["of"] = {name: compared(*both) for name, *both in zip(config.media, drawn, sets, strict=True)}
    return figures


def compared(drawn: np.ndarray, pictures: np.ndarray) -> dict[str, Any]:
    """How many there are, and the mean PSNR of drawings uint8 [n, size, size, 3] beside that of both controls."""
    made, target = drawn.astype(np.float32) / 255, pictures.astype(np.float32) / 255
    mean = np.broadcast_to(target.mean(axis=0), target.shape)
    others = (("psnr", made), ("psnr_control_other", np.roll(made, 1, 0)), ("psnr_control_mean", mean))
    return {"n": len(pictures)} | {
        name: round(float(jnp.mean(psnr(jnp.asarray(other), jnp.asarray(target)))), 3) for name, other in others
    }
