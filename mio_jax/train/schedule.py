"""Learning rates: warmup, then one of five ways to go on.

The rate of a step is computed on the host and enters the compiled step as an argument, so that stages which differ only
in their schedules share one compilation.
"""

from __future__ import annotations

import math

from mio_jax.config import OptimConfig

# The fields that only the functions of this file read.
FIELDS = ("learning_rate", "schedule", "warmup_ratio", "warmup_steps", "decay_ratio", "final_ratio")


def warmup_steps(optim: OptimConfig, steps: int) -> int:
    """How many steps of a stage of `steps` warm up; the last of them has the peak."""
    return optim.warmup_steps or math.ceil(optim.warmup_ratio * steps)


def learning_rate(optim: OptimConfig, steps: int, step: int) -> float:
    """The rate of `step` (1-based) of a stage of `steps`.

    Linear warmup reaches the peak at its last step, so that step 1 already learns. Then the rate
      constant      stays;
      linear        falls along a line to `final_ratio` of the peak at the last step;
      cosine        falls along half a cosine to the same;
      wsd           stays, and in the last `decay_ratio` of the stage's steps falls along a line to the same;
      inverse_sqrt  is learning_rate / sqrt(step), as T5 has it: its peak is learning_rate / sqrt(warmup), and it knows
                    nothing of the length of the stage.
    """
    warmup = warmup_steps(optim, steps)
    first = max(warmup, 1)  # the step that has the peak
    peak = optim.learning_rate
    if optim.schedule == "inverse_sqrt":
        peak /= math.sqrt(max(step, first))
    if step < warmup:
        return peak * step / warmup
    done = (step - first) / (steps - first) if steps > first else 0.0
    fall = 0.0
    if optim.schedule == "linear":
        fall = done
    elif optim.schedule == "cosine":
        fall = 0.5 * (1 - math.cos(math.pi * done))
    elif optim.schedule == "wsd":
        last = max(first, steps - math.ceil(optim.decay_ratio * steps))  # the last step at the peak
        fall = max(0.0, (step - last) / (steps - last)) if steps > last else 0.0
    return peak * (1 - fall * (1 - optim.final_ratio))
