#!/usr/bin/env bash
# MNN 3.6.1: five reductions of one axis reduce all axes.
#
# From operator set 18 on, ONNX gives the axes of a reduction as an input. Expected: one value for
# each of the other positions. Seen: ReduceL1, ReduceL2, ReduceLogSum, ReduceLogSumExp and
# ReduceSumSquare of the channels give one number for the whole tensor, which then broadcasts: a
# normalised feature is divided by the wrong norm, without a warning. ReduceSum is right.
# The exit status is 1 if this changes. PYTHON names another Python than python3.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" MNN==3.6.1 onnx==1.23.2 onnxruntime==1.31.1
"$python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from graphs import run_mnn as run

names = ['L1', 'L2', 'LogSum', 'LogSumExp', 'SumSquare']
x = np.arange(1, 25, dtype=np.float32).reshape(1, 3, 2, 4) / 10
graph = """g (float[1, 3, 2, 4] x) => (float[1, 1, 2, 4] y) <int64[1] axes = {1}> {
    y = Reduce%s(x, axes)
}"""
every = """g (float[1, 3, 2, 4] x) => (float[1, 1, 1, 1] y) { y = Reduce%s(x) }"""
expected, found = run(graph % 'Sum', x=x)
assert np.allclose(found, expected)
all_axes = []
for name in names:
    expected, found = run(graph % name, x=x)
    total, _ = run(every % name, x=x)
    all_axes.append(found.size == 1 and np.allclose(found, total, rtol=1e-5))
    print(f'Reduce{name}: onnxruntime {expected.shape}, MNN {found.shape} {found.ravel()[:2]}')
print('MNN', version('MNN'), 'reduces all axes:', all_axes)
sys.exit(not all(all_axes))
PYTHON
