#!/usr/bin/env bash
# Runs on every host of a TPU pod (launch/tpu_pod.py starts it): makes the environment, then trains, and goes on after a
# stop or a lost host.   bash launch/tpu_worker.sh RESTARTS WORDS-FOR-MIO-TRAIN...
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
restarts="$1"
shift

scripts/bootstrap.sh base || exit 1
if ! .venv/bin/python -c "import libtpu" 2> /dev/null; then
  version="$(.venv/bin/python -c 'import sys; print(f"{sys.version_info[0]}{sys.version_info[1]}")')"
  .venv/bin/pip install --quiet --constraint "constraints/py$version.txt" --editable ".[tpu]" || exit 1
fi

for ((attempt = 0; ; attempt++)); do
  # Hosts find each other through the pod's metadata.
  .venv/bin/mio train --coordinator auto "$@"
  status=$?
  # 75: another host has ended; 128 and above: this process was killed. Whatever else happened would happen again.
  if [ "$status" -ne 75 ] && [ "$status" -lt 128 ]; then exit "$status"; fi
  if [ "$attempt" -ge "$restarts" ]; then exit "$status"; fi
  echo "status $status: starting again from the last checkpoint ($((attempt + 1)) of $restarts)"
  sleep 10
done
