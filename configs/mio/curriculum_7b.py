"""MIO-7B: the four published stages, one after another, from Yi-6B with new rows.

Command:   mio weights grow weights/yi-6b --space mio --order image speech --out weights/yi-6b-mio
           mio train --config configs/mio/curriculum_7b.py
Plan:      mio plan --config configs/mio/curriculum_7b.py --topology v5p:4x4x4 --stage interleaved
Hardware:  published on 128 A800-80GB (stages I and II) and 8 (stage III); Slurm and pods: docs/mio_data.md
Data:      mio_stage1_*, mio_stage2_*, mio_stage3_*, mio_instruct, prepared under data/mio
Result:    not trained here

What is published and what is ours stands in mio_jax/recipes/mio/published_runs.py.
"""

from ml_collections import ConfigDict

from mio_jax.config_loading import to_config_dict
from mio_jax.recipes.mio.published_runs import curriculum


def get_config() -> ConfigDict:
    return to_config_dict(curriculum("7b", 4, "weights/yi-6b-mio"))
