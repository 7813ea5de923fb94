"""The module in the place of ``mmcv._ext``: mmkd's operators, and one clear line for all others."""

from collections.abc import Callable

import torchvision

from mmkd.errors import UserError
from mmkd.openmmlab.operators.batch_norm import (
    sync_bn_backward_data,
    sync_bn_backward_param,
    sync_bn_forward_mean,
    sync_bn_forward_output,
    sync_bn_forward_var,
)
from mmkd.openmmlab.operators.boxes import nms, nms_match, softnms
from mmkd.openmmlab.operators.deformable import (
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
    ms_deform_attn_backward,
    ms_deform_attn_forward,
)
from mmkd.openmmlab.operators.focal_losses import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
)
from mmkd.openmmlab.operators.reassembly import (
    carafe_backward,
    carafe_forward,
    masked_col2im_forward,
    masked_im2col_forward,
    psamask_backward,
    psamask_forward,
)
from mmkd.openmmlab.operators.regions import (
    deform_roi_pool_backward,
    deform_roi_pool_forward,
    roi_align_backward,
    roi_align_forward,
    roi_pool_backward,
    roi_pool_forward,
)

__all__ = [
    'carafe_backward',
    'carafe_forward',
    'deform_conv_backward_input',
    'deform_conv_backward_parameters',
    'deform_conv_forward',
    'deform_roi_pool_backward',
    'deform_roi_pool_forward',
    'get_compiler_version',
    'get_compiling_cuda_version',
    'masked_col2im_forward',
    'masked_im2col_forward',
    'modulated_deform_conv_backward',
    'modulated_deform_conv_forward',
    'ms_deform_attn_backward',
    'ms_deform_attn_forward',
    'nms',
    'nms_match',
    'psamask_backward',
    'psamask_forward',
    'roi_align_backward',
    'roi_align_forward',
    'roi_pool_backward',
    'roi_pool_forward',
    'sigmoid_focal_loss_backward',
    'sigmoid_focal_loss_forward',
    'softmax_focal_loss_backward',
    'softmax_focal_loss_forward',
    'softnms',
    'sync_bn_backward_data',
    'sync_bn_backward_param',
    'sync_bn_forward_mean',
    'sync_bn_forward_output',
    'sync_bn_forward_var',
]


def get_compiler_version() -> str:
    """Return what MMEngine's log of the environment says of mmcv's compiler."""
    return f'none; operators of torchvision {torchvision.__version__}'


def get_compiling_cuda_version() -> str:
    """Return what MMEngine's log of the environment says of mmcv's CUDA compiler."""
    return 'none'


def __getattr__(name: str) -> Callable:
    """Return a function that raises, for an operator that mmkd does not supply.

    ``mmcv.ops`` asks for all of its operators when it is imported, so that only a call may fail.
    """
    if name.startswith('_'):
        raise AttributeError(name)

    def missing(*args: object, **kwargs: object) -> None:
        raise UserError(
            f"mmcv operator {name!r} needs mmcv's compiled operators; run 'MMKD_COMPILE=1 make env'"
        )

    return missing
