#!/usr/bin/env bash
# Train on several processes of one or more machines: one per GPU, or over gloo on the CPU.
#
#   tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
#   NNODES, NODE_RANK, MASTER_ADDR, PORT: for several machines, as usual
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG GPUS [options of tools/train.py]" >&2
    exit 2
fi
exec "$(dirname "$0")/dist_run.sh" train.py "$2" "$1" "${@:3}"
