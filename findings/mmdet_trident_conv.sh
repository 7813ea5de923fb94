#!/usr/bin/env bash
# onedl-mmdetection 3.5.1: TridentConv has no initial weights of its own.
#
#   PYTHON=... findings/mmdet_trident_conv.sh     a Python with mmengine and compiled mmcv
#
# Expected: a TridentResNet that is built without a pretrained file and initialised by
# init_weights() holds random weights, as MMDetection's ResNet does.
# Seen: the weights of its TridentConvs are never written. They are what the memory held: mostly 0,
# sometimes 1e13 or NaN, so that the same seed trains or fails. PyTorch's option that fills such
# memory with NaN shows which they are.
# The exit status is 1 if this changes.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" --no-deps onedl-mmdetection==3.5.1
"$python" -W ignore - <<'PYTHON'
import logging
import sys

import mmdet
import torch
from mmdet.models.backbones import ResNet, TridentResNet

logging.disable(logging.INFO)  # MMEngine tells of each weight
torch.use_deterministic_algorithms(True)
torch.utils.deterministic.fill_uninitialized_memory = True
settings = dict(depth=50, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(2,))
unwritten = {}
for network in (
    ResNet(**settings),
    TridentResNet(num_branch=3, test_branch_idx=1, trident_dilations=(1, 2, 3), **settings),
):
    network.init_weights()
    names = [name for name, value in network.named_parameters() if value.isnan().any()]
    unwritten[type(network).__name__] = names
print('mmdet', mmdet.__version__, 'torch', torch.__version__)
for name, weights in unwritten.items():
    print(f'{name}: {len(weights)} weights are never written', *weights)
expected = [f'layer3.{i}.conv2.weight' for i in range(6)]
sys.exit(unwritten != {'ResNet': [], 'TridentResNet': expected})
PYTHON
