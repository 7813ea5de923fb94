"""Convert published YOLO11 checkpoints to this package's weight names."""

import re
from collections.abc import Mapping

from mmengine.registry import DefaultScope
from torch import Tensor

from mmkd.checkpoints.load_weights import load_weights
from mmkd.config.load import load_config
from mmkd.errors import UserError
from mmkd.models.yolo11.scales import SCALES
from mmkd.models.yolo11.yolo11_backbone import YOLO11Backbone
from mmkd.models.yolo11.yolo11_head import YOLO11Head
from mmkd.models.yolo11.yolo11_pafpn import YOLO11PAFPN
from mmkd.registry import MODELS

_LAYERS = {
    number: f'{part}.{path}'.rstrip('.')
    for part, cls in (
        ('backbone', YOLO11Backbone),
        ('neck', YOLO11PAFPN),
        ('bbox_head', YOLO11Head),
    )
    for number, path in cls.tap_aliases['yolo'].items()
}
_HEAD_NAMES = (
    (r'cv2', 'box_branches'),
    (r'cv3\.(\d\.\d)\.0', r'class_branches.\1.depthwise_conv'),
    (r'cv3\.(\d\.\d)\.1', r'class_branches.\1.pointwise_conv'),
    (r'cv3', 'class_branches'),
)
_BLOCK_NAMES = ((r'\bcv(\d)\b', r'conv\1'), (r'\bm\b', 'blocks'))
# The constant values 0 to 15 of the head's bins.
_CONSTANT = 'model.23.dfl.conv.weight'


def convert_weights(published: Mapping[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    """Convert a published detection model's state dict.

    Args:
        published: Weights by names such as ``model.6.cv1.conv.weight``.

    Returns:
        The scale, and the weights of the detector in ``configs/_base_/models/yolo11_<scale>.py``
        with the published number of classes, in float32.

    Raises:
        UserError: The weights are not exactly those of a YOLO11 detection model.
    """
    renamed = {}
    for name, value in published.items():
        if name == _CONSTANT:
            continue
        match = re.fullmatch(r'model\.(\d+)\.(.+)', name)
        if match is None or int(match[1]) not in _LAYERS or not isinstance(value, Tensor):
            raise UserError(f'{name}: expected a weight of a YOLO11 detection model')
        layer, inside = int(match[1]), match[2]
        for pattern, replacement in _HEAD_NAMES if layer == 23 else _BLOCK_NAMES:
            inside = re.sub(pattern, replacement, inside)
        renamed[f'{_LAYERS[layer]}.{inside}'] = value
    scale = _scale_of(renamed)
    config = load_config(f'configs/_base_/models/yolo11_{scale}.py').model
    config.bbox_head.num_classes = len(renamed.get('bbox_head.class_branches.0.2.bias', ()))
    with DefaultScope.overwrite_default_scope('mmdet'):
        network = MODELS.build(config)
    own = network.state_dict()
    unknown = sorted(renamed.keys() - own.keys())
    if unknown:
        raise UserError(f'{unknown[0]}: expected a weight of YOLO11-{scale}')
    load_weights(network, {'bbox_head.bins': own['bbox_head.bins'], **renamed}, 'the state dict')
    return scale, own


def _scale_of(weights: Mapping[str, Tensor]) -> str:
    width = len(weights.get('backbone.stem.conv.weight', ()))
    blocks = {name.split('.')[4] for name in weights if name.startswith('backbone.stage1.1.blocks')}
    for name, size in SCALES.items():
        if (size.channels(64), size.repeats(2)) == (width, len(blocks)):
            return name
    raise UserError(
        f'{width} channels in the stem and {len(blocks)} blocks in layer 2: expected a size of '
        f'YOLO11: {", ".join(SCALES)}'
    )
