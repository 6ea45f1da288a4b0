"""A Unified-IO 2 fine-tuned on your own pictures and captions: it describes pictures, and draws from descriptions.

Command:   mio data prepare --config configs/unified_io2/own_pictures.py --sets pictures
           mio train --config configs/unified_io2/own_pictures.py
Hardware:  2 CPU cores for the tiny one; set model.preset, tokenizers and start_from for a published one
Data:      own/pictures/captions.csv and the pictures that it names (mio_jax/data/sources/captioned.py)
Result:    docs/recipes/unified_io2.md

Everything that is not said here is as in `quickstart.py`, whose run it starts from.
"""

import dataclasses
from pathlib import Path

from ml_collections import ConfigDict

from mio_jax.config import AddedSet
from mio_jax.config_loading import load_config_file, to_config_dict

KINDS = ("image_captioning", "text_to_image")


def get_config() -> ConfigDict:
    base = load_config_file(Path(__file__).with_name("quickstart.py"))
    pictures = AddedSet("pictures", "mio_jax.data.sources.captioned:Captioned", "own_pictures", KINDS)
    stage = dataclasses.replace(
        base.stages[-1],
        name="finetune",
        steps=300,
        mixture="own_pictures",
        optim=dataclasses.replace(base.stages[-1].optim, learning_rate=3e-4),
    )
    data = dataclasses.replace(base.data, records_dir="data/own_pictures", raw_dir="own", added=(pictures,))
    return to_config_dict(
        base.replace(
            name="own_pictures",
            run_dir="runs/own_pictures",
            start_from="runs/unified_io2",
            stages=(stage,),
            data=data,
        )
    )
