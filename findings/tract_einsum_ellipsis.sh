#!/usr/bin/env bash
# tract 0.23.9: Einsum "...ij,...jk" without an arrow loses its batch axis.
#
# ONNX: without an arrow the axes of the ellipsis come first in the output, as in NumPy.
# Seen: (2, 3, 4) and (2, 4, 5) give (3, 5): the products of the batch are added up.
# The exit status is 1 if this changes. PYTHON names another Python than python3.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" tract==0.23.9 onnxruntime==1.31.1 onnx==1.23.2
"$python" - <<'PYTHON'
import sys

import numpy as np
import tract
from graphs import run_tract as run

generator = np.random.default_rng(0)
a, b = (generator.random(shape, np.float32) for shape in ((2, 3, 4), (2, 4, 5)))
expected, found = run(
    """g (float[2,3,4] a, float[2,4,5] b) => (float[d,e,f] y)
    { y = Einsum <equation="...ij,...jk"> (a, b) }""",
    a=a,
    b=b,
)
print('tract', tract.version(), found.shape, 'onnxruntime', expected.shape)
right = np.allclose(expected, a @ b, rtol=1e-5)
sys.exit(not right or found.shape != (3, 5) or not np.allclose(found, (a @ b).sum(0), rtol=1e-5))
PYTHON
