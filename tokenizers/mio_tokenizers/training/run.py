"""The one way from a tokenizer's configuration to the training loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mio_jax.config_loading import to_dict
from mio_tokenizers.training.config import TokenizerTrainConfig
from mio_tokenizers.training.loop import Adversary, Fitted, LossFn, SampleFn, fit, make_optimizer

PLACES = ("out", "work_dir", "checkpoint_every", "log_every")  # may differ when a training is resumed


def fit_config(
    config: TokenizerTrainConfig,
    loss_fn: LossFn,
    params: Any,
    data: Any,
    sample: SampleFn,
    media: Sequence[np.ndarray],
    *,
    extra: Any = None,
    adversary: Adversary | None = None,
    feed: Callable[[int], Any] | None = None,
) -> Fitted:
    """`fit` with what the configuration says. `media`: the arrays trained on; a resumed training has equal shapes."""
    identity = {k: v for k, v in to_dict(config).items() if k not in PLACES}
    return fit(
        loss_fn,
        params,
        data,
        sample,
        make_optimizer(config.optim),
        config.optim.steps,
        work_dir=config.work_dir,
        extra=extra,
        adversary=adversary,
        seed=config.seed,
        checkpoint_every=config.checkpoint_every,
        log_every=config.log_every,
        label=config.name,
        identity={"config": identity, "media": [list(array.shape) for array in media]},
        feed=feed,
    )


def data_notice(config: TokenizerTrainConfig) -> dict[str, str]:
    """Name, licence and attribution of the training data, as a weights file carries them."""
    return {"name": config.data_name, "licence": config.data_licence, "attribution": config.data_attribution}
