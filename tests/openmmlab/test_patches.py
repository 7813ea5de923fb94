"""Patches of the libraries that tests of other modules do not cover."""

import pytest
import torch
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
