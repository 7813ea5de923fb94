import sys

import numpy as np
import pytest

from mmkd.datasets.digits import Digits
from mmkd.errors import UserError


def test_digits_halves_are_scikit_learns_in_grey():
    source = pytest.importorskip('sklearn.datasets').load_digits()
    halves = Digits('train', pipeline=[]), Digits('val', pipeline=[])
    items = [half[i] for half in halves for i in range(len(half))]
    assert [len(half) for half in halves] == [898, 899]
    assert halves[0].metainfo['classes'] == tuple('0123456789')
    assert [item['gt_label'] for item in items] == source.target.tolist()
    images = np.stack([item['img'] for item in items])
    assert images.shape == (1797, 8, 8, 3) and images.dtype == np.uint8
    assert (images == images[..., :1]).all()
    assert np.abs(images[..., 0] * (16 / 255) - source.images).max() < 0.5 / 15


def test_digits_of_unknown_split_raises_user_error():
    with pytest.raises(UserError, match="dataset.split='test': expected one of train, val"):
        Digits('test')


def test_digits_without_scikit_learn_raises_user_error(monkeypatch):
    monkeypatch.setitem(sys.modules, 'sklearn.datasets', None)
    with pytest.raises(UserError, match=r'scikit-learn to be .* install .mmkd\[cla'):
        Digits('train')
