#!/usr/bin/env bash
# OpenVINO 2026.4.1: Relu, Clip and Exp of NaN are 0, the lower bound and infinity.
#
# PyTorch, NumPy and onnxruntime: an operation on NaN gives NaN.
# Seen: numbers, so that a network that broke looks well.
# The exit status is 1 if this changes. PYTHON names another Python than python3.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" openvino==2026.4.1 onnxruntime==1.31.1 onnx==1.23.2
"$python" - <<'PYTHON'
import sys

import numpy as np
import openvino
from graphs import run_openvino as run

x = np.full(1, np.nan, np.float32)
found = {}
for layer in ('Relu(x)', 'HardSigmoid(x)', 'Clip(x, low, high)', 'Exp(x)'):
    graph = 'g (float[1] x) => (float[1] y) <float low = {-1}, float high = {2}> { y = %s }'
    expected, value = run(graph % layer, x=x)
    print(layer, 'onnxruntime', expected, 'OpenVINO', value)
    assert np.isnan(expected).all()
    found[layer] = value.item()
print('openvino', openvino.__version__)
sys.exit(list(found.values()) != [0, 1, -1, np.inf])
PYTHON
