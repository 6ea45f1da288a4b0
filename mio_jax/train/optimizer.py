"""AdamW and its learning-rate schedule.

The rate of a step is computed on the host and enters the compiled step as an argument, so that stages which differ only
in their schedules share one compilation.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import optax

from mio_jax.config import OptimConfig
from mio_jax.nn.base import LAYERS


def learning_rate(optim: OptimConfig, steps: int, step: int) -> float:
    """The rate of `step` (1-based) of a stage of `steps`.

    Linear warmup reaches the peak at step ceil(warmup_ratio * steps), so that step 1 already learns; then the rate is
    constant, or falls along a line or a half cosine to `final_ratio` of the peak at the last step.
    """
    warmup = math.ceil(optim.warmup_ratio * steps)
    if step < warmup:
        return optim.learning_rate * step / warmup
    first = max(warmup, 1)  # the step that has the peak
    done = (step - first) / (steps - first) if steps > first else 0.0
    fall = {"constant": 0.0, "linear": done, "cosine": 0.5 * (1 - math.cos(math.pi * done))}[optim.schedule]
    return optim.learning_rate * (1 - fall * (1 - optim.final_ratio))


def decay_mask(axes: Any) -> Any:
    """True for the parameters that weight decay touches: matrices, embedding tables included, and nothing else.

    A matrix has at least two logical axes besides "layers"; norm scales and biases have one. Rank alone would be wrong:
    the norm scales of a stack of layers are a matrix too.
    """

    def is_matrix(names: tuple[str | None, ...]) -> bool:
        return sum(name != LAYERS for name in names) >= 2

    return jax.tree.map(is_matrix, axes, is_leaf=lambda x: isinstance(x, tuple))


def make_optimizer(optim: OptimConfig, axes: Any) -> optax.GradientTransformation:
    """Clipping by global norm (0: none), Adam and decoupled weight decay; the caller scales by minus the rate."""
    clip = [optax.clip_by_global_norm(optim.clip_norm)] if optim.clip_norm > 0 else []
    return optax.chain(
        *clip,
        optax.scale_by_adam(b1=optim.b1, b2=optim.b2, eps=optim.eps),
        optax.add_decayed_weights(optim.weight_decay, mask=decay_mask(axes)),
    )
