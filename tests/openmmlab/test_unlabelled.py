import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from mmkd.openmmlab.unlabelled import split_unlabelled, without_annotations


def seg_sample() -> SegDataSample:
    label = PixelData(data=torch.ones(1, 4, 6, dtype=torch.long))
    return SegDataSample(gt_sem_seg=label, metainfo=dict(img_shape=(4, 6)))


def test_without_annotations_keeps_metainfo_only():
    bare = without_annotations(seg_sample())
    assert bare.keys() == [] and bare.img_shape == (4, 6) and bare.unlabelled


def test_without_annotations_of_a_detector_has_no_box():
    instances = InstanceData(bboxes=torch.ones(3, 4), labels=torch.ones(3).long())
    sample = DetDataSample(gt_instances=instances, ignored_instances=instances)
    bare = without_annotations(sample)
    assert bare.gt_instances.bboxes.shape == bare.ignored_instances.bboxes.shape == (0, 4)
    assert len(sample.gt_instances) == 3


def test_split_unlabelled_divides_images_and_samples():
    images, samples = torch.arange(3.0), [seg_sample() for _ in range(3)]
    samples[1:] = map(without_annotations, samples[1:])
    labelled, unlabelled = split_unlabelled(images, samples)
    assert labelled[0].tolist() == [0] and labelled[1] == samples[:1]
    assert unlabelled[0].tolist() == [1, 2] and unlabelled[1] == samples[1:]


@pytest.mark.parametrize('samples', [None, [seg_sample(), seg_sample()], torch.zeros(2)])
def test_split_unlabelled_leaves_other_batches_alone(samples):
    images = torch.zeros(2, 3, 4, 6)
    labelled, unlabelled = split_unlabelled(images, samples)
    assert labelled[0] is images and labelled[1] is samples and unlabelled is None
