#!/usr/bin/env bash
# tract 0.23.9: ReduceLogSumExp of two logits of 100 is infinite.
#
# log(e^100 + e^100) = 100 + log 2. onnxruntime and PyTorch say so, and ONNX defines the operator in
# float64, where it is finite.
# Seen: infinity, since float32 has no e^100 and the maximum is not taken out first.
# The exit status is 1 if this changes. PYTHON names another Python than python3.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" tract==0.23.9 onnxruntime==1.31.1 onnx==1.23.2
"$python" - <<'PYTHON'
import sys

import numpy as np
import tract
from graphs import run_tract as run

expected, found = run(
    'g (float[1,2] x) => (float[1,1] y) <int64[1] axes = {1}> { y = ReduceLogSumExp(x, axes) }',
    x=np.full((1, 2), 100, np.float32),
)
print('tract', tract.version(), found, 'onnxruntime', expected)
sys.exit(not np.allclose(expected, 100 + np.log(2)) or not np.isinf(found).all())
PYTHON
