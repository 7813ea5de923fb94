#!/usr/bin/env bash
# tract 0.23.9: GlobalLpPool takes the mean over the pixels, ONNX the sum.
#
# ONNX: the p-norm over all pixels, here sqrt(3^2 + 4^2) = 5.
# Seen: sqrt((3^2 + 4^2) / 2) = 3.54.
# The exit status is 1 if this changes. PYTHON names another Python than python3.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" tract==0.23.9 onnxruntime==1.31.1 onnx==1.23.2
"$python" - <<'PYTHON'
import sys

import numpy as np
import tract
from graphs import run_tract as run

expected, found = run(
    'g (float[1,1,1,2] x) => (float[1,1,1,1] y) { y = GlobalLpPool <p=2> (x) }',
    x=np.array([[[[3, 4]]]], np.float32),
)
print('tract', tract.version(), found, 'onnxruntime', expected)
sys.exit(not np.allclose(expected, 5) or not np.allclose(found, 5 / np.sqrt(2)))
PYTHON
