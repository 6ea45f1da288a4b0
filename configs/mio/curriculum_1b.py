"""MIO at a seventh of the size: the four published stages with the preset mio_1b, from random weights.

Command:   mio train --config configs/mio/curriculum_1b.py
Plan:      mio plan --config configs/mio/curriculum_1b.py --topology v5e:8x8
Hardware:  a pod slice, or a node of 8 GPUs with micro_batches=32 in stages I and II
Data:      that of curriculum_7b
Result:    not trained here

A LLaMA-shaped checkpoint of these sizes that has been grown (mio weights grow) may be its --config.start_from.
What is published and what is ours stands in mio_jax/recipes/mio/published_runs.py.
"""

from ml_collections import ConfigDict

from mio_jax.config_loading import to_config_dict
from mio_jax.recipes.mio.published_runs import curriculum


def get_config() -> ConfigDict:
    return to_config_dict(curriculum("1b", 2))
