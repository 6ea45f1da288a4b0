#!/usr/bin/env bash
# MIO-7B's four stages on 16 nodes of 8 GPUs, the machine of the paper's stages I and II. Options go to launch.slurm:
#   launch/mio_7b_128_gpus.sh --dry-run
# Weights and moments are split over the GPUs of a node, whose links are fast; nodes hold copies and add up gradients.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python -m launch.slurm --name mio_7b --nodes 16 --gpus 8 --cpus 12 --time 72:00:00 "$@" -- \
  --config configs/mio/curriculum_7b.py --config.mesh.data=16 --config.mesh.fsdp=8
