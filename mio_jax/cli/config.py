"""Prints a resolved config and where each value came from: a default, a file, or the command line.

mio config show --config configs/quickstart.py --config.model.depth=4
mio config show --gin_file configs/gin/quickstart.gin --gin.BATCH_SIZE=16 [--changed] [--json]
mio config show --run runs/quickstart
"""

from __future__ import annotations

import argparse
import json

from mio_jax.config import RunConfig
from mio_jax.config_loading import add_config_arguments, config_given, load_json, to_dict
from mio_jax.config_origins import DEFAULT, entries, entries_from_args
from mio_jax.errors import MioError

SUMMARY = "print a resolved config, and where each value came from"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("show",))
    add_config_arguments(parser)
    parser.add_argument("--run", metavar="DIR", help="the config stored in a run")
    parser.add_argument("--changed", action="store_true", help="leave out what has its default")
    parser.add_argument("--json", action="store_true", help="the resolved config alone, as config.json of a run has it")


def run(args: argparse.Namespace) -> int:
    if args.run and config_given(args):
        raise MioError(
            "--run shows the config stored in the run; leave --config and --gin_file out, or leave --run out"
        )
    if args.run:
        file = f"{args.run}/config.json"
        config = load_json(RunConfig, file)
        found = entries(config, file)
    else:
        config, found = entries_from_args(args)
    if args.json:
        print(json.dumps(to_dict(config), indent=2, ensure_ascii=False))
        return 0
    shown = [entry for entry in found if entry.origin != DEFAULT or not args.changed]
    lines = [f"{entry.path} = {json.dumps(entry.value, ensure_ascii=False)}" for entry in shown]
    width = min(72, max(map(len, lines), default=0))
    for line, entry in zip(lines, shown, strict=True):
        print(f"{line:<{width}}  # {entry.origin}")
    return 0
