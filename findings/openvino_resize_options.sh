#!/usr/bin/env bash
# OpenVINO 2026.4.1: three options of Resize are ignored without a word.
#
# ONNX: antialias=1 widens the filter where an image shrinks; exclude_outside=1 leaves out pixels
# beyond the border; keep_aspect_ratio_policy="not_larger" changes the size of the output.
# Seen: all three give what the model without the option gives (for cubic antialias reported as
# openvino issue 35893).
# The exit status is 1 if this changes. PYTHON names another Python than python3.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" openvino==2026.4.1 onnxruntime==1.31.1 onnx==1.23.2
"$python" - <<'PYTHON'
import sys

import numpy as np
import openvino
from graphs import run_openvino as run

x = np.arange(96, dtype=np.float32).reshape(1, 1, 8, 12) ** 2
same, ignored = {}, {}
for option in (
    'mode="linear", antialias=1',
    'mode="cubic", exclude_outside=1',
    'mode="linear", keep_aspect_ratio_policy="not_larger"',
):
    graph = 'g (float[1,1,8,12] x) => (float[a,b,c,d] y) <int64[2] size = {4, 5}> '
    graph += '{ y = Resize <axes=[2, 3], %s> (x, , , size) }'
    plain = run(graph % option.split(',')[0], x=x)
    expected, found = run(graph % option, x=x)
    same[option] = np.allclose(*plain, rtol=1e-4)
    is_plain = found.shape == plain[1].shape and np.array_equal(found, plain[1])
    ignored[option] = is_plain and not np.array_equal(expected, plain[0])
    print(option, expected.shape, 'OpenVINO', found.shape, 'ignored:', ignored[option])
print('openvino', openvino.__version__)
sys.exit(not all(same.values()) or not all(ignored.values()))
PYTHON
