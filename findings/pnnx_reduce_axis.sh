#!/usr/bin/env bash
# pnnx 20261020: a sum over one axis becomes an ncnn layer that sums nothing.
#
# ONNX: ReduceSum over axis 1 of (1, 2, 3, 4) gives (1, 3, 4).
# Seen: pnnx writes the layer without its axis, and ncnn returns the input. A sum over two axes is
# right. The boxes of a YOLO head are wrong by hundreds of pixels, its scores are right.
# The exit status is 1 if this changes. PYTHON names another Python than python3; it has PyTorch.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-python3}
"$python" -m pip install --quiet --target "$folder" onnxruntime==1.31.1 onnx==1.23.2
"$python" -m pip install --quiet --no-deps --target "$folder" ncnn==1.0.20261020 pnnx==20261020
PYTHONPATH="$folder" "$python" - <<'PYTHON'
import subprocess
import sys
import tempfile
from pathlib import Path

import ncnn
import numpy as np
import onnx
import onnxruntime
import pnnx


def run(axes, x):
    """Return the sum over axes in onnxruntime and in ncnn."""
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["": 20]> g (float[1,2,3,4] x) => (float[%s] y) '
        '<int64[%d] axes = {%s}> { y = ReduceSum <keepdims=0> (x, axes) }'
        % (','.join('abcd'[len(axes) :]), len(axes), ', '.join(map(str, axes)))
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    network = ncnn.Net()
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(model, Path(folder) / 'm.onnx')
        command = [pnnx.EXEC_PATH, 'm.onnx', 'inputshape=[1,2,3,4]f32', 'fp16=0']
        subprocess.run(command, cwd=folder, capture_output=True, check=True)
        network.load_param(f'{folder}/m.ncnn.param')
        network.load_model(f'{folder}/m.ncnn.bin')
    extractor = network.create_extractor()
    extractor.input('in0', ncnn.Mat(x))
    return session.run(None, {'x': x})[0], np.array(extractor.extract('out0')[1])


x = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
expected, found = run([1], x)
print('pnnx 20261020, one axis: onnxruntime', expected.shape, 'ncnn', found.shape)
both, right = run([2, 3], x)
print('two axes: onnxruntime', both, 'ncnn', right)
unchanged = found.size == x.size and np.array_equal(found.ravel(), x.ravel())
sys.exit(expected.shape != (1, 3, 4) or not unchanged or not np.array_equal(both, right))
PYTHON
