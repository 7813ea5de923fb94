#!/usr/bin/env bash
# onedl-mmengine 0.10.12: OptimWrapper.param_groups has one group more than the optimizer.
#
#   PYTHON=... findings/mmengine_param_groups.sh     a Python that has PyTorch and mmengine
#
# Documented: "A wrapper of Optimizer.param_groups".
# Seen: with more than one group (any paramwise_cfg) the list ends with one that holds a single
# number. It is not a weight of the network, and schedulers change its rate. Code that counts
# weights, or sets the rate of the last group, goes wrong. The exit status is 1 if this changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-python3}
"$python" -m pip install --quiet --no-deps --target "$folder" onedl-mmengine==0.10.12
PYTHONPATH="$folder" "$python" -W ignore - <<'PYTHON'
import sys

import mmengine
import torch
from mmengine.optim import build_optim_wrapper

layer = torch.nn.Linear(3, 2)


def groups(paramwise):
    """Return the number of groups in the wrapper and in the optimizer."""
    optimizer = dict(type='SGD', lr=0.1)
    wrapper = build_optim_wrapper(layer, dict(optimizer=optimizer, paramwise_cfg=paramwise))
    extra = wrapper.param_groups[-1]['params']
    return len(wrapper.param_groups), len(wrapper.optimizer.param_groups), extra


plain, split = groups(None), groups(dict(bias_lr_mult=2.0))
print('mmengine', mmengine.__version__)
print('without paramwise_cfg', plain[:2], 'with bias_lr_mult', split[:2], 'last group:', split[2])
sys.exit(plain[:2] != (1, 1) or split[0] != split[1] + 1)
PYTHON
