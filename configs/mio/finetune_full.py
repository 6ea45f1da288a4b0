"""MIO-7B: every parameter fine-tuned on instructions.

Command:   mio train --config configs/mio/finetune_full.py --config.start_from=weights/mio-7b-base
Hardware:  16 chips or GPUs of 80 GB hold float32 parameters and moments (98 GB) and the activations of a micro-batch
Data:      mio_instruct, of which the sets prepared under data/mio; yours: --config.stages.finetune.mixture=NAME
Result:    not trained here
"""

from ml_collections import ConfigDict

from mio_jax.config_loading import to_config_dict
from mio_jax.recipes.mio.published_runs import full_finetuning


def get_config() -> ConfigDict:
    return to_config_dict(full_finetuning())
