"""Starts `mio` processes quickly: everything slow to import is imported once, and each command is a fork of that.

Reads argument lists as JSON lines; answers each with the process id, and then, when it has ended, with its status as
`os.waitpid` gives it. Nothing of JAX is started before the fork: each process starts its own.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback

PRELOAD = (
    *("seqio", "grain", "optax", "tensorboardX", "array_record.python.array_record_module"),
    *("mio_tokenizers", "mio_tokenizers.text", "mio_tokenizers.image", "mio_tokenizers.audio"),
    *("mio_jax.cli.train", "mio_jax.train", "mio_jax.data.loader", "mio_jax.parallel.distributed"),
    *("mio_jax.recipes.mio.model", "mio_jax.recipes.mio.tasks", "mio_jax.recipes.mio.features"),
)


def child(words: list[str], log: str) -> int:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    from mio_jax.cli.main import main

    try:
        return main(words)
    except SystemExit as stop:
        return int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    for module in PRELOAD:
        importlib.import_module(module)
    print("ready", flush=True)
    for line in sys.stdin:
        words, log = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = child(words, log)
            sys.stdout.flush()
            os._exit(code)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)
