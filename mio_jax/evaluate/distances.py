"""Sets of made media against sets of true ones, in the features of a network of the user's: FID, FAD, IS, KL.

The formulas are here, the networks are not: their weights are published apart, and a score belongs to one network with
its own resizing. `mio eval --extractor NAME=MODULE:FUNCTION` names a function that makes the features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mio_jax.errors import MioError

# extractor -> what the function is given and gives, and which network published scores take
EXTRACTORS = {
    "fid": (
        "pictures uint8 [n, height, width, 3] -> float [n, features]",
        "the TF-Inception's last pooling, 2048 wide",
    ),
    "inception": (
        "pictures uint8 [n, height, width, 3] -> class probabilities [n, classes]",
        "the TF-Inception's softmax",
    ),
    "clip": ("pictures uint8 [n, height, width, 3], texts [n] -> cosine of each pair [n]", "CLIP ViT-L/14 or B/32"),
    "clip_image": ("pictures uint8 [n, height, width, 3] -> float [n, features]", "CLIP ViT-L/14's picture embedding"),
    "recogniser": ("sounds [n] of (float32 samples, rate) -> texts [n]", "Whisper medium"),
    "fad": ("sounds [n] of (float32 samples, rate) -> float [n, features]", "VGGish"),
    "audio_classes": ("sounds [n] of (float32 samples, rate) -> class probabilities [n, classes]", "PANNs Cnn14"),
}


def extractor(extractors: Mapping[str, Callable[..., Any]], name: str, metric: str) -> Callable[..., Any]:
    """The user's function. Raises MioError saying what it is to be."""
    if name not in extractors:
        takes, usual = EXTRACTORS[name]
        flags = f"{'--clip FOLDER of weights, or ' if name == 'clip_image' else ''}--extractor {name}=MODULE:FUNCTION"
        raise MioError(
            f"{metric} needs a network that is not here: give {flags}, a function of "
            f"{takes} (published scores take {usual})"
        )
    return extractors[name]


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Features [n, d] and [m, d] -> |difference of the means|^2 + tr(A + B - 2 (A B)^(1/2)) of their covariances.

    In float64, with unbiased covariances. Raises MioError on fewer than two of either, or NaN.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise MioError(f"features {list(a.shape)} and {list(b.shape)}; both must be [2 or more, d] with the same d")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise MioError("the features hold NaN or infinite values")
    root_a = _root(np.atleast_2d(np.cov(a, rowvar=False)))
    cov_b = np.atleast_2d(np.cov(b, rowvar=False))
    # tr (A B)^(1/2) from the eigenvalues of A^(1/2) B A^(1/2), which is symmetric.
    values = np.linalg.eigvalsh(root_a @ cov_b @ root_a)
    trace = np.sqrt(np.clip(values, 0, None)).sum()
    mean = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return float(mean + np.trace(root_a @ root_a) + np.trace(cov_b) - 2 * trace)


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def inception_score(probabilities: np.ndarray) -> float:
    """Class probabilities [n, classes] -> exp(mean KL(p(class | one) || p(class)))."""
    p = np.clip(np.asarray(probabilities, np.float64), 1e-12, None)
    return float(np.exp((p * (np.log(p) - np.log(p.mean(0)))).sum(-1).mean()))


def paired_divergence(true: np.ndarray, made: np.ndarray) -> float:
    """Mean KL(true || made) of class probabilities [n, classes] of pairs, as audio papers report it."""
    t, m = (np.clip(np.asarray(x, np.float64), 1e-12, None) for x in (true, made))
    if t.shape != m.shape:
        raise MioError(f"class probabilities {list(t.shape)} and {list(m.shape)}; they must be of the same pairs")
    return float((t * (np.log(t) - np.log(m))).sum(-1).mean())


def picture_metrics(extractors: Mapping[str, Callable[..., Any]]) -> Callable[..., dict[str, float]]:
    """SeqIO metric function of made pictures against (true picture, caption): fid, and with extractors more.

    Raises MioError without the extractor "fid". clip_score is 100 max(cosine, 0).
    """
    features = extractor(extractors, "fid", "FID")

    def run(targets: Sequence[tuple[np.ndarray, str]], predictions: Sequence[np.ndarray]) -> dict[str, float]:
        true = np.concatenate([_rows(features(t[None]), 1) for t, _ in targets])
        made = np.concatenate([_rows(features(p[None]), 1) for p in predictions])
        scores = {"fid": frechet_distance(true, made)}
        if "inception" in extractors:
            scores["inception_score"] = inception_score(
                np.concatenate([_rows(extractors["inception"](p[None]), 1) for p in predictions])
            )
        if "clip" in extractors:
            pairs = zip(predictions, targets, strict=True)
            cosines = [float(np.asarray(extractors["clip"](p[None], [c])).reshape(())) for p, (_, c) in pairs]
            scores["clip_score"] = float(np.mean(100 * np.clip(cosines, 0, None)))
        return scores

    return run


def similarity_metric(extractors: Mapping[str, Callable[..., Any]]) -> Callable[..., dict[str, float]]:
    """SeqIO metric function of made pictures against true ones: the mean cosine of their embeddings, `clip_i`.

    Raises MioError without the extractor "clip_image", or an embedding of length 0.
    """
    embed = extractor(extractors, "clip_image", "the similarity of pictures")

    def run(targets: Sequence[np.ndarray], predictions: Sequence[np.ndarray]) -> dict[str, float]:
        cosines = []
        for true, made in zip(targets, predictions, strict=True):
            a, b = (_rows(embed(picture[None]), 1)[0] for picture in (true, made))
            lengths = np.linalg.norm(a) * np.linalg.norm(b)
            if not lengths > 0:  # NaN too
                raise MioError("the extractor clip_image gave an embedding of length 0 or NaN")
            cosines.append(float(a @ b / lengths))
        return {"clip_i": float(np.mean(cosines))}

    return run


def sound_metrics(extractors: Mapping[str, Callable[..., Any]]) -> Callable[..., dict[str, float]]:
    """SeqIO metric function of made sounds against true ones: fad, and with "audio_classes" is and kl.

    Raises MioError without the extractor "fad".
    """
    features = extractor(extractors, "fad", "FAD")

    def run(targets: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
        scores = {"fad": frechet_distance(*(_rows(features(list(some)), len(some)) for some in (targets, predictions)))}
        if "audio_classes" in extractors:
            true, made = (_rows(extractors["audio_classes"](list(some)), len(some)) for some in (targets, predictions))
            scores |= {"audio_inception_score": inception_score(made), "audio_kl": paired_divergence(true, made)}
        return scores

    return run


def _rows(found: Any, count: int) -> np.ndarray:
    array = np.asarray(found, np.float64)
    if array.ndim != 2 or len(array) != count:
        raise MioError(f"an extractor gave {list(array.shape)} for {count} examples; it must give [{count}, features]")
    return array
