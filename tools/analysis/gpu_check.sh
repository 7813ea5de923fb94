#!/usr/bin/env bash
# Check in ten minutes what only a GPU can show: the Triton kernels and the lean loss against their
# definitions, a step in mixed precision, what the lean step saves, and mamba-ssm's scan.
#
#   tools/analysis/gpu_check.sh              with .venv/bin/python
#   PY=python tools/analysis/gpu_check.sh    with another Python
#
# Without a GPU it runs the first part alone: Triton's kernels then run in Triton's interpreter.
set -euo pipefail
cd "$(dirname "$0")/../.."
PY=${PY:-.venv/bin/python}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

title() { printf '\n## %s\n\n' "$1"; }

gpu=$("$PY" -c 'import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else "")')
echo "device: ${gpu:-CPU}"

title 'Parity: the Triton scan and the lean loss'
"$PY" -m pytest -q -p no:cacheprovider tests/ops/test_triton_scan.py \
    tests/ops/test_upsampled_cross_entropy.py tests/ops/test_upsampled_divergence.py

if [ -z "$gpu" ]; then
    echo 'no GPU: the other checks are left out'
    exit
fi

title 'The lean loss'
timeout 120 "$PY" tools/analysis/benchmark_lean.py loss --repeats 20
title 'The step, in float32 and in mixed precision'
timeout 90 "$PY" tools/analysis/benchmark_lean.py step --size 512 1024 --batch 2 --repeats 20
timeout 90 "$PY" tools/analysis/benchmark_lean.py step --size 512 1024 --batch 2 --repeats 20 --amp
title 'Memory: UPerHead with 150 classes'
timeout 90 "$PY" tools/analysis/benchmark_lean.py memory \
    --config configs/segformer_vmamba_freq_ade20k.py --size 512 512 --batch 4

title 'mamba-ssm'
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if timeout 150 "$PY" -m pip install --quiet --no-deps --no-build-isolation --target "$folder" \
    mamba-ssm; then
    PYTHONPATH="$folder:$PYTHONPATH" "$PY" -m pytest -q -p no:cacheprovider \
        tests/ops/test_selective_scan.py -k scan_backend_mamba_equals_definition
else
    echo 'mamba-ssm does not install here'
fi
