"""Trains on a TPU pod of Google Cloud, by queued resources.

    python -m launch.tpu_pod create --name mio --zone us-east5-a --type v5p-128 --spot --dry-run
    python -m launch.tpu_pod run    --name mio --zone us-east5-a --dry-run -- --config configs/quickstart.py
    python -m launch.tpu_pod status --name mio --zone us-east5-a
    python -m launch.tpu_pod logs   --name mio --zone us-east5-a
    python -m launch.tpu_pod delete --name mio --zone us-east5-a

`create` asks for the pod and returns; it is there when `status` says ACTIVE. `run` copies the committed state of this
repository to every host, where launch/tpu_worker.sh makes the environment and trains in the background. --setup is a
shell command for every host before that: it mounts the folder that all hosts share, on which data and run_dir must lie.
A spot pod that was pre-empted is deleted and created again, and the same `run` goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Sequence

from launch.actions import Actions, Parser, entry, need_config
from mio_jax.errors import MioError

# The system images that Google names for each kind of chip.
RUNTIMES = {
    "v4": "tpu-ubuntu2204-base",
    "v5litepod": "v2-alpha-tpuv5-lite",
    "v5p": "v2-alpha-tpuv5",
    "v6e": "v2-alpha-tpuv6e",
}
ARCHIVE = "mio_jax.tar.gz"
LOG = "mio_jax/train.log"


def _gcloud(args: argparse.Namespace, kind: str, *words: str) -> list[str]:
    project = [f"--project={args.project}"] if args.project else []
    return ["gcloud", "compute", "tpus", kind, *words, f"--zone={args.zone}", *project]


def nodes(args: argparse.Namespace) -> list[str]:
    """Names of the slices."""
    return [args.name] if args.slices == 1 else [f"{args.name}-{i}" for i in range(args.slices)]


def create(args: argparse.Namespace) -> Actions:
    """Asks for the slices. Raises MioError for a kind of chip without a known system image."""
    if not args.type:
        raise MioError("create needs --type, e.g. --type v5p-128")
    match = re.fullmatch(r"(\w+)-(\d+)", args.type)
    runtime = args.runtime or (RUNTIMES.get(match[1]) if match else None)
    if runtime is None:
        raise MioError(f"--type {args.type}: known are {', '.join(f'{k}-N' for k in RUNTIMES)}; or name its --runtime")
    where = (
        [f"--node-id={args.name}"]
        if args.slices == 1
        else [f"--node-prefix={args.name}", f"--node-count={args.slices}"]
    )
    words = [*where, f"--accelerator-type={args.type}", f"--runtime-version={runtime}"]
    words += ["--spot"] if args.spot else []
    words += [f"--valid-until-duration={args.wait}"] if args.wait else []
    return Actions([_gcloud(args, "queued-resources", "create", args.name, *words)])


def run(args: argparse.Namespace, train: Sequence[str]) -> Actions:
    """Copies the repository to every host and starts training there."""
    need_config(train)
    worker = shlex.join(["bash", "launch/tpu_worker.sh", str(args.restarts), *train])
    unpack = f"mkdir -p mio_jax && tar -xzf {ARCHIVE} -C mio_jax && cd mio_jax"
    setup = f" && {{ {args.setup}; }}" if args.setup else ""
    start = f"{unpack}{setup} && {{ nohup {worker} >> train.log 2>&1 < /dev/null & }}"
    commands = [["git", "archive", "--format=tar.gz", f"--output={ARCHIVE}", "HEAD"]]
    for node in nodes(args):
        commands.append(_gcloud(args, "tpu-vm", "scp", ARCHIVE, f"{node}:", "--worker=all"))
    for node in nodes(args):
        commands.append(_gcloud(args, "tpu-vm", "ssh", node, "--worker=all", f"--command={start}"))
    return Actions(commands)


def main(argv: Sequence[str]) -> int:
    parser = Parser(__doc__)
    parser.add_argument("action", choices=("create", "run", "status", "logs", "delete"))
    parser.add_argument("--name", required=True, help="of the request and its slices")
    parser.add_argument("--zone", required=True)
    parser.add_argument("--project", help="default: gcloud's")
    parser.add_argument("--slices", type=int, default=1, help="several are joined over the data-centre network (1)")
    parser.add_argument("--type", help="create: e.g. v5p-128, v6e-256")
    parser.add_argument("--runtime", help="create: the system image (default: by type)")
    parser.add_argument("--spot", action="store_true", help="create: cheaper, may be pre-empted")
    parser.add_argument("--wait", metavar="DURATION", help="create: give up waiting after this, e.g. 6h")
    parser.add_argument("--setup", metavar="COMMAND", help="run: on every host first, in the repository's folder")
    parser.add_argument("--restarts", type=int, default=100, help="run: how often a host starts again (100)")
    args, train = parser.parse(argv)
    if args.slices < 1:
        raise MioError(f"--slices is {args.slices}; it must be at least 1")
    if train and args.action != "run":
        raise MioError(f"{args.action} trains nothing; leave out what stands behind --")
    if args.action == "create":
        actions = create(args)
    elif args.action == "run":
        actions = run(args, train)
    elif args.action == "status":
        actions = Actions([_gcloud(args, "queued-resources", "describe", args.name)])
    elif args.action == "logs":
        first = nodes(args)[0]
        actions = Actions([_gcloud(args, "tpu-vm", "ssh", first, "--worker=0", f"--command=tail -n 50 -f {LOG}")])
    else:
        actions = Actions([_gcloud(args, "queued-resources", "delete", args.name, "--force", "--quiet")])
    return actions.carry_out(dry_run=args.dry_run)


if __name__ == "__main__":
    entry(main)
