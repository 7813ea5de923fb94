#!/usr/bin/env bash
# OpenVINO 2026.4.1: QuantizeLinear with an odd zero point rounds ties the other way.
#
# ONNX: saturate(round(x / scale) + zero_point), and round takes ties to the even number.
# Seen: the zero point is added before rounding. With zero point 3 the values 0.5, 1.5, 2.5 become
# 4, 4, 6; ONNX and onnxruntime give 3, 5, 5.
# The exit status is 1 if this changes. PYTHON names another Python than python3.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" openvino==2026.4.1 onnxruntime==1.31.1 onnx==1.23.2
"$python" - <<'PYTHON'
import sys

import numpy as np
import openvino
from graphs import run_openvino as run

expected, found = run(
    """g (float[3] x) => (uint8[3] y) <float scale = {1}, uint8 zero = {3}>
    { y = QuantizeLinear(x, scale, zero) }""",
    x=np.array([0.5, 1.5, 2.5], np.float32),
)
print('openvino', openvino.__version__, found, 'onnxruntime', expected)
sys.exit(expected.tolist() != [3, 5, 5] or found.tolist() != [4, 4, 6])
PYTHON
