#!/usr/bin/env bash
# MNN 3.6.1: auto_pad=SAME_LOWER pads below and right, as SAME_UPPER does.
#
# Expected: where an odd number of rows is to be added, SAME_LOWER adds the larger part at the top.
# Seen: Conv and MaxPool with stride 2 on an even size read one pixel further down and right, so that
# every feature after them is shifted, without a warning.
# The exit status is 1 if this changes. PYTHON names another Python than python3.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" MNN==3.6.1 onnx==1.23.2 onnxruntime==1.31.1
"$python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from graphs import run_mnn as run

x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
graph = """g (float[1, 1, 4, 4] x) => (float[1, 1, 2, 2] y)
<float[1, 1, 3, 3] w = {1, 0, 0, 0, 0, 0, 0, 0, 0}> { y = %s }"""
layers = dict(
    Conv='Conv<strides = [2, 2], auto_pad = "SAME_%s">(x, w)',
    MaxPool='MaxPool<kernel_shape = [3, 3], strides = [2, 2], auto_pad = "SAME_%s">(x)',
)
as_upper = []
for name, layer in layers.items():
    upper, found = run(graph % layer % 'UPPER', x=x)
    assert (found == upper).all()
    lower, found = run(graph % layer % 'LOWER', x=x)
    as_upper.append(bool((found == upper).all() and (lower != upper).any()))
    print(name, 'onnxruntime', lower.ravel().tolist(), 'MNN', found.ravel().tolist())
print('MNN', version('MNN'), 'pads as SAME_UPPER:', as_upper)
sys.exit(not all(as_upper))
PYTHON
