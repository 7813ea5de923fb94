import pytest
import torch

from mmkd.errors import UserError
from mmkd.models.yolo11.published_weights import convert_weights


@pytest.fixture
def published(reference):
    return reference('yolo11n').published


def test_yolo11_published_weights_every_weight_has_its_place(published):
    scale, weights = convert_weights({k: v.half() for k, v in published.items()})
    assert scale == 'n' and len(weights) == len(published)
    for name, key in (
        ('model.0.conv.weight', 'backbone.stem.conv.weight'),
        ('model.6.m.0.m.1.cv2.bn.bias', 'backbone.stage3.1.blocks.0.blocks.1.conv2.bn.bias'),
        ('model.10.m.0.attn.pe.conv.weight', 'backbone.stage4.3.blocks.0.attn.pe.conv.weight'),
        ('model.17.bn.weight', 'neck.downsamples.0.bn.weight'),
        ('model.23.cv3.1.0.1.bn.bias', 'bbox_head.class_branches.1.0.pointwise_conv.bn.bias'),
        ('model.23.cv2.2.2.bias', 'bbox_head.box_branches.2.2.bias'),
    ):
        assert weights[key].dtype == torch.float32
        assert torch.equal(weights[key], published[name].half().float())


def change(name, value=None):
    def apply(published):
        published.pop(name, None)
        if value is not None:
            published[name] = value

    return apply


@pytest.mark.parametrize(
    'apply, message',
    [
        (
            change('model.24.conv.weight', torch.ones(1)),
            'model.24.conv.weight: expected',
        ),
        (change('backbone.conv.weight', torch.ones(1)), 'backbone.conv.weight: expected'),
        (change('model.0.conv.weight', 'text'), 'model.0.conv.weight: expected'),
        (
            change('model.8.cv9.conv.weight', torch.ones(1)),
            'backbone.stage4.1.conv9.*: expected',
        ),
        (change('model.8.cv1.conv.weight'), '1 of 499 weights are missing'),
        (change('model.8.cv1.bn.bias', torch.ones(3)), r'stage4.1.conv1.bn.bias is \(3,\)'),
        (change('model.0.conv.weight'), 'expected a size of YOLO11: n, s, m, l, x'),
        (change('model.23.cv3.0.2.bias'), '1 of 499 weights are missing'),
        (dict.clear, 'expected a size of YOLO11'),
    ],
)
def test_yolo11_published_weights_others_are_rejected(published, apply, message):
    apply(published)
    with pytest.raises(UserError, match=message):
        convert_weights(published)


@pytest.mark.parametrize('scale', ['s', 'm', 'l', 'x'])
def test_yolo11_published_weights_scales_are_told_apart(scale, monkeypatch):
    from mmkd.models.yolo11 import published_weights
    from mmkd.models.yolo11.scales import SCALES

    size = SCALES[scale]
    weights = {'backbone.stem.conv.weight': torch.zeros(size.channels(64), 3, 3, 3)}
    weights |= {f'backbone.stage1.1.blocks.{i}.conv1.x': None for i in range(size.repeats(2))}
    assert published_weights._scale_of(weights) == scale
