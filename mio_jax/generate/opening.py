"""The engine that fits a trained run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mio_jax.generate.engine import Engine
from mio_jax.protocols import DecodingEngine

if TYPE_CHECKING:
    from mio_jax.train.run import Run


def engine_of(run: Run) -> DecodingEngine:
    """What decodes with a run's parameters, in a context as long as the rows it was trained on.

    Raises MioError if the run's model and vocabulary do not fit each other.
    """
    spec = run.recipe.resolve_model(run.config.model, run.space)
    return Engine(run.graphdef, run.params, run.space, spec, run.config.data.length)
