#!/usr/bin/env bash
# onedl-mmcv 2.3.6 and timm 1.0.31: two ways to fold a BatchNorm into a convolution give
# other outputs, without a word.
#
#   PYTHON=... findings/mmcv_folded_batch_norm.sh     a Python with PyTorch and mmengine
#
# Expected: a network in evaluation mode gives the same outputs, up to rounding, after
# mmcv.cnn.utils.fuse_conv_bn, and a ConvModule after turn_on_efficient_conv_bn_eval().
# Seen: (1) fuse_conv_bn replaces timm's BatchNormAct2d by the identity, and that also holds the
# activation: the network loses every one. (2) turn_on_efficient_conv_bn_eval() calls PyTorch's
# convolution and not the module's own forward: Conv2dAdaptivePadding loses its padding, ConvWS and
# ConvAWS (weight standardisation) use their weights as they are. (3) fuse_conv_bn scales the
# weights of a ConvWS, which then standardises the scale away.
# The exit status is 1 if this changes.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" --no-deps onedl-mmcv==2.3.6 timm==1.0.31
"$python" -W ignore - <<'PYTHON'
import copy
import sys

import mmcv
import timm
import torch
from mmcv.cnn import ConvModule
from mmcv.cnn.utils import fuse_conv_bn
from torch import nn

torch.manual_seed(0)
images = torch.randn(1, 3, 65, 65)


def trained(network):
    """Give the network statistics as after training, and put it into evaluation mode."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def change(before, after):
    """Return the largest change, as a share of the largest value, or the two sizes."""
    if before.shape != after.shape:
        return f'{tuple(before.shape)} became {tuple(after.shape)}'
    return ((before - after).abs().max() / before.abs().max()).item()


def convolution(name):
    return trained(ConvModule(3, 8, 3, stride=2, conv_cfg=dict(type=name), norm_cfg=dict(type='BN')))


def fused(network):
    return fuse_conv_bn(copy.deepcopy(network))


def efficient(module):
    module = copy.deepcopy(module)
    module.turn_on_efficient_conv_bn_eval()
    return module


changes = {}
with torch.no_grad():
    network = trained(timm.create_model('efficientnet_lite0'))
    changes['fuse_conv_bn, timm efficientnet_lite0'] = change(network(images), fused(network)(images))
    for name in ('Conv2d', 'ConvWS'):
        module = convolution(name)
        changes[f'fuse_conv_bn, {name}'] = change(module(images), fused(module)(images))
    for name in ('Conv2d', 'Conv2dAdaptivePadding', 'ConvWS', 'ConvAWS'):
        module = convolution(name)
        changes[f'efficient, {name}'] = change(module(images), efficient(module)(images))

print('mmcv', mmcv.__version__, 'timm', timm.__version__, 'torch', torch.__version__)
wrong = []
for case, value in changes.items():
    print(f'{case}: {value}')
    if isinstance(value, str) or value > 0.1:
        wrong.append(case)
expected = [case for case in changes if not case.endswith('Conv2d')]
sys.exit(wrong != expected)
PYTHON
