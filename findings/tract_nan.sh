#!/usr/bin/env bash
# tract 0.23.9: Sigmoid of NaN is 4.8e-7 and Tanh of NaN is -0.9999993.
#
# PyTorch, NumPy and onnxruntime: NaN.
# Seen: numbers, so that a detector whose network broke finds nothing and tells nobody.
# The exit status is 1 if this changes. PYTHON names another Python than python3.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" tract==0.23.9 onnxruntime==1.31.1 onnx==1.23.2
"$python" - <<'PYTHON'
import sys

import numpy as np
import tract
from graphs import run_tract as run

x = np.full(4, np.nan, np.float32)
found = {}
for layer in ('Sigmoid(x)', 'Tanh(x)'):
    expected, value = run('g (float[4] x) => (float[4] y) { y = %s }' % layer, x=x)
    print(layer, 'onnxruntime', expected[0], 'tract', value[0])
    assert np.isnan(expected).all()
    found[layer] = value[0].item()
print('tract', tract.version())
sys.exit(not 0 < found['Sigmoid(x)'] < 1e-6 or found['Tanh(x)'] > -0.99)
PYTHON
