#!/usr/bin/env bash
# tract 0.23.9: Equal of two booleans is refused, so that PyTorch's // fails.
#
# ONNX has Equal of booleans since version 7, and PyTorch 2.11 exports // of integers with it.
# Seen: the model loads and its first run is an error, "Bool is not a number".
# The exit status is 1 if this changes. PYTHON names another Python than python3.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" tract==0.23.9 onnxruntime==1.31.1 onnx==1.23.2
"$python" - <<'PYTHON'
import sys

import numpy as np
import tract
from graphs import run_tract as run

x = np.array([1, 2, 3], np.float32)
graph = 'g (float[3] x) => (bool[3] y) <float two = {2}> { a = Less(x, two) b = Greater(x, two) '
print(run(graph + 'y = Xor(a, b) }', x=x))
try:
    run(graph + 'y = Equal(a, b) }', x=x)
except Exception as error:
    print('tract', tract.version(), [line.strip() for line in str(error).splitlines()[:4]])
    sys.exit('Bool is not a number' not in str(error))
sys.exit(1)
PYTHON
