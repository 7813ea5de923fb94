#!/usr/bin/env bash
# MNN 3.6.1: Gemm with transA=1 gives the numbers of the product in another order.
#
# Expected: transpose(a) @ w, of shape (3, 2). Seen: the transpose of that, read as (3, 2), so that
# four of six values are elsewhere, without a warning. MatMul of a Transpose is right.
# The exit status is 1 if this changes. PYTHON names another Python than python3.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" MNN==3.6.1 onnx==1.23.2 onnxruntime==1.31.1
"$python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from graphs import run_mnn as run

a = np.arange(6, dtype=np.float32).reshape(2, 3)
w = np.array([[1, 2], [3, 4]], np.float32)
product = a.T @ w
graph = 'g (float[2, 3] a) => (float[3, 2] y) <float[2, 2] w = {1, 2, 3, 4}> { %s }'
found = {}
for name, nodes in (
    ('transA', 'y = Gemm<transA = 1>(a, w)'),
    ('transpose', 't = Transpose<perm = [1, 0]>(a) y = MatMul(t, w)'),
):
    expected, found[name] = run(graph % nodes, a=a)
    assert (expected == product).all()
    print(name, 'onnxruntime', expected.tolist(), 'MNN', found[name].tolist())
print('MNN', version('MNN'))
same = (found['transpose'] == product).all()
seen = (found['transA'] == product.T.reshape(3, 2)).all()
sys.exit(not (same and seen))
PYTHON
