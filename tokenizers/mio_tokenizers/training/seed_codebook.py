"""Stage 2 of SEED's training: the codebook between the causal tokens and an image embedding."""

from __future__ import annotations

import functools
import math
import zipfile
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.config import require, require_choice
from mio_jax.errors import MioError
from mio_tokenizers.image.seed.model import SeedModel
from mio_tokenizers.image.seed.preprocess import standardise
from mio_tokenizers.image.seed.settings import SeedSettings
from mio_tokenizers.image.seed.tokenizer import SeedTokenizer
from mio_tokenizers.quantize import (
    codebook_loss,
    nearest,
    new_codebook,
    perplexity,
    straight_through,
    update_codebook,
)
from mio_tokenizers.training.config import TokenizerOptimConfig, TokenizerTrainConfig
from mio_tokenizers.training.kinds import Media, select
from mio_tokenizers.training.loop import LossFn, StepAux
from mio_tokenizers.training.run import data_notice, fit_config
from mio_tokenizers.training.seed_losses import cosine_loss, distillation_loss
from mio_tokenizers.training.seed_parts import CropConfig, Parts, check_weights, crop, divide, rows, squares, trunk_from
from mio_tokenizers.vq_tokenizer import CODEBOOK

BETA = 0.25  # on the codes' way: the published loss is the "legacy" form (section 7.4)
THUMBNAIL = "thumbnail"
BOOK, STEP = "book", "step"  # what the loop carries beside the parameters


def published_optim() -> TokenizerOptimConfig:
    """Section 7.6: 1e-4 to 1e-5 by a cosine after 2,000 steps, decay 0.05. The number of steps is not published."""
    return TokenizerOptimConfig(
        steps=20_000,
        batch_size=256,
        learning_rate=1e-4,
        warmup_steps=2000,
        final_ratio=0.1,
        b2=0.999,
        weight_decay=0.05,
    )


@dataclass(frozen=True)
class SeedLossConfig:
    """Weights of the losses, and how the codebook learns.

    `codebook`: "loss" (published), or "ema": moving averages, and codes that nothing uses are given to vectors of the
    batch, which a short training needs. `soften_steps`: for so many steps vectors go on as they are, over as many again
    a growing share of the pictures is quantised, then all; 0 (published): all from the first step on. From random
    weights on, codes that say nothing yet and a rebuilder that ignores them would keep each other so.
    """

    quantisation: float = 5.0
    causal: float = 2.0  # 1 - cosine between the rebuilt and the Q-Former's own causal tokens
    distillation: float = 0.5  # squared difference to the target embedding
    codebook: str = "loss"
    codebook_decay: float = 0.95
    revive_below: float = 0.03  # of the mean use of a code
    soften_steps: int = 0

    def __post_init__(self) -> None:
        for name in ("quantisation", "causal", "distillation", "revive_below", "soften_steps"):
            require(getattr(self, name) >= 0, f"loss.{name} is {getattr(self, name)}; it must be 0 or more")
        require_choice("loss.codebook", self.codebook, ("loss", "ema"))
        require(0 < self.codebook_decay < 1, f"loss.codebook_decay is {self.codebook_decay}; it must be in (0, 1)")


@dataclass(frozen=True)
class SeedCodebookTrainConfig(TokenizerTrainConfig):
    """The defaults are the published recipe; `start` gives the trunk of stage 1.

    Attributes:
      start: see `seed_parts.trunk_from`.
      frozen: parts of the model that are not trained.
      targets: what the image embedding learns to be: an .npz of arrays named like the media ("train/SOURCE.FIELD"),
        float [n, feat_dim] (CLIP's embeddings, which the user computes); or "thumbnail", the picture itself at so few
        pixels that they are `feat_dim` numbers, for those without CLIP.
      weights: the share of each of the media in a batch; empty: by their sizes.
      crop: off where targets are of whole pictures, in a file.
    """

    kind: str = "seed"
    settings: SeedSettings = field(default_factory=SeedSettings)
    start: str = ""
    frozen: tuple[str, ...] = ("trunk",)
    targets: str = ""
    weights: tuple[float, ...] = ()
    loss: SeedLossConfig = field(default_factory=SeedLossConfig)
    crop: CropConfig = field(default_factory=lambda: CropConfig(min_area=1.0, flip=0.0))
    optim: TokenizerOptimConfig = field(default_factory=published_optim)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weights(self.name, self.weights, self.media)
        require(
            bool(self.start) or not self.frozen,
            f"tokenizer config {self.name!r}: frozen parts need weights: set start, or frozen=() to train all of it",
        )
        require(
            bool(self.targets) or not self.loss.distillation,
            f"tokenizer config {self.name!r}: loss.distillation needs targets: an .npz of embeddings, or {THUMBNAIL!r}",
        )
        require(
            self.crop.off or self.targets in ("", THUMBNAIL),
            f"tokenizer config {self.name!r}: targets from a file are of whole pictures; set crop.min_area=1, flip=0",
        )
        if self.targets == THUMBNAIL:
            thumbnail_edge(self.settings)


Config = SeedCodebookTrainConfig


def thumbnail_edge(settings: SeedSettings) -> int:
    """Pixels along an edge of a picture of `feat_dim` numbers. Raises MioError where there is no such picture."""
    edge = math.isqrt(settings.feat_dim // 3)
    if 3 * edge * edge != settings.feat_dim or settings.img_size % edge:
        raise MioError(
            f"targets {THUMBNAIL!r}: feat_dim is {settings.feat_dim}; it must be 3 k^2 for a k that divides "
            f"img_size, {settings.img_size}"
        )
    return edge


def thumbnails(pictures: jax.Array, settings: SeedSettings) -> jax.Array:
    """Standardised pictures [b, size, size, 3] -> the means of their k x k cells, [b, feat_dim]."""
    edge = thumbnail_edge(settings)
    step = settings.img_size // edge
    return pictures.reshape(len(pictures), edge, step, edge, step, 3).mean(axis=(2, 4)).reshape(len(pictures), -1)


def read_targets(config: SeedCodebookTrainConfig, split: str, counts: list[int]) -> np.ndarray | None:
    """Target embeddings of all pictures of a split, float32 [n, feat_dim]; None where they are made of the pictures.

    Raises:
      MioError: the file is absent or lacks an array, or one has another shape.
    """
    if config.targets in ("", THUMBNAIL):
        return None
    try:
        with np.load(config.targets, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise MioError(f"targets {config.targets} cannot be read: {error}") from error
    out = []
    for name, count in zip(config.media, counts, strict=True):
        key, wanted = f"{split}/{name}", (count, config.settings.feat_dim)
        if key not in found or found[key].shape != wanted:
            what = f"has {key} of shape {found[key].shape}" if key in found else f"lacks {key}"
            raise MioError(f"targets {config.targets} {what}; a float array {wanted} is needed")
        out.append(np.asarray(found[key], np.float32))
    return np.concatenate(out)


def pictures_of(config: SeedCodebookTrainConfig, media: Media, split: str) -> list[np.ndarray]:
    arrays = select(media, config, split)
    return [squares(array, config.settings, name) for name, array in zip(config.media, arrays, strict=True)]


def make_loss(config: SeedCodebookTrainConfig, parts: Parts) -> LossFn:
    """5 VQ + 2 (1 - cosine) + 0.5 MSE, as `loss` weighs them; the batch brings kept parameters and targets along."""
    weights, settings = config.loss, config.settings

    def loss_fn(params: Any, extra: Any, batch: Any, key: jax.Array, adversary: Any) -> tuple[jax.Array, StepAux]:
        model: SeedModel = parts.model({n: a for n, a in params.items() if n != CODEBOOK}, batch["kept"])
        crop_key, revive_key = jax.random.split(key)
        pictures = standardise(crop(batch["pictures"].astype(jnp.float32) / 255, crop_key, config.crop))
        codes = extra[BOOK].codes if BOOK in extra else params[CODEBOOK]
        tokens = model.trunk(pictures)
        vectors = model.encode_task(tokens)
        chosen = nearest(*jax.lax.stop_gradient((vectors, codes)))
        quantised = codes[chosen]
        through = straight_through(vectors, quantised)
        if weights.soften_steps:
            share = jnp.clip(extra[STEP] / weights.soften_steps - 1, 0, 1)
            hard = jax.random.bernoulli(jax.random.fold_in(key, 2), share, (len(vectors), 1, 1))
            through = jnp.where(hard, through, vectors)
        terms = {
            "quantisation": codebook_loss(vectors, quantised, beta=BETA, legacy=True),
            "causal": cosine_loss(model.causal_tokens(through), jax.lax.stop_gradient(tokens)),
        }
        if weights.distillation:
            target = thumbnails(pictures, settings) if config.targets == THUMBNAIL else batch["targets"]
            terms["distillation"] = distillation_loss(model.rebuild(through), target)
        total = sum((getattr(weights, name) * value for name, value in terms.items()), jnp.zeros(()))
        metrics = terms | {"perplexity": perplexity(chosen, settings.codes)}
        new = {STEP: extra[STEP] + 1} if STEP in extra else {}
        if BOOK in extra:
            flat = jax.lax.stop_gradient(vectors).reshape(-1, settings.codebook_dim)
            new[BOOK], metrics["revived"] = update_codebook(
                extra[BOOK],
                flat,
                chosen.reshape(-1),
                revive_key,
                decay=weights.codebook_decay,
                revive_below=weights.revive_below,
            )
        return total, StepAux(new, metrics)

    return loss_fn


def train(config: SeedCodebookTrainConfig, media: Media) -> SeedTokenizer:
    """Trains, or continues in `config.work_dir`; writes `config.out`."""
    arrays, settings = pictures_of(config, media, "train"), config.settings
    parts = Parts(functools.partial(SeedModel, settings))
    params, kept = divide(parts.first(config.seed, trunk_from(config.start, settings, parts.shapes)), config.frozen)
    if not config.loss.distillation:  # then nothing teaches the embedding's side, which would decay towards zero
        kept |= {name: params.pop(name) for name in list(params) if name.startswith(("head.", "blocks_image."))}
    key = jax.random.fold_in(jax.random.key(config.seed), 1)
    extra: dict[str, Any] = {STEP: jnp.zeros(())} if config.loss.soften_steps else {}
    if config.loss.codebook == "ema":
        extra[BOOK] = new_codebook(key, settings.codes, settings.code_dim)
    else:
        bound = 1 / settings.codes
        params[CODEBOOK] = jax.random.uniform(key, (settings.codes, settings.code_dim), jnp.float32, -bound, bound)
    data: dict[str, Any] = {"pictures": np.concatenate(arrays), "kept": kept}
    targets = read_targets(config, "train", [len(array) for array in arrays])
    if targets is not None:
        data["targets"] = targets
    drawn = [name for name in data if name != "kept"]
    counts, batch = [len(array) for array in arrays], config.optim.batch_size

    def sample(data: Any, key: jax.Array) -> Any:
        chosen = rows(key, batch, counts, config.weights)
        return {"kept": data["kept"]} | {name: data[name][chosen] for name in drawn}

    fitted = fit_config(config, make_loss(config, parts), params, data, sample, arrays, extra=extra)
    codes = fitted.extra[BOOK].codes if BOOK in fitted.extra else fitted.params[CODEBOOK]
    made = {**kept, **fitted.params, CODEBOOK: codes}
    SeedTokenizer(settings, {name: np.asarray(a).astype(np.float16) for name, a in made.items()}).save(
        config.out, data_notice(config)
    )
    return SeedTokenizer.load(config.out)


def evaluate(config: SeedCodebookTrainConfig, tokenizer: SeedTokenizer, media: Media) -> dict[str, Any]:
    """Figures on held-out pictures.

    `codes_used` (share), `perplexity`; where there are targets, `distillation` (squared difference of the image
    embedding from its target) and two controls: of the targets' own mean, and of the next picture's embedding.
    """
    arrays, settings = pictures_of(config, media, "test"), tokenizer.settings
    pictures = np.concatenate(arrays)
    codes = tokenizer.encode_batch(pictures)
    figures: dict[str, Any] = {
        "fingerprint": tokenizer.fingerprint,
        "n": len(pictures),
        "codes": settings.codes,
        "codes_used": round(len(np.unique(codes)) / settings.codes, 4),
        "perplexity": round(float(perplexity(jnp.asarray(codes), settings.codes)), 2),
    }
    target = read_targets(config, "test", [len(array) for array in arrays])
    if config.targets == THUMBNAIL:
        target = np.asarray(thumbnails(standardise(jnp.asarray(pictures, jnp.float32) / 255), settings))
    if target is not None:
        made = tokenizer.image_embedding(codes)
        for name, other in (
            ("distillation", made),
            ("distillation_control_mean", target.mean(axis=0, keepdims=True)),
            ("distillation_control_other", np.roll(made, 1, axis=0)),
        ):
            figures[name] = round(float(np.mean((other - target) ** 2)), 5)
    return figures
