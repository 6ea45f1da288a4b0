"""Training and evaluation of the image VQ tokenizer."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mio_jax.config import require
from mio_jax.errors import MioError
from mio_jax.nn.base import apply, init_params, split_model
from mio_tokenizers.image.io import mask_picture, picture_mask, to_square
from mio_tokenizers.image.model import ImageVQ, ImageVQSettings
from mio_tokenizers.image.tokenizer import ImageVQTokenizer
from mio_tokenizers.quantize import (
    Codebook,
    nearest,
    new_codebook,
    normalise,
    perplexity,
    straight_through,
    update_codebook,
)
from mio_tokenizers.training.config import TokenizerTrainConfig
from mio_tokenizers.training.image_augment import AugmentConfig, augment
from mio_tokenizers.training.image_losses import PatchDiscriminator, halve, psnr, reconstruction_losses
from mio_tokenizers.training.kinds import Media, select
from mio_tokenizers.training.loop import Adversary, LossFn, StepAux
from mio_tokenizers.training.run import data_notice, fit_config


@dataclass(frozen=True)
class ImageLossConfig:
    """Weights of the losses (see `image_losses`); the codebook has no loss, it follows moving averages."""

    l1: float = 1.0
    l2: float = 1.0
    edge: float = 0.5
    multiscale: float = 0.5
    edge_strength: float = 2.0
    commitment: float = 0.25
    adversarial: float = 0.0  # 0: no discriminator
    adversarial_start: float = 0.5  # share of the steps before the discriminator starts
    adversarial_width: int = 48
    adversarial_learning_rate: float = 2e-4

    def __post_init__(self) -> None:
        for name in ("l1", "l2", "edge", "multiscale", "edge_strength", "commitment", "adversarial"):
            require(getattr(self, name) >= 0, f"loss.{name} is {getattr(self, name)}; it must be 0 or more")
        require(
            0 <= self.adversarial_start < 1, f"loss.adversarial_start is {self.adversarial_start}; it must be in [0, 1)"
        )


@dataclass(frozen=True)
class PictureTrainConfig(TokenizerTrainConfig):
    """`weights` gives the share of each entry of `media` in a batch (empty: by their sizes)."""

    weights: tuple[float, ...] = ()
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            not self.weights or len(self.weights) == len(self.media),
            f"tokenizer config {self.name!r}: {len(self.weights)} weights for {len(self.media)} media",
        )


@dataclass(frozen=True)
class ImageVQTrainConfig(PictureTrainConfig):
    """Training of the image VQ tokenizer."""

    kind: str = "image_vq"
    settings: ImageVQSettings = field(default_factory=ImageVQSettings)
    loss: ImageLossConfig = field(default_factory=ImageLossConfig)
    codebook_decay: float = 0.95
    revive_below: float = 0.03  # of the mean use of a code

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.codebook_decay < 1, f"codebook_decay is {self.codebook_decay}; it must be in (0, 1)")


Config = ImageVQTrainConfig


def pictures_of(array: np.ndarray, size: int, name: str) -> np.ndarray:
    """uint8 [n, size, size, 3] from pictures of any size, or from bool masks (white on black). Raises MioError."""
    if array.dtype == np.bool_ and array.ndim == 3:
        array = (
            np.stack([mask_picture(mask) for mask in array]) if len(array) else np.zeros((0, size, size, 3), np.uint8)
        )
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[-1] != 3:
        raise MioError(
            f"media {name} are {array.dtype} {list(array.shape)}; pictures are uint8 [n, h, w, 3], masks bool [n, h, w]"
        )
    if not len(array):
        raise MioError(f"media {name} hold no picture")
    return np.stack([to_square(picture, size) for picture in array])


def make_sampler(config: PictureTrainConfig, arrays: list[np.ndarray]) -> tuple[dict[str, np.ndarray], Any]:
    """Device data and the function that draws an augmented float32 batch [batch, size, size, 3] from it."""
    counts = np.asarray([len(a) for a in arrays], np.int32)
    weights = np.asarray(config.weights or counts, np.float32)
    data = {
        "pictures": np.concatenate(arrays),
        "start": np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int32),
        "count": counts,
        "logits": np.log(np.maximum(weights / weights.sum(), 1e-9)).astype(np.float32),
    }
    batch = config.optim.batch_size

    def sample(data: dict[str, jax.Array], key: jax.Array) -> jax.Array:
        source_key, index_key, augment_key = jax.random.split(key, 3)
        source = jax.random.categorical(source_key, data["logits"], shape=(batch,))
        offset = jax.random.randint(index_key, (batch,), 0, data["count"][source])
        pictures = data["pictures"][data["start"][source] + offset].astype(jnp.float32) / 255
        return augment(pictures, augment_key, config.augment)

    return data, sample


def make_loss(config: ImageVQTrainConfig, graphdef: Any, discriminator: Any) -> LossFn:
    """The loss of one batch; extra state is the `Codebook`."""
    weights = config.loss

    def loss_fn(
        params: Any, book: Codebook, batch: jax.Array, key: jax.Array, adversary: Any
    ) -> tuple[jax.Array, StepAux]:
        model = apply(graphdef, params)
        latents = normalise(model.encoder(batch))
        chosen = nearest(jax.lax.stop_gradient(latents), book.codes)
        quantised = book.codes[chosen]
        output = model.decoder(straight_through(latents, quantised))
        losses = reconstruction_losses(output, batch, weights.edge_strength)
        losses["commitment"] = jnp.mean(jnp.sum((latents - quantised) ** 2, axis=-1))
        total = sum(getattr(weights, name) * value for name, value in losses.items())
        if adversary is not None:
            losses["fool"] = -jnp.mean(apply(discriminator, adversary)(output))
            total += weights.adversarial * losses["fool"]
        flat = jax.lax.stop_gradient(latents).reshape(-1, latents.shape[-1])
        book, revived = update_codebook(
            book,
            flat,
            chosen.reshape(-1),
            key,
            decay=config.codebook_decay,
            revive_below=config.revive_below,
            unit=True,
        )
        metrics = losses | {
            "psnr": jnp.mean(psnr(output, batch)),
            "perplexity": perplexity(chosen, config.settings.codes),
            "revived": revived,
        }
        return total, StepAux(book, metrics, {"real": batch, "made": output})

    return loss_fn


def make_adversary(config: ImageVQTrainConfig) -> tuple[Any, Adversary | None]:
    """(graphdef of the discriminator, the second parameter group), or (None, None) where it has no weight."""
    if not config.loss.adversarial:
        return None, None
    build = functools.partial(PatchDiscriminator, config.loss.adversarial_width)
    graphdef, _ = split_model(build)

    def loss(params: Any, outputs: dict[str, jax.Array], key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        discriminator = apply(graphdef, params)
        real, made = discriminator(outputs["real"]), discriminator(outputs["made"])
        hinge = jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + made))
        return hinge, {"real_score": jnp.mean(real), "made_score": jnp.mean(made)}

    init_key = jax.random.fold_in(jax.random.key(config.seed, impl="rbg"), 2)
    params = jax.jit(functools.partial(init_params, build))(init_key)
    optimizer = optax.adam(config.loss.adversarial_learning_rate, b1=0.5, b2=0.9)
    return graphdef, Adversary(params, optimizer, loss, int(config.loss.adversarial_start * config.optim.steps))


def train(config: ImageVQTrainConfig, media: Media) -> ImageVQTokenizer:
    """Trains, or continues in `config.work_dir`; writes `config.out`."""
    arrays = [
        pictures_of(array, config.settings.image_size, name)
        for name, array in zip(config.media, select(media, config, "train"), strict=True)
    ]
    build = functools.partial(ImageVQ, config.settings)
    graphdef, _ = split_model(build)
    root = jax.random.key(config.seed)
    # The hardware generator: XLA compiles threefry, unrolled once for every parameter, longer than the training step.
    init_key = jax.random.key(config.seed, impl="rbg")
    params = jax.jit(functools.partial(init_params, build))(init_key)
    book = new_codebook(jax.random.fold_in(root, 1), config.settings.codes, config.settings.code_dim, unit=True)
    data, sample = make_sampler(config, arrays)
    discriminator, adversary = make_adversary(config)
    loss_fn = make_loss(config, graphdef, discriminator)
    fitted = fit_config(config, loss_fn, params, data, sample, arrays, extra=book, adversary=adversary)
    made = ImageVQTokenizer.from_training(config.settings, fitted.params, fitted.extra.codes)
    made.save(config.out, data_notice(config))
    return ImageVQTokenizer.load(config.out)


def evaluate(config: ImageVQTrainConfig, tokenizer: ImageVQTokenizer, media: Media) -> dict[str, Any]:
    """Figures on held-out pictures.

    For each entry of `media`: `psnr` (mean over pictures, dB), `psnr_control` (the 8x8 mean colours of the picture
    itself, enlarged: as many cells, but unquantised colours), for masks `iou` (mean intersection over union) and
    `iou_control` (against the next picture's mask). Over all entries: `codes_used` (share) and `perplexity`.
    """
    settings, figures, all_codes = tokenizer.settings, {}, []
    for name, array in zip(config.media, select(media, config, "test"), strict=True):
        pictures = pictures_of(array, settings.image_size, name)
        codes = tokenizer.encode_batch(pictures)
        made = tokenizer.decode_batch(codes)
        all_codes.append(codes)
        target = jnp.asarray(pictures, jnp.float32) / 255
        coarse = target
        for _ in range(round(math.log2(settings.stride))):
            coarse = halve(coarse)
        coarse = jnp.repeat(jnp.repeat(coarse, settings.stride, axis=1), settings.stride, axis=2)
        figures[name] = {
            "n": len(pictures),
            "psnr": round(float(jnp.mean(psnr(jnp.asarray(made, jnp.float32) / 255, target))), 3),
            "psnr_control": round(float(jnp.mean(psnr(coarse, target))), 3),
            "l1": round(float(np.mean(np.abs(made.astype(np.float32) - pictures)) / 255), 5),
        }
        if array.dtype == np.bool_:
            truth, shown = picture_mask_batch(pictures), picture_mask_batch(made)
            figures[name]["iou"] = round(float(np.mean(intersection_over_union(shown, truth))), 4)
            figures[name]["iou_control"] = round(
                float(np.mean(intersection_over_union(shown, np.roll(truth, 1, 0)))), 4
            )
    codes = np.concatenate(all_codes)
    return {
        "fingerprint": tokenizer.fingerprint,
        "held_out": figures,
        "codes": settings.codes,
        "codes_used": round(len(np.unique(codes)) / settings.codes, 4),
        "perplexity": round(float(perplexity(jnp.asarray(codes), settings.codes)), 2),
    }


def picture_mask_batch(pictures: np.ndarray) -> np.ndarray:
    """bool [n, h, w] of white-on-black pictures."""
    return np.stack([picture_mask(picture) for picture in pictures])


def intersection_over_union(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of bool masks [n, h, w] -> [n]; 1 where both are empty."""
    union = np.sum(a | b, axis=(1, 2))
    return np.where(union > 0, np.sum(a & b, axis=(1, 2)) / np.maximum(union, 1), 1.0)
