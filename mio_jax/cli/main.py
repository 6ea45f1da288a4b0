"""The `mio` command: picks a subcommand, imports only that one, and turns expected errors into one line."""

from __future__ import annotations

import argparse
import difflib
import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from mio_jax.config_loading import parse_args
from mio_jax.errors import MioError


class Command(NamedTuple):
    """A subcommand: the module has `SUMMARY`, `add_arguments(parser)` and `run(args) -> int`."""

    module: str
    summary: str  # kept here too, so that `mio --help` imports nothing


COMMANDS = {
    "quickstart": Command(
        "mio_jax.cli.quickstart", "prepare, train, evaluate and report in one go; resumes where it stopped"
    ),
    "data": Command("mio_jax.cli.data", "prepare token records; list and show tasks and mixtures"),
    "tokenizer": Command("mio_jax.cli.tokenizer", "train and evaluate tokenizers"),
    "config": Command("mio_jax.cli.config", "print a resolved config, and where each value came from"),
    "train": Command("mio_jax.cli.train", "train a run, or resume one"),
    "status": Command("mio_jax.cli.status", "one page about a run: state, rate, losses, goodput, disk"),
    "ckpt": Command("mio_jax.cli.ckpt", "list, show and compare the checkpoints of runs"),
    "weights": Command("mio_jax.cli.weights", "import published weights as a run, or export a run under their names"),
    "plan": Command("mio_jax.cli.plan", "compile a config for a TPU pod without having it: memory, time, days"),
    "generate": Command("mio_jax.cli.generate", "any modality out of any modality, from a trained run"),
    "chat": Command("mio_jax.cli.chat", "talk to a trained run in the terminal, with pictures and sounds"),
    "serve": Command("mio_jax.cli.serve", "serve conversations with a trained run as JSON, many at once"),
    "eval": Command("mio_jax.cli.evaluate", "score a run on held-out data, direction by direction"),
    "report": Command("mio_jax.cli.report", "draw a run's report: one HTML file that opens by itself"),
}

EXAMPLES = """\
first steps:
  mio quickstart                                         the whole way, on real media, in half an hour on two cores
  mio data list                                          every task and mixture, with counts
  mio data show mio_openmoji_text_to_image --out shown/  look at examples, with their pictures and sounds
  mio train --config configs/quickstart.py               train by a config file
  mio train --config configs/quickstart.py --config.stages.alignment.steps=50 --config.model.depth=4
  mio train --run runs/quickstart                        resume a run from its own folder
  mio generate --run runs/quickstart --ask image --prompt "red heart" --out out/
  mio eval --run runs/quickstart && mio report --run runs/quickstart

`mio COMMAND --help` explains one command. Docs: docs/quickstart.md, docs/configuration.md.
"""


class Parser(argparse.ArgumentParser):
    """Reports a usage error as one line, like every other error of this command."""

    def error(self, message: str) -> NoReturn:
        raise MioError(f"{message} (see `{self.prog} --help`)")


def usage() -> str:
    """What `mio --help` prints."""
    width = max(map(len, COMMANDS))
    lines = "\n".join(f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items())
    return f"usage: mio COMMAND [options]\n\nAny-to-any multimodal models in JAX.\n\ncommands:\n{lines}\n\n{EXAMPLES}"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0 done, 2 bad input (one line on stderr), 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(words)
    except MioError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: run the same command again to go on from the last checkpoint", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `mio data list | head`: the reader has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        where = f" while writing {error.filename}" if error.filename else ""
        print(f"error: the disk is full{where}; free some space and run the same command again", file=sys.stderr)
        return 2


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage(), end="")
        return 0
    if words[0] == "--version":
        from mio_jax import __version__

        print(f"mio_jax {__version__}")
        return 0
    name, rest = words[0], words[1:]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean `mio {near[0]}`?" if near else f"commands: {', '.join(COMMANDS)}"
        raise MioError(f"mio has no command {name!r}; {hint}")
    module = importlib.import_module(COMMANDS[name].module)
    parser = Parser(
        prog=f"mio {name}",
        description=module.__doc__ or module.SUMMARY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    return int(module.run(parse_args(parser, rest)))


def entry() -> None:
    """The console script."""
    sys.exit(main())


if __name__ == "__main__":
    entry()
