"""The forms of answers that free decoding does not keep: boxes, poses, pictures of which a part is given.

Specification section 19.4. Each is a `mio_jax.generate.steering.Steering`, with the ids of the decoder's own tables.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mio_jax.errors import MioError
from mio_jax.generate.steering import FREE, GROUP, Steering
from mio_jax.recipes.unified_io2.spec import RESERVED
from mio_tokenizers.structured.extra_ids import LEVELS
from mio_tokenizers.structured.keypoints import keypoint_schedule

THRESHOLD = 0.5  # the paper's, and the released runner's for detection
LOCALIZATION_THRESHOLD = 0.3  # the released runner's


def locations(tokenizer: Any) -> tuple[int, int]:
    """(first, end) of the ids of location tokens."""
    return tokenizer.first_location, tokenizer.first_location + LEVELS


def boxes(tokenizer: Any, threshold: float = THRESHOLD, *, at_least_one: bool = False) -> Steering:
    """Where location tokens together have more than `threshold` of the probability, one of them it must be.

    `at_least_one`: the answer may not be empty.
    """
    return Steering(groups=(locations(tokenizer),), threshold=threshold, held=int(at_least_one))


def one_box(tokenizer: Any) -> Steering:
    """Four location tokens and the end."""
    return Steering(groups=(locations(tokenizer),), forced=[*[GROUP] * 4, tokenizer.eos_id])


def pose(tokenizer: Any) -> Steering:
    """For each part of the body two location tokens and its name: a whole pose, with a guess at what is hidden."""
    schedule = [GROUP if step is None else step for step in keypoint_schedule(tokenizer)]
    return Steering(groups=(locations(tokenizer),), forced=schedule)


def layered(layers: int, codes_per_layer: int, length: int) -> Steering:
    """A sound whose codes are written time by time, each of them of the layer whose turn it is."""
    starts = [RESERVED + layer * codes_per_layer for layer in range(layers)]
    groups = tuple((start, start + codes_per_layer) for start in starts)
    return Steering(groups=groups, forced=[GROUP - step % layers for step in range(length)])


def given_codes(codes: np.ndarray, kept: np.ndarray) -> Steering:
    """A picture or a sound of which codes are given (inpainting): those are kept, the others are written.

    Args:
      codes: int32 [answers, codes] or [codes], in the order in which they are written, from 0.
      kept: bool like it.
    """
    codes, kept = np.asarray(codes), np.asarray(kept)
    if codes.shape != kept.shape or kept.dtype != bool or codes.dtype.kind not in "iu":
        raise MioError(
            f"given codes {codes.dtype} {list(codes.shape)} and what is kept of them {kept.dtype} {list(kept.shape)} "
            "must be whole numbers and true or false of one shape"
        )
    return Steering(forced=np.where(kept, codes + RESERVED, FREE).astype(np.int32))
