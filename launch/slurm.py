"""Trains on several GPU nodes of a Slurm cluster: writes an sbatch script and submits it.

    python -m launch.slurm --nodes 4 --gpus 8 --time 24:00:00 --dry-run -- --config configs/quickstart.py

One process a GPU, which is how JAX reads Slurm's environment. Two minutes before the time limit the run is asked to
stop; it saves a checkpoint, and the job puts itself back into the queue and goes on from there, at most --requeues
times. The same happens when a node is lost. The repository, its .venv, the data and the run directory must lie on a
file system that all nodes see.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

from launch.actions import PEER_LOST, STOPPED, TRAIN, Actions, Parser, entry, need_config
from mio_jax.errors import MioError

SCRIPT = """\
#!/usr/bin/env bash
#SBATCH --job-name={name}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node={gpus}
#SBATCH --gpus-per-node={gpus}
#SBATCH --cpus-per-task={cpus}
#SBATCH --time={time}
#SBATCH --output={logs}/%x-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@120
{extra}set -uo pipefail
cd {folder} || exit 1

# Every process is one task; jax.distributed finds the first node, the count and its own number in Slurm's variables.
srun --kill-on-bad-exit=1 {command}
status=$?

# Stopped on request, or a node was lost: the same command goes on from the last checkpoint.
if [ "$status" -eq {stopped} ] || [ "$status" -eq {lost} ] || [ "$status" -gt 128 ]; then
  if [ "${{SLURM_RESTART_COUNT:-0}}" -lt {requeues} ]; then
    echo "status $status: back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
  fi
fi
exit "$status"
"""


def script(args: argparse.Namespace, train: Sequence[str]) -> str:
    """The sbatch script. Raises MioError for a size that makes no sense."""
    for name in ("nodes", "gpus", "cpus"):
        if getattr(args, name) < 1:
            raise MioError(f"--{name} is {getattr(args, name)}; it must be at least 1")
    need_config(train)
    return SCRIPT.format(
        name=args.name,
        nodes=args.nodes,
        gpus=args.gpus,
        cpus=args.cpus,
        time=args.time,
        logs=args.logs,
        requeues=args.requeues,
        extra="".join(f"#SBATCH {option}\n" for option in args.sbatch),
        folder=shlex.quote(str(Path(args.folder).absolute())),
        command=shlex.join([*TRAIN, "--coordinator", "auto", *train]),
        stopped=STOPPED,
        lost=PEER_LOST,
    )


def main(argv: Sequence[str]) -> int:
    parser = Parser(__doc__)
    parser.add_argument("--name", default="mio", help="of the job")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--gpus", type=int, default=8, help="of a node (8)")
    parser.add_argument("--cpus", type=int, default=8, help="of a GPU (8)")
    parser.add_argument("--time", default="24:00:00", help="limit of one stay on the nodes (24:00:00)")
    parser.add_argument("--requeues", type=int, default=20, help="how often the job goes back into the queue (20)")
    parser.add_argument("--folder", default=".", help="the repository, as the nodes see it")
    parser.add_argument("--logs", default="runs/slurm", help="folder of the logs and the script")
    parser.add_argument("--sbatch", action="append", default=[], metavar="OPTION", help="e.g. --sbatch=--partition=gpu")
    args, train = parser.parse(argv)
    path = Path(args.logs) / f"{args.name}.sbatch"
    actions = Actions([["sbatch", str(path)]], {path: script(args, train)})
    return actions.carry_out(dry_run=args.dry_run)


if __name__ == "__main__":
    entry(main)
