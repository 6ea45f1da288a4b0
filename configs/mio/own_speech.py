"""A MIO fine-tuned on your own recordings and their transcripts: it writes down speech, and speaks what is written.

Command:   mio data prepare --config configs/mio/own_speech.py --sets speech
           mio train --config configs/mio/own_speech.py
Hardware:  1 CPU core for the tiny one; set model.preset, tokenizers and start_from for a published one
Data:      own/speech/: sound files with a .txt beside each, or a table (mio_jax/data/sources/speech.py)
Result:    docs/recipes/mio.md

Everything that is not said here is as in `speech_tiny.py`, whose run it starts from.
"""

import dataclasses
from pathlib import Path

from ml_collections import ConfigDict

from mio_jax.config import AddedSet
from mio_jax.config_loading import load_config_file, to_config_dict

KINDS = ("speech_to_text", "text_to_speech")


def get_config() -> ConfigDict:
    base = load_config_file(Path(__file__).with_name("speech_tiny.py"))
    speech = AddedSet("speech", "mio_jax.data.sources.speech:SpeechFolder", "own_speech", KINDS)
    stage = dataclasses.replace(
        base.stages[-1],
        name="finetune",
        steps=300,
        mixture="own_speech",
        optim=dataclasses.replace(base.stages[-1].optim, learning_rate=1e-3),
    )
    data = dataclasses.replace(base.data, records_dir="data/own_speech", raw_dir="own", added=(speech,))
    return to_config_dict(
        base.replace(
            name="own_speech",
            run_dir="runs/own_speech",
            start_from="runs/speech_tiny",
            stages=(stage,),
            data=data,
        )
    )
