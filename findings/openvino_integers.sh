#!/usr/bin/env bash
# OpenVINO 2026.4.1: on the CPU uint8 saturates and int32 is compared as float32.
#
# ONNX: uint8 wraps, as in NumPy and PyTorch; integers compare as integers.
# Seen: 250 + 10 = 255 and 5 - 10 = 0 in uint8; 2^24 + 1 > 2^24 is False in int32.
# The exit status is 1 if this changes. PYTHON names another Python than python3.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" openvino==2026.4.1 onnxruntime==1.31.1 onnx==1.23.2
"$python" - <<'PYTHON'
import sys

import numpy as np
import openvino
from graphs import run_openvino as run

def binary(operation, kind, result, a, b):
    """Return what onnxruntime and OpenVINO compute from two numbers."""
    graph = f'g ({kind}[1] a, {kind}[1] b) => ({result}[1] y) {{ y = {operation}(a, b) }}'
    expected, found = run(graph, a=np.array([a], kind), b=np.array([b], kind))
    print(f'{operation}({a}, {b}) in {kind}: onnxruntime {expected}, OpenVINO {found}')
    return expected.item(), found.item()


seen = [
    binary('Add', 'uint8', 'uint8', 250, 10),
    binary('Sub', 'uint8', 'uint8', 5, 10),
    binary('Greater', 'int32', 'bool', 2**24 + 1, 2**24),
]
print('openvino', openvino.__version__)
sys.exit(seen != [(4, 255), (251, 0), (True, False)])
PYTHON
