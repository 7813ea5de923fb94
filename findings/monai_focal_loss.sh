#!/usr/bin/env bash
# MONAI 1.6.1: FocalLoss(ignore_index=...) multiplies the loss by the number of classes, and with
# include_background=False it does not see that the network says background.
#
#   PYTHON=... findings/monai_focal_loss.sh     a Python with torch
#
# Documented: pixels with the label ignore_index are excluded; reduction="mean" divides by the number
# of elements of the output. Expected: without such a pixel the loss is the same with and without the
# key, and with them it is the loss of the other pixels.
# Seen: both are 3 times as large with three classes, 2 times with two channels left: the sum goes
# over pixels and classes, the divisor counts pixels alone. DiceLoss and TverskyLoss are right.
# Documented: include_background=False excludes channel 0 from the loss. Expected: the loss of class 1
# is still that of its probability, -(1-p)^2 log p. DiceLoss computes it so.
# Seen: with use_softmax=True the channel is taken away before the softmax. Where the network gives
# class 1 a probability of 2e-9, since it says background, the loss is 0 and so is its gradient.
# The exit status is 1 if this changes.
set -euo pipefail

source "$(dirname "$0")/lib/install.sh" --no-deps monai==1.6.1
"$python" -W ignore - <<'PYTHON'
import sys

import monai
import torch
from monai.losses import DiceLoss, FocalLoss, TverskyLoss

torch.manual_seed(0)
logits = torch.randn(2, 3, 4, 4)
labels = torch.randint(0, 3, (2, 1, 4, 4))
ignored = labels.clone()
ignored[:, :, :2] = 255
print('monai', monai.__version__, 'torch', torch.__version__)
factors = {}
for name, loss, settings in (
    ('FocalLoss', FocalLoss, {}),
    ('FocalLoss, softmax', FocalLoss, dict(use_softmax=True)),
    ('FocalLoss, no background', FocalLoss, dict(include_background=False)),
    ('DiceLoss', DiceLoss, dict(softmax=True)),
    ('TverskyLoss', TverskyLoss, dict(softmax=True)),
):
    plain = loss(to_onehot_y=True, **settings)
    ignoring = loss(to_onehot_y=True, ignore_index=255, **settings)
    nothing = ignoring(logits, labels) / plain(logits, labels)
    half = ignoring(logits, ignored) / plain(logits[:, :, 2:], labels[:, :, 2:])
    factors[name] = [round(float(factor), 3) for factor in (nothing, half)]
    print(f'{name}: with ignore_index, of that without: nothing, half ignored {factors[name]}')
wrong = {
    'FocalLoss': [3, 3],
    'FocalLoss, softmax': [3, 3],
    'FocalLoss, no background': [2, 2],
    'DiceLoss': [1, 1],
    'TverskyLoss': [1, 1],
}

logits = torch.tensor([20.0, 0.0, -20.0]).view(1, 3, 1, 1).requires_grad_()
labels = torch.ones(1, 1, 1, 1, dtype=torch.long)
values = {}
for name, loss in (
    ('FocalLoss', FocalLoss(to_onehot_y=True, include_background=False, use_softmax=True)),
    ('FocalLoss with background', FocalLoss(to_onehot_y=True, use_softmax=True)),
    ('DiceLoss', DiceLoss(to_onehot_y=True, include_background=False, softmax=True)),
):
    value = loss(logits, labels)
    (gradient,) = torch.autograd.grad(value, logits)
    values[name] = float(value)
    slope = gradient.flatten().tolist()
    print(f'{name}: class 1, background predicted: {values[name]:.4f}, gradient {slope}')
unseen = values['FocalLoss'] < 1e-6 and values['FocalLoss with background'] > 6
sys.exit(factors != wrong or not unseen)
PYTHON
