"""Unified-IO 2 XL fine-tuned on one GPU of 80 GB: everything but the frozen encoders of pictures and sounds.

Command:   mio train --config configs/unified_io2/finetune_one_gpu.py --config.start_from=weights/unified_io2/xl
Hardware:  one GPU of 80 GB; float32 parameters, gradients and momentum are 36 GB (counted, not run)
Data:      uio2_all, the quickstart's sets; yours: --config.stages.finetune.mixture=NAME
Result:    not trained here

`start_from` is published weights, or the folder of a run. L takes a third of the memory:
--config.model.preset=unified_io2_l.
"""

from ml_collections import ConfigDict

from mio_jax.config_loading import to_config_dict
from mio_jax.recipes.unified_io2.published_runs import finetuning_on_one_gpu


def get_config() -> ConfigDict:
    return to_config_dict(finetuning_on_one_gpu())
