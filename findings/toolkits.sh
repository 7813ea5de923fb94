#!/usr/bin/env bash
# torchdistill 1.1.5: KDLoss cannot be built without alpha, and alpha=0 drops the factor T^2.
#
#   PYTHON=... findings/toolkits.sh     a Python that has PyTorch, NumPy, SciPy and PyYAML
#
# Expected: KDLoss(temperature=4) builds, since alpha is optional; and a soft loss that is the same, up
# to its documented weight (1 - alpha) T^2, whether alpha is 0 or almost 0.
# Seen: TypeError; and a value that is 16 times as large at alpha=1e-9 as at alpha=0.
# The exit status is 1 if this changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-python3}
"$python" -m pip install --quiet --no-deps --target "$folder" torchdistill==1.1.5
PYTHONPATH="$folder" "$python" - <<'PYTHON'
import sys

import torch
from torchdistill.losses.mid_level import KDLoss

where = dict(
    student_module_path='x', student_module_io='output',
    teacher_module_path='x', teacher_module_io='output', temperature=4,
)
torch.manual_seed(0)
student, teacher = ({'x': {'output': torch.randn(2, 5)}} for _ in range(2))
targets = torch.tensor([0, 1])
print('torch', torch.__version__)
try:
    KDLoss(**where)
    built = True
except TypeError as error:
    built = False
    print('KDLoss(temperature=4):', error)
ratio = (
    KDLoss(alpha=1e-9, **where)(student, teacher, targets)
    / KDLoss(alpha=0, **where)(student, teacher, targets)
).item()
print(f'value at alpha=1e-9, of that at alpha=0: {ratio:.4f}')
sys.exit(built or abs(ratio - 16) > 1e-3)
PYTHON
