"""Patches of the libraries that tests of other modules do not cover."""

import pytest
import torch
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmseg.registry import MODELS
from torch.nn import functional


@pytest.mark.parametrize('avg_non_ignore', [False, True])
@pytest.mark.parametrize('ignored', [0.0, 0.4])
def test_mmsegmentation_class_weight_equals_pytorch_weighted_mean(avg_non_ignore, ignored):
    weight = [0.5, 1.0, 3.0]
    loss = MODELS.build(
        dict(type='CrossEntropyLoss', class_weight=weight, avg_non_ignore=avg_non_ignore)
    )
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, generator=generator)
    labels = torch.randint(3, (2, 8, 8), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < ignored] = 255
    expected = functional.cross_entropy(logits, labels, torch.tensor(weight), ignore_index=255)
    torch.testing.assert_close(loss(logits, labels, ignore_index=255), expected)


def test_mmsegmentation_cross_entropy_without_class_weight_is_unchanged():
    loss = MODELS.build(dict(type='CrossEntropyLoss', avg_non_ignore=True))
    logits, labels = torch.zeros(1, 3, 1, 2), torch.tensor([[[0, 255]]])
    torch.testing.assert_close(loss(logits, labels, ignore_index=255), torch.tensor(3.0).log())


def test_mmdetection_pools_regions_of_bfloat16_features_where_they_are():
    extractor = SingleRoIExtractor(
        dict(type='RoIAlign', output_size=2, sampling_ratio=2), out_channels=1, featmap_strides=[16]
    )
    # Each column is its number over 8: exact in bfloat16. The corners of the regions are not.
    columns = (torch.arange(64.0) / 8).expand(1, 1, 64, 64).contiguous()
    regions = torch.tensor([[0, 901.5, 901.5, 905.5, 905.5], [0, 517, 3, 519, 7]])
    expected = extractor([columns], regions)
    pooled = extractor([columns.bfloat16()], regions)
    torch.testing.assert_close(pooled, expected, rtol=0, atol=1e-5)
    rounded = extractor([columns], regions.bfloat16().float())
    assert (rounded - expected).abs().max() > 5e-3
