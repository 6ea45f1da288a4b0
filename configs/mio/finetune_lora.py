"""MIO-7B with low-rank adapters on its layers, the rest frozen and in bfloat16.

Command:   mio train --config configs/mio/finetune_lora.py --config.start_from=weights/mio-7b-base
Hardware:  one GPU of 80 GB (--config.stages.finetune.micro_batches=64), or a TPU v5e-8; 12 GB of weights over all
Data:      mio_instruct, of which the sets prepared under data/mio; yours: --config.stages.finetune.mixture=NAME
Result:    not trained here

docs/lora.md says how adapters are stored and what reads them.
"""

from ml_collections import ConfigDict

from mio_jax.config_loading import to_config_dict
from mio_jax.recipes.mio.published_runs import finetuning_with_lora


def get_config() -> ConfigDict:
    return to_config_dict(finetuning_with_lora())
