"""Training: `train(config)` runs the stages of a config, `load_run(folder)` reads the result.

Reaches recipes only through `mio_jax.protocols`. Imports without TensorFlow, SeqIO, Grain and ml_collections.
"""

from mio_jax.train.progress import Progress
from mio_jax.train.run import Run, load_run, restore_params
from mio_jax.train.signals import Stopped
from mio_jax.train.stages import train

__all__ = ["Progress", "Run", "Stopped", "load_run", "restore_params", "train"]
