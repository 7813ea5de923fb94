import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from mmkd.openmmlab.tasks import label_maps
from mmkd.openmmlab.unlabelled import without_annotations


def seg_sample() -> SegDataSample:
    label = PixelData(data=torch.ones(1, 4, 6, dtype=torch.long))
    return SegDataSample(gt_sem_seg=label, metainfo=dict(img_shape=(4, 6)))


def test_without_annotations_keeps_metainfo_only():
    bare = without_annotations(seg_sample())
    assert bare.keys() == [] and bare.img_shape == (4, 6)


def test_without_annotations_of_a_detector_has_no_box():
    instances = InstanceData(bboxes=torch.ones(3, 4), labels=torch.ones(3).long())
    sample = DetDataSample(gt_instances=instances, ignored_instances=instances)
    bare = without_annotations(sample)
    assert bare.gt_instances.bboxes.shape == bare.ignored_instances.bboxes.shape == (0, 4)
    assert len(sample.gt_instances) == 3


@pytest.mark.parametrize('fixed', [False, True])
def test_without_annotations_passes_the_preprocessor_of_a_mask_detector(fixed):
    """Pad masks and maps of classes, for the batch or to a size that is set."""
    padding = dict(pad_mask=True, pad_seg=True)
    augment = dict(type='mmdet.BatchFixedSizePad', size=(64, 64), **padding)
    preprocess = DetDataPreprocessor(
        pad_size_divisor=32, batch_augments=[augment] if fixed else None, **padding
    )
    empty = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0).long())
    sample = DetDataSample(gt_instances=empty, metainfo=dict(img_shape=(20, 30)))
    raw = dict(inputs=[torch.ones(3, 20, 30)], data_samples=[without_annotations(sample)])
    batch = preprocess(raw, training=True)
    (bare,) = batch['data_samples']
    assert batch['inputs'].shape[2:] == bare.gt_sem_seg.shape == ((64, 64) if fixed else (32, 32))
    assert len(bare.gt_instances) == 0 and bare.gt_instances.masks.masks.shape[1:] == (
        bare.gt_sem_seg.shape
    )
    assert (bare.gt_sem_seg.sem_seg == 255).all() and label_maps([bare]) is None
