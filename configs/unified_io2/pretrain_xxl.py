"""Unified-IO 2 XXL: pre-training with the multimodal mixture of denoisers.

Command:   mio train --config configs/unified_io2/pretrain_xxl.py
Plan:      mio plan --config configs/unified_io2/pretrain_xxl.py --topology v5p:4x4x8
Hardware:  published on TPU pods, 8-way model and 64-way data parallel for XXL
Data:      unified_io2_pretrain, the paper's table 2 by its rates, prepared under data/unified_io2_pretrain
Result:    not trained here

What is published and what is ours stands in mio_jax/recipes/unified_io2/published_runs.py.
"""

from ml_collections import ConfigDict

from mio_jax.config_loading import to_config_dict
from mio_jax.recipes.unified_io2.published_runs import pretraining


def get_config() -> ConfigDict:
    return to_config_dict(pretraining("xxl", remat="save_projections"))
