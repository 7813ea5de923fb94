#!/usr/bin/env bash
# MNN 3.6.1: one number a column is taken for one number a channel.
#
# ONNX aligns shapes from the right, so that [2] beside (1, 2, 2, 2) is one number a column. Expected:
# Add(Conv(x), [10, 20]) and PRelu(x, [0.5, 2]) differ from column to column. Seen: they differ from
# channel to channel, without a warning, where both are as many. Written as [2, 1, 1], for channels,
# the numbers are right, and so is an Add that does not follow a Conv.
# The exit status is 1 if this changes. PYTHON names another Python than python3.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" MNN==3.6.1 onnx==1.23.2 onnxruntime==1.31.1
"$python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from graphs import run_mnn as run

x = -np.ones((1, 2, 2, 2), np.float32)
graph = """g (float[1, 2, 2, 2] x) => (float[1, 2, 2, 2] y)
<float[2, 2, 1, 1] w = {1, 0, 0, 1}, float[%s] k = {10, 20}> { %s }"""
found = {}
for name, nodes in (
    ('Conv, Add', 'c = Conv(x, w) y = Add(c, k)'),
    ('Relu, Add', 'c = Relu(x) y = Add(c, k)'),
    ('PRelu', 'y = PRelu(x, k)'),
):
    columns, seen = run(graph % ('2', nodes), x=x)
    channels, right = run(graph % ('2, 1, 1', nodes), x=x)
    assert np.allclose(right, channels)
    found[name] = 'channels' if np.allclose(seen, channels) else 'columns'
    assert np.allclose(seen, channels if found[name] == 'channels' else columns)
    print(f'{name}: expected {columns[0, :, 0].tolist()}, MNN {seen[0, :, 0].tolist()}')
print('MNN', version('MNN'), found)
sys.exit(found != {'Conv, Add': 'channels', 'Relu, Add': 'columns', 'PRelu': 'channels'})
PYTHON
