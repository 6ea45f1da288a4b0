"""`python -m mio_jax`: the `mio` command."""

from mio_jax.cli.main import entry

entry()
