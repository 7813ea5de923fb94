import pytest
from mmengine.config import Config

from mmkd.config.checks.class_weights import check_class_weights
from mmkd.errors import UserError


def segmentor(**loss) -> dict:
    head = dict(num_classes=3, loss_decode=dict(type='CrossEntropyLoss'))
    auxiliary = dict(num_classes=3, loss_decode=[dict(type='DiceLoss'), loss])
    return dict(decode_head=head, auxiliary_head=[auxiliary])


def detector(**loss) -> dict:
    return dict(roi_head=dict(bbox_head=dict(num_classes=3, loss_cls=loss)))


@pytest.mark.parametrize('distils', [False, True])
@pytest.mark.parametrize(
    'network, message',
    [
        (
            segmentor(class_weight=[1.0, 2.0]),
            r'auxiliary_head.0.loss_decode.1.class_weight=\[1.0, 2.0\]: expected 3 numbers, one a ',
        ),
        (
            detector(class_weight=[1.0] * 3),
            r'roi_head.bbox_head.loss_cls.class_weight=.*: expected 4 numbers, one a class \(3\) ',
        ),
        (
            detector(class_weight=[1.0] * 4, use_sigmoid=True),
            'roi_head.bbox_head.loss_cls.class_weight=.*: expected 3 numbers, one a class; ',
        ),
    ],
)
def test_check_class_weights_of_another_length_are_rejected(network, message, distils):
    model, key = (
        (dict(student=network, type='mmkd.Distiller'), 'model.student.')
        if distils
        else (network, 'model.')
    )
    with pytest.raises(UserError, match=f'^{key}{message}'):
        check_class_weights(Config(dict(model=model)))


@pytest.mark.parametrize(
    'network',
    [
        segmentor(class_weight=[1.0] * 3),
        dict(head=dict(num_classes=3, loss=dict(type='CrossEntropyLoss', class_weight=[1.0] * 3))),
        segmentor(class_weight=None),
        segmentor(class_weight='weights.npy'),
        detector(class_weight=[1.0] * 4),
        detector(class_weight=0.1),
        detector(class_weight=[1.0] * 3, use_sigmoid=True),
    ],
)
def test_check_class_weights_that_fit_are_accepted(network):
    check_class_weights(Config(dict(model=network)))
