#!/usr/bin/env bash
# onnx 1.23.2: the reference evaluator computes LRN, LpNormalization and MaxPool otherwise than ONNX.
#
# ReferenceEvaluator is what people compare other runtimes with. Expected values are computed here
# from the operators' definitions; onnxruntime gives them.
# Seen:
# * LRN sums the squares for as many channels as the batch has images: with one image, for the first
#   channel alone, and the others pass unchanged.
# * LpNormalization with p=1 divides by the sum, not by the sum of absolute values. A vector that
#   sums to 0 becomes 0.
# * MaxPool with auto_pad=SAME_LOWER pads at the end, as with SAME_UPPER. AveragePool pads rightly.
# The exit status is 1 if this changes. PYTHON names another Python than python3.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" onnx==1.23.2 onnxruntime==1.31.1
"$python" - <<'PYTHON'
import sys
import warnings

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator

warnings.simplefilter('ignore')  # the evaluator's division by zero


def run(shape, node, x):
    """Return the output (N, ...) of the reference and of onnxruntime."""
    model = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["": 18]> '
        f'g (float[{shape[0]}] x) => (float[{shape[1]}] y) {{ y = {node} }}'
    )
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=['CPUExecutionProvider']
    )
    return ReferenceEvaluator(model).run(None, dict(x=x))[0], session.run(None, dict(x=x))[0]


def squares(x, channel):
    return (x[:, max(0, channel - 1) : channel + 2] ** 2).sum(1)


lrn = {}
for images in (1, 2):
    x = np.arange(1, 12 * images + 1, dtype=np.float32).reshape(images, 4, 1, 3)
    defined = np.stack([x[:, c] / (1 + squares(x, c) / 3) for c in range(4)], 1)
    node = 'LRN<size = 3, alpha = 1.0, beta = 1.0, bias = 1.0>(x)'
    reference, runtime = run((f'{images}, 4, 1, 3',) * 2, node, x)
    assert np.allclose(runtime, defined)
    right = [c for c in range(4) if np.allclose(reference[:, c], defined[:, c])]
    unchanged = [c for c in range(4) if (reference[:, c] == x[:, c]).all()]
    lrn[images] = right, unchanged
    print(f'LRN, {images} images: right channels {right}, unchanged channels {unchanged}')

norms = []
for values in ([1, -2, 3], [1, -1, 0]):
    x = np.array([values], np.float32)
    reference, runtime = run(('1, 3',) * 2, 'LpNormalization<axis = 1, p = 1>(x)', x)
    assert np.allclose(runtime, x / np.abs(x).sum())
    norms.append(reference[0].tolist())
    print('LpNormalization of', values, 'reference', norms[-1], 'onnxruntime', runtime[0].tolist())

x = np.arange(1, 7, dtype=np.float32).reshape(1, 1, 1, 6)
node = 'Pool<kernel_shape = [1, 3], strides = [1, 2], auto_pad = "SAME_LOWER">(x)'
pools = {}
for kind, defined in (('Max', [2, 4, 6]), ('Average', [1.5, 3, 5])):
    reference, runtime = run(('1, 1, 1, 6', '1, 1, 1, 3'), kind + node, x)
    assert runtime.ravel().tolist() == defined
    pools[kind] = reference.ravel().tolist()
    print(f'{kind}Pool, SAME_LOWER: reference', pools[kind], 'onnxruntime', defined)

print('onnx', onnx.__version__)
seen = (
    lrn == {1: ([0], [1, 2, 3]), 2: ([0, 1], [2, 3])}
    and norms == [[0.5, -1.0, 1.5], [0, 0, 0]]
    and pools == dict(Max=[3, 5, 6], Average=[1.5, 3, 5])
)
sys.exit(not seen)
PYTHON
