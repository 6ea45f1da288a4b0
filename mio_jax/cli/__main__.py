"""`python -m mio_jax.cli`: the `mio` command for launchers that want a module."""

from mio_jax.cli.main import entry

entry()
