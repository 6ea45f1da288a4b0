"""Unified-IO 2 XXL: instruction tuning of the pre-trained model.

Command:   mio train --config configs/unified_io2/instruct_xxl.py --config.start_from=runs/unified_io2_pretrain_xxl
Plan:      mio plan --config configs/unified_io2/instruct_xxl.py --topology v5p:4x4x8
Hardware:  published on TPU pods, 8-way model and 64-way data parallel for XXL
Data:      unified_io2_instruct, the paper's instruction mixture by its rates, prepared under data/unified_io2_instruct
Result:    not trained here

What is published and what is ours stands in mio_jax/recipes/unified_io2/published_runs.py.
"""

from ml_collections import ConfigDict

from mio_jax.config_loading import to_config_dict
from mio_jax.recipes.unified_io2.published_runs import instruction_tuning


def get_config() -> ConfigDict:
    return to_config_dict(instruction_tuning("xxl", micro_batches=2))
