"""Stage 1 of SEED's training: the causal Q-Former by contrast of pictures and texts."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mio_jax.config import require
from mio_jax.errors import MioError
from mio_tokenizers.image.seed.contrastive import Aligner, AlignerSettings, SeedAligner, text_ids
from mio_tokenizers.image.seed.model import QUERY_STD
from mio_tokenizers.image.seed.preprocess import standardise
from mio_tokenizers.text.training import SEPARATOR
from mio_tokenizers.training.config import TokenizerOptimConfig, TokenizerTrainConfig
from mio_tokenizers.training.kinds import Media, select
from mio_tokenizers.training.loop import LossFn, StepAux
from mio_tokenizers.training.run import data_notice, fit_config
from mio_tokenizers.training.seed_losses import contrastive_loss
from mio_tokenizers.training.seed_parts import CropConfig, Parts, crop, divide, squares, trunk_from

TOWER, QUERIES = "trunk.visual_encoder", "trunk.query_tokens"
LEAST, MOST = 1e-3, 0.5  # that the learned temperature may be


def published_optim() -> TokenizerOptimConfig:
    """Section 7.6: 3e-5 to 3e-6 by a cosine after 2,000 steps, decay 0.05; the batch is that of one GPU of 64."""
    return TokenizerOptimConfig(
        steps=7_300,  # ten epochs of CC3M in batches of 64 x 64
        batch_size=64,
        learning_rate=3e-5,
        warmup_steps=2000,
        final_ratio=0.1,
        b2=0.999,
        weight_decay=0.05,
    )


@dataclass(frozen=True)
class SeedQFormerTrainConfig(TokenizerTrainConfig):
    """`media`: pictures, then as many texts. The defaults are the published recipe.

    Attributes:
      start: weights to start from, see `seed_parts.trunk_from`; empty: random ones.
      frozen: parts of the model that are not trained.
      label_smoothing: share of the target spread over the batch.
      query_std: of the learned queries where `start` is empty. A norm stands right behind them, so that at first it
        changes nothing; but at the published 0.02 a high learning rate moves all queries alike by more than that
        within its first steps, and queries that are alike make the same codes.
    """

    kind: str = "seed_qformer"
    settings: AlignerSettings = field(default_factory=AlignerSettings)
    start: str = ""
    frozen: tuple[str, ...] = (TOWER,)
    label_smoothing: float = 0.1
    query_std: float = QUERY_STD
    crop: CropConfig = field(default_factory=CropConfig)
    optim: TokenizerOptimConfig = field(default_factory=published_optim)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.media) == 2, f"tokenizer config {self.name!r}: media must be pictures and their texts")
        require(0 <= self.label_smoothing < 1, f"label_smoothing is {self.label_smoothing}; it must be in [0, 1)")
        require(self.query_std > 0, f"query_std is {self.query_std}; it must be positive")
        require(
            bool(self.start) or TOWER not in self.frozen,
            f"tokenizer config {self.name!r}: a frozen vision tower needs weights: set start, or frozen=() to train it",
        )


Config = SeedQFormerTrainConfig


def pairs(config: SeedQFormerTrainConfig, media: Media, split: str) -> tuple[np.ndarray, list[str]]:
    """Pictures [n, size, size, 3] and n texts. Raises MioError where there are not as many of both."""
    pictures, blob = select(media, config, split)
    if blob.dtype != np.uint8 or blob.ndim != 1:
        raise MioError(f"media {config.media[1]} are {blob.dtype} {blob.shape}; texts are one uint8 row of UTF-8")
    texts = [part.decode() for part in blob.tobytes().split(SEPARATOR)]
    if len(texts) != len(pictures):
        raise MioError(
            f"{split}: {len(pictures)} of {config.media[0]} and {len(texts)} of {config.media[1]}; each picture needs "
            "one text"
        )
    return squares(pictures, config.settings.seed, config.media[0]), texts


def make_loss(config: SeedQFormerTrainConfig, parts: Parts) -> LossFn:
    """The contrastive loss; the batch brings the kept parameters along."""

    def loss_fn(params: Any, extra: Any, batch: Any, key: jax.Array, adversary: Any) -> tuple[jax.Array, StepAux]:
        model: Aligner = parts.model(params, batch["kept"])
        pictures = standardise(crop(batch["pictures"].astype(jnp.float32) / 255, key, config.crop))
        seen, read = model.pictures(pictures), model.texts(batch["ids"])
        temperature = jnp.clip(model.temperature[...], LEAST, MOST)
        loss = contrastive_loss(seen, read, temperature, config.label_smoothing)
        hits = jnp.mean(jnp.argmax(seen @ read.T, axis=1) == jnp.arange(len(seen)))
        return loss, StepAux(extra, {"hits": hits, "temperature": temperature})

    return loss_fn


def first_params(config: SeedQFormerTrainConfig, parts: Parts) -> dict[str, jax.Array]:
    """The aligner's parameters before training, by flat names."""
    first = parts.first(config.seed, trunk_from(config.start, config.settings.seed, parts.shapes))
    if not config.start and config.query_std != QUERY_STD:
        first[QUERIES] = first[QUERIES] * (config.query_std / QUERY_STD)
    return first


def train(config: SeedQFormerTrainConfig, media: Media) -> SeedAligner:
    """Trains, or continues in `config.work_dir`; writes `config.out`."""
    pictures, texts = pairs(config, media, "train")
    batch = config.optim.batch_size
    if len(pictures) < batch:
        raise MioError(f"{config.name!r}: {len(pictures)} pairs cannot fill a batch of {batch}; lower optim.batch_size")
    parts = Parts(functools.partial(Aligner, config.settings))
    params, kept = divide(first_params(config, parts), config.frozen)
    data = {"pictures": pictures, "ids": text_ids(texts, config.settings.text.length), "kept": kept}

    def sample(data: Any, key: jax.Array) -> Any:
        rows = jax.random.permutation(key, len(pictures))[:batch]  # no pair twice: it would be its own rival
        return {"pictures": data["pictures"][rows], "ids": data["ids"][rows], "kept": data["kept"]}

    fitted = fit_config(config, make_loss(config, parts), params, data, sample, [pictures])
    arrays = {name: np.asarray(array).astype(np.float16) for name, array in {**kept, **fitted.params}.items()}
    SeedAligner(config.settings, arrays).save(config.out, data_notice(config))
    return SeedAligner.load(config.out)


def evaluate(config: SeedQFormerTrainConfig, tokenizer: SeedAligner, media: Media) -> dict[str, Any]:
    """Share of held-out pictures whose own text is the nearest (`top1`), or among ten (`top10`), of all; and chance."""
    pictures, texts = pairs(config, media, "test")
    scores = tokenizer.embed_pictures(pictures) @ tokenizer.embed_texts(texts).T
    rank = np.sum(scores > np.diag(scores)[:, None], axis=1)
    return {
        "fingerprint": tokenizer.fingerprint,
        "held_out": {
            "n": len(texts),
            "top1": round(float(np.mean(rank < 1)), 4),
            "top10": round(float(np.mean(rank < 10)), 4),
            "top10_chance": round(min(1.0, 10 / len(texts)), 4),
        },
    }
