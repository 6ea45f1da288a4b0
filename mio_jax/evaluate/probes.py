"""Small fixed classifiers that read attributes off generated media; trained on real training media, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mio_jax.errors import MioError


@dataclass(frozen=True)
class Scaling:
    """Feature-wise standardisation; a feature that never varies is left at 0."""

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray) -> Scaling:
        spread = features.std(0)
        return cls(features.mean(0), np.where(spread > 1e-6, 1.0 / np.maximum(spread, 1e-6), 0.0))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return (features - self.mean) * self.scale


@dataclass(frozen=True)
class RidgeProbe:
    """One-against-all least squares with an L2 penalty, on standardised features."""

    labels: tuple[str, ...]
    scaling: Scaling
    weights: np.ndarray  # [features + 1, labels]

    @classmethod
    def fit(cls, features: np.ndarray, labels: Sequence[str], penalty: float = 10.0) -> RidgeProbe:
        """From [n, features] and n labels. Raises MioError unless there are two different labels."""
        names = tuple(sorted(set(labels)))
        if len(names) < 2:
            raise MioError(f"a probe needs two different labels to tell apart; there is {names}")
        scaling = Scaling.fit(features)
        x = _with_one(scaling(features))
        y = np.asarray([[float(label == name) for name in names] for label in labels])
        # Every class weighs the same, so that a frequent one is not guessed whenever the features are unclear.
        weight = np.sqrt(1.0 / (y @ (y.sum(0) * len(names) / len(labels))))[:, None]
        gram = (x * weight).T @ (x * weight)
        ridge = penalty * np.eye(x.shape[1])
        ridge[-1, -1] = 1e-6  # the constant is not shrunk
        return cls(names, scaling, np.linalg.solve(gram + ridge, (x * weight).T @ (y * weight)))

    def __call__(self, features: np.ndarray) -> list[str]:
        scores = _with_one(self.scaling(features)) @ self.weights
        return [self.labels[i] for i in scores.argmax(1)]


@dataclass(frozen=True)
class NeighbourProbe:
    """The label of the nearest training example, by cosine of standardised features."""

    labels: tuple[str, ...]
    scaling: Scaling
    directions: np.ndarray  # [n, features], unit length

    @classmethod
    def fit(cls, features: np.ndarray, labels: Sequence[str]) -> NeighbourProbe:
        scaling = Scaling.fit(features)
        return cls(tuple(labels), scaling, _unit(scaling(features)))

    def __call__(self, features: np.ndarray) -> list[str]:
        return [self.labels[i] for i in (_unit(self.scaling(features)) @ self.directions.T).argmax(1)]


def _with_one(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.ones((x.shape[0], 1))], 1)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)


def accuracy(predicted: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """1.0 where they agree, else 0.0; [n]."""
    return np.asarray([float(p == w) for p, w in zip(predicted, wanted, strict=True)])
