"""Train a run by a config, or go on with one from its own folder.

A run that was interrupted, however it was, goes on from its last checkpoint when the same command is given again;
one that is finished says so. `--run DIR` needs nothing but the folder.
"""

from __future__ import annotations

import argparse
import sys

from mio_jax.config_loading import add_config_arguments, config_from_args, config_given
from mio_jax.errors import MioError

SUMMARY = "train a run, or resume one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_arguments(parser)
    parser.add_argument("--run", metavar="DIR", help="resume the run in this folder with its stored config")
    parser.add_argument("--profile", metavar="FIRST:LAST", help="trace these steps of the run, e.g. 10:13")
    job = parser.add_argument_group("several processes (start the same command in each)")
    job.add_argument("--coordinator", metavar="HOST:PORT", help="default: JAX_COORDINATOR_ADDRESS; auto: find out")
    job.add_argument("--num_processes", metavar="N", type=int, help="default: JAX_NUM_PROCESSES")
    job.add_argument("--process_id", metavar="I", type=int, help="which of them this is; default: JAX_PROCESS_ID")
    job.add_argument(
        "--heartbeat_seconds", metavar="S", type=int, default=30, help="end when another is silent for so long (30)"
    )
    job.add_argument("--join_seconds", metavar="S", type=int, default=300, help="wait so long for all to start (300)")


def run(args: argparse.Namespace) -> int:
    """Trains; 0 when the run is finished, 143 after SIGTERM, 130 after Ctrl-C (a checkpoint is saved in both cases),
    75 when another process of the job has ended."""
    if args.run and config_given(args):
        raise MioError(
            "--run resumes with the config stored in the run; leave --config and --gin_file out, or leave --run out"
        )
    from mio_jax.parallel.distributed import job_from, joined
    from mio_jax.train import Stopped, train
    from mio_jax.train.compilation import use_compilation_cache
    from mio_jax.train.run_dir import load_config
    from mio_jax.train.trace import parse_steps

    profile = parse_steps(args.profile) if args.profile else None
    config = load_config(args.run) if args.run else config_from_args(args)
    use_compilation_cache()
    flags = (args.coordinator, args.num_processes, args.process_id, args.heartbeat_seconds, args.join_seconds)
    with joined(job_from(*flags)):
        try:
            train(config, profile)
        except Stopped as stopped:
            print(
                f"stopped at {stopped.where}, with a checkpoint; go on with: mio train --run {config.run_dir}",
                file=sys.stderr,
                flush=True,
            )
            return int(stopped.code or 1)
    return 0
