import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmdet.structures import DetDataSample
from mmengine.model import ImgDataPreprocessor
from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.structures import SegDataSample

from mmkd.distillation.teacher_inputs import TeacherInputs
from mmkd.errors import UserError
from mmkd.openmmlab.preprocessing import Preprocessing, pad_batches_to

IMAGENET = dict(
    type='SegDataPreProcessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    size_divisor=1,
)
UNIT = dict(
    type='mmdet.DetDataPreprocessor',
    mean=[0, 0, 0],
    std=[255, 255, 255],
    bgr_to_rgb=True,
    pad_size_divisor=1,
)
BGR = dict(type='SegDataPreProcessor', mean=[103.53, 116.28, 120], std=[1, 2, 3], size_divisor=1)
NONE = dict(type='SegDataPreProcessor', size_divisor=1)


def preprocess(config, images, **changes):
    """What a network's own preprocessor makes of BGR images of different sizes."""
    keys = ('mean', 'std', 'bgr_to_rgb')
    own = {key: config[key] for key in keys if key in config}
    samples = [SegDataSample() for _ in images]
    data = dict(inputs=[image.clone() for image in images], data_samples=samples)
    out = SegDataPreProcessor(**own, size_divisor=1, **changes)(data, training=True)
    return out['inputs'], out['data_samples']


@pytest.mark.parametrize('student', [IMAGENET, BGR, NONE])
@pytest.mark.parametrize('teacher', [IMAGENET, UNIT, BGR, NONE])
def test_teacher_inputs_equal_its_own_preprocessor(student, teacher):
    images = [torch.randint(0, 256, (3, *size)).float() for size in [(6, 9), (8, 7)]]
    inputs, samples = preprocess(student, images)
    expected, _ = preprocess(teacher, images)
    converted, _ = TeacherInputs(student, teacher)(inputs, samples)
    torch.testing.assert_close(converted, expected, rtol=1e-4, atol=1e-3)


def test_preprocessing_std_without_mean_is_ignored():
    """MMSegmentation 1.2.2 and MMPretrain normalise where there is a mean."""
    assert Preprocessing.from_config(dict(NONE, std=[1, 2, 3])) == Preprocessing.from_config(NONE)


def test_teacher_inputs_padding_is_the_teachers():
    images = [torch.full((3, 4, 4), 200.0), torch.full((3, 8, 8), 200.0)]
    inputs, samples = preprocess(BGR, images, pad_val=5)
    converter = TeacherInputs(dict(BGR, pad_val=5), dict(IMAGENET, pad_val=-1))
    converted, _ = converter(inputs, samples)
    assert (converted[0, :, 4:] == -1).all() and (converted[0, :, :, 4:] == -1).all()
    assert (converted[1] != -1).all()


def test_teacher_inputs_equal_preprocessing_passes_batch_through():
    x = torch.randn(1, 3, 4, 4)
    assert TeacherInputs(IMAGENET, dict(IMAGENET, size=(9, 9)))(x, None)[0] is x


def test_teacher_inputs_leave_student_batch():
    x = torch.randn(1, 3, 4, 4)
    before = x.clone()
    TeacherInputs(IMAGENET, UNIT)(x, None)
    assert torch.equal(x, before)


def test_teacher_inputs_divisor_is_rejected_by_name():
    inputs = TeacherInputs(IMAGENET, dict(UNIT, pad_size_divisor=32))
    assert inputs(torch.zeros(1, 3, 64, 32), None)[0].shape == (1, 3, 64, 32)
    with pytest.raises(UserError, match='48x64.*multiples of 32.*size_divisor'):
        inputs(torch.zeros(1, 3, 48, 64), None)


def test_teacher_inputs_unknown_preprocessor_is_rejected_unless_equal():
    odd = dict(type='mmseg.SegTTAPreprocessor', mean=[1, 2, 3])
    TeacherInputs(odd, odd)
    with pytest.raises(UserError, match="student data_preprocessor.type='SegTTAPreprocessor'"):
        TeacherInputs(odd, IMAGENET)


def test_teacher_scale_resizes_images_and_samples():
    inputs = TeacherInputs(UNIT, dict(UNIT, pad_size_divisor=32), scale=1.5)
    facts = dict(
        img_shape=(40, 60), pad_shape=(48, 64), batch_input_shape=(48, 64), scale_factor=(2.0, 4.0),
        padding_size=[0, 4, 0, 8], ori_shape=(10, 30),
    )  # fmt: skip
    sample = SegDataSample(metainfo=facts)
    x = torch.rand(1, 3, 48, 64)
    images, (resized,) = inputs(x, [sample])
    assert inputs.size_of((48, 64)) == (96, 96)
    expected = torch.nn.functional.interpolate(x, (96, 96), mode='bilinear')
    torch.testing.assert_close(images, expected)
    assert resized.metainfo == dict(
        img_shape=(80, 90), pad_shape=(96, 96), batch_input_shape=(96, 96),
        scale_factor=(3.0, 8.0), padding_size=[0, 6, 0, 16], ori_shape=(10, 30),
    )  # fmt: skip
    assert sample.metainfo == facts


def padded(preprocessor, sizes):
    """The batch that a preprocessor makes of images of ones, with label 1 everywhere."""
    samples = []
    for size in sizes:
        if isinstance(preprocessor, DetDataPreprocessor):
            samples.append(DetDataSample(metainfo=dict(img_shape=size)))
        else:
            labels = PixelData(data=torch.ones(1, *size, dtype=torch.long))
            samples.append(SegDataSample(gt_sem_seg=labels, metainfo=dict(img_shape=size)))
    images = [torch.ones(3, *size, dtype=torch.uint8) for size in sizes]
    batch = preprocessor(dict(inputs=images, data_samples=samples), training=True)
    return batch['inputs'], batch['data_samples']


@pytest.mark.parametrize('beside', [(32, 48), (64, 96)])
def test_pad_batches_to_pads_detection_and_keeps_pad_shape(beside):
    preprocessor = DetDataPreprocessor(pad_size_divisor=32, pad_value=7)
    _, (alone, _) = padded(preprocessor, [(32, 48), beside])
    pad_batches_to((64, 96), preprocessor)
    inputs, (sample, _) = padded(preprocessor, [(32, 48), beside])
    assert inputs.shape == (2, 3, 64, 96)
    assert (inputs[0, :, :32, :48] == 1).all() and (inputs[0, :, 32:] == 7).all()
    assert sample.batch_input_shape == (64, 96) and sample.img_shape == (32, 48)
    assert sample.pad_shape == alone.pad_shape == (32, 64)


def test_pad_batches_to_pads_segmentation_with_ignored_labels():
    preprocessor = SegDataPreProcessor(size_divisor=1, pad_val=7, seg_pad_val=255)
    pad_batches_to((64, 96), preprocessor)
    inputs, (sample, _) = padded(preprocessor, [(32, 48), (40, 50)])
    assert inputs.shape == (2, 3, 64, 96)
    assert (inputs[0, :, :32, :48] == 1).all() and (inputs[0, :, 32:] == 7).all()
    labels = sample.gt_sem_seg.data
    assert labels.shape == (1, 64, 96) and (labels == 1).sum() == 32 * 48
    assert (labels == 255).sum() == 64 * 96 - 32 * 48


def test_pad_batches_to_leaves_a_size_that_is_set():
    preprocessor = SegDataPreProcessor(size=(64, 64))
    pad_batches_to((32, 32), preprocessor)
    assert padded(preprocessor, [(32, 32)])[0].shape == (1, 3, 64, 64)


def test_pad_batches_to_refuses_what_it_cannot_pad():
    other = ImgDataPreprocessor()
    pad_batches_to(None, other)  # images of one size need no padding
    message = 'data_preprocessor.type=ImgDataPreprocessor: expected images of one size with teacher'
    with pytest.raises(UserError, match=message):
        pad_batches_to((32, 32), other)
    augmenting = DetDataPreprocessor(
        batch_augments=[dict(type='mmdet.BatchFixedSizePad', size=(32, 32))]
    )
    with pytest.raises(UserError, match='batch_augments: expected none with teacher views'):
        pad_batches_to(None, augmenting)


@pytest.mark.parametrize(
    'changes',
    [
        dict(size_divisor=32),  # of training
        dict(size=(64, 96), test_cfg=dict(size_divisor=16)),
        dict(size_divisor=1, test_cfg=dict(size_divisor=16), pad_val=-1),
        dict(size_divisor=1, test_cfg=dict(size=(60, 70)), pad_val=1),
        dict(size_divisor=1, test_cfg=dict(size=(30, 70)), bgr_to_rgb=False),
    ],
)
def test_preprocessing_of_test_images_pads_as_the_preprocessor_does(changes):
    config = {**IMAGENET, **changes}
    image = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8)
    own = SegDataPreProcessor(**{k: v for k, v in config.items() if k != 'type'})
    expected = own(dict(inputs=[image], data_samples=[SegDataSample()]))['inputs']
    found = Preprocessing.from_config(config, testing=True)
    assert found.padded((40, 50)) == tuple(expected.shape[2:])
    assert found.pads or expected.shape[2:] == (40, 50)
    raw = torch.zeros(3, *expected.shape[2:], dtype=torch.uint8)
    raw += torch.tensor(found.padding_colour, dtype=torch.uint8)[:, None, None]
    raw[:, :40, :50] = image
    keys = dict(mean=found.mean, std=found.std, bgr_to_rgb=found.rgb)
    unpadded = SegDataPreProcessor(**keys)
    torch.testing.assert_close(unpadded(dict(inputs=[raw]))['inputs'], expected, rtol=0, atol=0.02)
