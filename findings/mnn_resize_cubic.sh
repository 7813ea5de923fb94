#!/usr/bin/env bash
# MNN 3.6.1: Resize by cubic interpolation between pixel centres is shifted; antialias is ignored.
#
# Expected: the values of ONNX's definition, which onnxruntime gives. Seen: where a ramp from 0 to 15
# is enlarged by 2, cubic with half_pixel or pytorch_half_pixel is off by up to 3.9. PyTorch exports
# bicubic interpolation as one of the two. With align_corners and asymmetric, and with linear, it is
# right. Resize with antialias=1 gives what it gives without. There is no warning in either case.
# The exit status is 1 if this changes. PYTHON names another Python than python3.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" MNN==3.6.1 onnx==1.23.2 onnxruntime==1.31.1
"$python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from graphs import run_mnn as run

x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
graph = """g (float[1, 1, 4, 4] x) => (float[1, 1, %d, %d] y) <float[4] s = {1, 1, %s, %s}> {
    y = Resize<%s>(x, , s)
}"""
far = {}
for mode in ('cubic', 'linear'):
    for place in ('half_pixel', 'pytorch_half_pixel', 'align_corners', 'asymmetric'):
        options = f'mode = "{mode}", coordinate_transformation_mode = "{place}"'
        if mode == 'cubic':
            options += ', cubic_coeff_a = -0.75'
        expected, found = run(graph % (8, 8, 2, 2, options), x=x)
        far[mode, place] = float(np.abs(found - expected).max())
        print(mode, place, 'largest difference', round(far[mode, place], 3))
smooth, found = run(graph % (2, 2, 0.5, 0.5, 'mode = "linear", antialias = 1'), x=x)
plain, _ = run(graph % (2, 2, 0.5, 0.5, 'mode = "linear"'), x=x)
print('antialias: onnxruntime', smooth.ravel(), 'MNN', found.ravel())
print('MNN', version('MNN'))
wrong = {case for case, distance in far.items() if distance > 1e-3}
seen = wrong == {('cubic', 'half_pixel'), ('cubic', 'pytorch_half_pixel')}
sys.exit(not (seen and np.allclose(found, plain) and not np.allclose(smooth, plain)))
PYTHON
