"""A grown checkpoint: its new rows alone are trained, in embedding and head, and its trunk stays as it is.

Command:   mio train --config configs/mio/finetune_new_rows.py --config.start_from=weights/yi-6b-mio
Hardware:  8 GPUs of 80 GB: 25 GB of float32 parameters, 5 GB of moments
Data:      mio_instruct, of which the sets prepared under data/mio; yours: --config.stages.finetune.mixture=NAME
Result:    not trained here

For a first look at new codes, or before all is trained: logits of old ids stay, but for media in what was read.
"""

from ml_collections import ConfigDict

from mio_jax.config_loading import to_config_dict
from mio_jax.recipes.mio.published_runs import finetuning_of_new_rows


def get_config() -> ConfigDict:
    return to_config_dict(finetuning_of_new_rows())
