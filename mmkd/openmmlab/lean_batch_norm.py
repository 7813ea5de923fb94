"""Fold BatchNorms of a frozen network into the convolutions before them, where that saves time.

In evaluation mode a BatchNorm is one factor and one offset for each channel. Applied to the
convolution's weights and not to its output, they do not cost a pass over the feature map. That pays
where convolutions are cheap and maps are large: depthwise and 1x1 convolutions. In ResNets and
HRNets it does not.
"""

from collections.abc import Collection, Iterator
from copy import copy
from itertools import chain
from types import MethodType

import torch
from mmengine.model.utils import _BatchNormXd
from mmseg.models.decode_heads import SegformerHead
from timm.layers import BatchNormAct2d, Conv2dSame
from timm.models._efficientnet_blocks import ConvBnAct, DepthwiseSeparableConv, InvertedResidual
from timm.models.efficientnet import EfficientNetFeatures
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_weights

from mmkd.openmmlab.tasks import is_segmentor

# One attribute holds a convolution, the other the only thing that reads its output.
_PAIRS = {
    EfficientNetFeatures: [('conv_stem', 'bn1')],
    ConvBnAct: [('conv', 'bn1')],
    DepthwiseSeparableConv: [('conv_dw', 'bn1'), ('conv_pw', 'bn2')],
    InvertedResidual: [('conv_pw', 'bn1'), ('conv_dw', 'bn2'), ('conv_pwl', 'bn3')],
}


def fold_batch_norms(model: nn.Module, tapped: Collection[str] = ()) -> None:
    """Fold those of timm's EfficientNets and of SegFormer's heads in the segmentors of ``model``.

    Weights, buffers and names stay, and so do outputs, up to rounding. In training mode the network
    runs as before. A second call changes nothing.

    Args:
        model: The network, changed in place.
        tapped: Paths of modules whose outputs are read. A pair with one of them stays as it is.
    """
    tapped = {model.get_submodule(path) for path in tapped}
    for convolution, norm in _pairs(model):
        if _folds(convolution, norm) and not {convolution, norm} & tapped:
            convolution.__dict__['folded_norm'] = [norm]  # in a list it is not a child
            convolution.forward = MethodType(_convolve, convolution)
            norm.forward = MethodType(_activate, norm)


def _pairs(model: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    segmentors = filter(is_segmentor, model.modules())
    for module in chain.from_iterable(network.modules() for network in segmentors):
        if isinstance(module, SegformerHead):
            yield from ((block.conv, block.norm) for block in (*module.convs, module.fusion_conv))
        for convolution, norm in _PAIRS.get(type(module), []):
            yield getattr(module, convolution), getattr(module, norm)


def _folds(convolution: nn.Module, norm: nn.Module) -> bool:
    # A convolution of another kind may change its weights before it uses them.
    forward = type(convolution).forward
    is_known = forward in (nn.Conv2d.forward, Conv2dSame.forward)
    is_known &= type(norm) in (nn.BatchNorm2d, _BatchNormXd, BatchNormAct2d)
    # Without running statistics a norm always takes those of its batch.
    return is_known and norm.running_mean is not None


def _convolve(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    (norm,) = convolution.folded_norm
    if norm.training:
        return type(convolution).forward(convolution, x)
    with torch.no_grad():  # in each call, since weights may move to another device or change
        weight, bias = fuse_conv_bn_weights(
            convolution.weight,
            convolution.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
    folded = copy(convolution)
    folded.__dict__['_parameters'] = dict(weight=weight, bias=bias)
    # The type's own, which pads as TensorFlow does in a Conv2dSame.
    return type(convolution).forward(folded, x)


def _activate(norm: nn.Module, x: Tensor) -> Tensor:
    if norm.training:
        return type(norm).forward(norm, x)
    return norm.act(norm.drop(x)) if isinstance(norm, BatchNormAct2d) else x
