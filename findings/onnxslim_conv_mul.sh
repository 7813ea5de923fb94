#!/usr/bin/env bash
# onnxslim 0.1.98: weights of rows or columns after a convolution become weights of its channels.
#
# Mul aligns shapes from the right, so that [9] or [9, 1] after a Conv (1, 9, 9, 9) weighs columns or
# rows. Expected: the slimmed graph computes the same, as it does with [9, 1, 1], weights of channels.
# Seen: wherever the weights are as many as the output channels, they are folded into the kernels,
# and the result is another, without a warning. With Add instead of Mul, nothing is folded.
# The exit status is 1 if this changes. PYTHON names another Python than python3.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" onnxslim==0.1.98 onnxruntime==1.31.1 onnx==1.23.2
"$python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime
import onnxslim

GRAPH = """<ir_version: 9, opset_import: ["": 18]>
g (float[1, 4, 9, 9] x, float[9, 4, 3, 3] w, float[%s] k) => (float[1, 9, 9, 9] y) {
    c = Conv<pads = [1, 1, 1, 1]>(x, w)
    y = Mul(c, k)
}"""


def run(model, x):
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=['CPUExecutionProvider'])
    return session.run(None, dict(x=x))[0]


rng = np.random.default_rng(0)
x = rng.standard_normal((1, 4, 9, 9), np.float32)
w = rng.standard_normal((9, 4, 3, 3), np.float32)
found = {}
for name, shape in (('columns', (9,)), ('rows', (9, 1)), ('channels', (9, 1, 1))):
    model = onnx.parser.parse_model(GRAPH % ', '.join(map(str, shape)))
    del model.graph.input[1:]  # the weights are constants
    constants = dict(w=w, k=rng.standard_normal(shape, np.float32))
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, key) for key, value in constants.items()
    )
    onnx.checker.check_model(model, full_check=True)
    before = run(model, x)
    slim = onnxslim.slim(onnx.load_from_string(model.SerializeToString()))
    after = run(slim, x)
    found[name] = float(np.abs(after - before).max())
    operators = [node.op_type for node in slim.graph.node]
    print(f'weights of {name}: {operators}, largest difference {found[name]:.3g}')
print('onnxslim', version('onnxslim'))
sys.exit(not (found['columns'] > 1 and found['rows'] > 1 and found['channels'] < 1e-3))
PYTHON
