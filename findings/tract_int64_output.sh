#!/usr/bin/env bash
# tract 0.23.9: an int64 output cannot be read from Python.
#
# Expected: an array of integers, such as class ids or a shape.
# Seen: tract turns int64 into its own type of dimensions, and to_numpy() refuses that type. Cast
# class ids to int32 in the model.
# The exit status is 1 if this changes. PYTHON names another Python than python3.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" tract==0.23.9 onnxruntime==1.31.1 onnx==1.23.2
"$python" - <<'PYTHON'
import sys

import numpy as np
import tract
from graphs import run_tract as run

x = np.array([1.5, 2.5], np.float32)
print(run('g (float[2] x) => (int32[2] y) { y = Cast <to=6> (x) }', x=x))
try:
    run('g (float[2] x) => (int64[2] y) { y = Cast <to=7> (x) }', x=x)
except Exception as error:
    print('tract', tract.version(), str(error).splitlines()[0])
    sys.exit('TDim' not in str(error))
sys.exit(1)
PYTHON
