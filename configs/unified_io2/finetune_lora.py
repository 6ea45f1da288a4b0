"""Unified-IO 2 XXL with low-rank adapters on its trunk, the rest frozen and in bfloat16.

Command:   mio train --config configs/unified_io2/finetune_lora.py --config.start_from=weights/unified_io2/xxl
Hardware:  a TPU v5e-8, or one GPU of 80 GB (--config.stages.finetune.micro_batches=16)
           14 GB of weights over all devices
Data:      uio2_all, the quickstart's sets; yours: --config.stages.finetune.mixture=NAME
Result:    not trained here

docs/lora.md says how adapters are stored and what reads them.
"""

from ml_collections import ConfigDict

from mio_jax.config_loading import to_config_dict
from mio_jax.recipes.unified_io2.published_runs import finetuning_with_lora


def get_config() -> ConfigDict:
    return to_config_dict(finetuning_with_lora())
