"""Training and evaluation of the VQGAN of pictures."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

from mio_jax.nn.base import split_model
from mio_tokenizers.image.tokenizer import VQGANTokenizer
from mio_tokenizers.image.vqgan import VQGAN, VQGANSettings
from mio_tokenizers.training.image import PictureTrainConfig, evaluate, make_sampler, pictures_of
from mio_tokenizers.training.kinds import Media, select
from mio_tokenizers.training.perceptual import watched
from mio_tokenizers.training.run import data_notice, fit_config
from mio_tokenizers.training.vq_loss import VQLossConfig, first_state, learned_codebook, make_adversary, make_loss

__all__ = ["Config", "VQGANTrainConfig", "evaluate", "train"]
PIVOT = ("decoder", "conv_out", "kernel")


@dataclass(frozen=True)
class VQGANTrainConfig(PictureTrainConfig):
    """Training of the VQGAN; the defaults are the published sizes and losses, without a discriminator."""

    kind: str = "vqgan"
    settings: VQGANSettings = field(default_factory=VQGANSettings)
    loss: VQLossConfig = field(default_factory=VQLossConfig)


Config = VQGANTrainConfig


def train(config: VQGANTrainConfig, media: Media) -> VQGANTokenizer:
    """Trains, or continues in `config.work_dir`; writes `config.out`."""
    size = config.settings.image_size
    arrays = [
        pictures_of(array, size, name) for name, array in zip(config.media, select(media, config, "train"), strict=True)
    ]
    build = functools.partial(VQGAN, config.settings)
    graphdef, _ = split_model(build)
    params, extra = first_state(build, config.settings, config.loss, config.seed)
    data, sample = make_sampler(config, arrays)
    files, weight = config.loss.perceptual_weights, config.loss.perceptual
    network, data, sample = watched(files, weight, data, sample, channels=3, size=(size, size), name=config.name)
    judge, adversary = make_adversary(config.loss.adversary, config.optim.steps, config.seed, (size, size), 3)
    loss_fn = make_loss(config.loss, config.settings, graphdef, judge, PIVOT, network)
    fitted = fit_config(config, loss_fn, params, data, sample, arrays, extra=extra, adversary=adversary)
    codebook = learned_codebook(fitted.params, fitted.extra)
    VQGANTokenizer.from_training(config.settings, fitted.params["model"], codebook).save(
        config.out, data_notice(config)
    )
    return VQGANTokenizer.load(config.out)
