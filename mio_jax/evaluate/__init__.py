"""Scores of a trained run on held-out data, each beside the same model's with its conditioning shuffled."""

from mio_jax.evaluate.harness import evaluate
from mio_jax.evaluate.metrics import METRICS

__all__ = ["METRICS", "evaluate"]
