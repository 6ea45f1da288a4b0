"""`python -m mio_jax.train` is `mio train`."""

import sys

from mio_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
