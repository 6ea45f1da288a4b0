"""Trains on TPU slices of a GKE cluster that XPK has made: writes a JobSet manifest and applies it.

    xpk cluster create --cluster mio --tpu-type v5p-128 --num-slices 2        # once; brings JobSet and Kueue
    python -m launch.gke --name mio-7b --image IMAGE --chip v5p --topology 4x4x4 --slices 2 --dry-run -- --config ...
    xpk workload list --cluster mio

The manifest has XPK's labels and queue, so its commands know the workload. One job a slice, one pod a host; a pod that
fails brings all of them down and up again, at most --restarts times, and training goes on from the last checkpoint. A
wrong config (status 2) ends the whole at once. --claim is a persistent volume claim that all pods share, mounted at
--mount, where data and run_dir must lie. The image holds the repository in /mio_jax with its environment.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from launch.actions import TRAIN, Actions, Parser, entry, need_config
from mio_jax.errors import MioError

# Chip -> (GKE's name of the accelerator, chips of a host of a larger slice, numbers in a topology)
CHIPS = {
    "v4": ("tpu-v4-podslice", 4, 3),
    "v5e": ("tpu-v5-lite-podslice", 4, 2),
    "v5p": ("tpu-v5p-slice", 4, 3),
    "v6e": ("tpu-v6e-slice", 4, 2),
    "tpu7x": ("tpu7x", 4, 3),
}
ONE_HOST = {"v5e": 8, "v6e": 8}  # slices up to this size are one host
WRONG_INPUT = 2  # exit status of `mio` for what would be just as wrong a second time


def hosts(chip: str, topology: str) -> tuple[int, int]:
    """(hosts of a slice, chips of each). Raises MioError if the chip has no such topology."""
    _, each, numbers = CHIPS[chip]
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", topology) or topology.count("x") != numbers - 1:
        example = "x".join(["4"] * numbers)
        raise MioError(f"--topology {topology}: {chip} has {numbers} numbers in a topology, e.g. {example}")
    chips = math.prod(map(int, topology.split("x")))
    if chips <= ONE_HOST.get(chip, each):
        return 1, chips
    if chips % each:
        raise MioError(f"--topology {topology}: {chips} chips do not fill hosts of {each}")
    return chips // each, each


def manifest(args: argparse.Namespace, train: Sequence[str]) -> dict[str, Any]:
    """The JobSet as plain data."""
    need_config(train)
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", args.name):
        raise MioError(f"--name {args.name}: a letter, then at most 39 small letters, digits and dashes")
    if args.slices < 1:
        raise MioError(f"--slices is {args.slices}; it must be at least 1")
    count, chips = hosts(args.chip, args.topology)
    labels = {"xpk.google.com/workload": args.name}
    container: dict[str, Any] = {
        "name": "train",
        "image": args.image,
        "workingDir": "/mio_jax",
        "command": [*TRAIN, "--coordinator", "auto", *train],
        "ports": [{"containerPort": 8471}, {"containerPort": 8080}],
        "resources": {"limits": {"google.com/tpu": chips}},
    }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": args.grace,  # SIGTERM: the step is finished and a checkpoint saved
        "hostNetwork": True,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "nodeSelector": {
            "cloud.google.com/gke-tpu-accelerator": CHIPS[args.chip][0],
            "cloud.google.com/gke-tpu-topology": args.topology,
        },
        "containers": [container],
    }
    if args.claim:
        container["volumeMounts"] = [{"name": "shared", "mountPath": args.mount}]
        pod["volumes"] = [{"name": "shared", "persistentVolumeClaim": {"claimName": args.claim}}]
    job = {
        "parallelism": count,
        "completions": count,
        "backoffLimit": 0,
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": "train", "operator": "In", "values": [WRONG_INPUT]},
                }
            ]
        },
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {
            "name": args.name,
            "namespace": args.namespace,
            "labels": {"kueue.x-k8s.io/queue-name": args.queue, **labels},
            "annotations": {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"},
        },
        "spec": {
            "failurePolicy": {
                "maxRestarts": args.restarts,
                "rules": [{"name": "wrongInput", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}],
            },
            "replicatedJobs": [{"name": "slice", "replicas": args.slices, "template": {"spec": job}}],
        },
    }


class _Dumper(yaml.SafeDumper):
    """Writes what occurs twice twice: anchors are hard to read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def main(argv: Sequence[str]) -> int:
    parser = Parser(__doc__)
    parser.add_argument("--name", required=True, help="of the workload")
    parser.add_argument("--image", required=True, help="with the repository and its environment in /mio_jax")
    parser.add_argument("--chip", required=True, choices=tuple(CHIPS))
    parser.add_argument("--topology", required=True, help="of a slice, e.g. 4x4x4")
    parser.add_argument("--slices", type=int, default=1)
    parser.add_argument("--restarts", type=int, default=100)
    parser.add_argument("--grace", type=int, default=300, help="seconds to save in when it is asked to stop (300)")
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--queue", default="multislice-queue", help="Kueue's local queue (XPK's: multislice-queue)")
    parser.add_argument("--claim", help="persistent volume claim that all pods share")
    parser.add_argument("--mount", default="/mnt/shared", help="where it is mounted (/mnt/shared)")
    parser.add_argument("--out", default="runs/gke", help="folder of the manifest")
    args, train = parser.parse(argv)
    path = Path(args.out) / f"{args.name}.yaml"
    text = yaml.dump(manifest(args, train), Dumper=_Dumper, sort_keys=False, width=120)
    return Actions([["kubectl", "apply", "-f", str(path)]], {path: text}).carry_out(dry_run=args.dry_run)


if __name__ == "__main__":
    entry(main)
