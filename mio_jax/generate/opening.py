"""The engine that fits a trained run, and the runner of its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mio_jax.errors import MioError
from mio_jax.generate.encoded_engine import EncodedEngine
from mio_jax.generate.engine import Engine
from mio_jax.protocols import DecodingEngine
from mio_jax.task_protocol import TaskRunner

if TYPE_CHECKING:
    from mio_jax.train.run import Run


def engine_of(run: Run) -> DecodingEngine:
    """What decodes with a run's parameters, in a context as long as the rows it was trained on.

    Raises MioError if the run's model and vocabulary do not fit each other.
    """
    decoding = getattr(run.recipe, "encoded_decoding", None)  # of models that encode their inputs first
    if decoding is not None:
        return EncodedEngine(run.graphdef, run.params, decoding(run.config, run.space), run.space)
    spec = run.recipe.resolve_model(run.config.model, run.space)
    return Engine(run.graphdef, run.params, run.space, spec, run.config.data.length)


def task_runner_of(run: Run, engine: DecodingEngine) -> TaskRunner:
    """What answers a run's tasks by name. Raises MioError if its recipe has none."""
    recipe: Any = run.recipe
    if not hasattr(recipe, "task_runner"):
        raise MioError(f"recipe {run.config.recipe!r} has no tasks by name; ask it with --prompt or --ask")
    runner: TaskRunner = recipe.task_runner(run, engine)
    return runner
