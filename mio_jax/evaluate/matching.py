"""One score for a set of predicted things against a set of true ones: GRIT's rule for boxes, masks and poses."""

from __future__ import annotations

import numpy as np
import scipy.optimize


def assignment_score(similarity: np.ndarray) -> float:
    """Similarities [predicted, true] in [0, 1] -> score in [0, 1].

    The best assignment is found, its pairs without any similarity are undone, and the sum over the others is divided by
    the number of predictions and of true things that went without. Nothing predicted where there is nothing: 1.
    """
    predicted, true = similarity.shape
    if not predicted or not true:
        return float(predicted == true)
    rows, columns = scipy.optimize.linear_sum_assignment(1.0 - similarity)
    kept = similarity[rows, columns]
    kept = kept[kept > 0]
    return float(kept.sum() / (predicted + true - len(kept)))
