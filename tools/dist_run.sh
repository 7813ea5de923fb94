#!/usr/bin/env bash
# Run a tool on several processes; used by dist_train.sh and dist_test.sh.
#
#   tools/dist_run.sh TOOL GPUS CONFIG [options of the tool]
#   NNODES, NODE_RANK, MASTER_ADDR, PORT: for several machines, as usual
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$([ -x "$root/.venv/bin/python" ] && echo "$root/.venv/bin/python" || echo python)}
PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m torch.distributed.run \
    --nnodes="${NNODES:-1}" \
    --node_rank="${NODE_RANK:-0}" \
    --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" \
    --nproc_per_node="$2" \
    "$root/tools/$1" --launcher pytorch "${@:3}"
