#!/usr/bin/env bash
# Evaluate on several processes of one or more machines: one per GPU, or over gloo on the CPU.
#
#   tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
#   NNODES, NODE_RANK, MASTER_ADDR, PORT: for several machines, as usual
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [options of tools/test.py]" >&2
    exit 2
fi
exec "$(dirname "$0")/dist_run.sh" test.py "$3" "$1" "$2" "${@:4}"
