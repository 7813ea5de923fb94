import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmseg.evaluation import IoUMetric

from mmkd.metrics import ClassIoUMetric, ExactIoUMetric


def score(kind, pairs, classes, **options):
    metric = kind(**options)
    metric.dataset_meta = dict(classes=tuple(f'c{i}' for i in range(classes)))
    for predicted, label in pairs:
        sample = dict(
            pred_sem_seg=dict(data=predicted[None]), gt_sem_seg=dict(data=label[None]), img_path=''
        )
        metric.process({}, [sample])
    return metric.compute_metrics(metric.results)


@pytest.mark.parametrize('size', [2**24 - 1, 2**24, 2**24 + 1])
def test_exact_iou_counts_above_float32_limit_are_exact(size):
    label = torch.zeros(size, dtype=torch.uint8)
    predicted = label.clone()
    predicted[:3] = 1
    intersection, union, found, true = ExactIoUMetric.intersect_and_union(predicted, label, 2, 255)
    assert intersection.tolist() == [size - 3, 0]
    assert union.tolist() == [size, 3]
    assert found.tolist() == [size - 3, 3]
    assert true.tolist() == [size, 0]


def test_exact_iou_counts_of_many_images_add_exactly():
    counts = [torch.tensor([2**24 + 1]), torch.tensor([1]), torch.tensor([1])]
    metric = ExactIoUMetric()
    metric.dataset_meta = dict(classes=('a',))
    wrong = torch.tensor([0])
    whole = [(c - wrong, c, c, c) for c in counts]
    assert metric.compute_metrics(whole)['aAcc'] == 100.0
    assert sum(counts).item() == 2**24 + 3


ids = st.sampled_from([0, 1, 2, 3, 4, 7, 200, 255])


@given(st.lists(st.tuples(ids, ids), min_size=1, max_size=60))
def test_exact_iou_counts_equal_confusion_matrix(pixels):
    predicted, label = (torch.tensor(side) for side in zip(*pixels, strict=True))
    counts = ExactIoUMetric.intersect_and_union(predicted, label, 5, 255)
    for k in range(5):
        known = [(p, t) for p, t in pixels if t != 255]
        both = sum(p == t == k for p, t in known)
        found, true = sum(p == k for p, _ in known), sum(t == k for _, t in known)
        assert [c[k].item() for c in counts] == [both, found + true - both, found, true]


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 19, 150]))
def test_exact_iou_scores_equal_mmsegmentation(seed, classes):
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(3):
        label = torch.from_numpy(rng.integers(0, classes, (13, 17)))
        label[rng.random((13, 17)) < 0.2] = 255
        predicted = torch.from_numpy(rng.integers(0, classes, (13, 17)))
        pairs.append((torch.where(torch.rand(13, 17) < 0.5, label % classes, predicted), label))
    metrics = ['mIoU', 'mDice', 'mFscore']
    ours = score(ExactIoUMetric, pairs, classes, iou_metrics=metrics)
    theirs = score(IoUMetric, pairs, classes, iou_metrics=metrics)
    np.testing.assert_equal(ours, theirs)


def test_exact_iou_by_class_is_exact():
    label = torch.zeros(1, 2**24 + 8, dtype=torch.uint8)
    predicted = label.clone()
    predicted[:, : 2**22] = 1
    scores = score(ClassIoUMetric, [(predicted, label)], 2)
    assert scores['c0'] == pytest.approx(100 * (2**24 + 8 - 2**22) / (2**24 + 8))
    assert scores['c1'] == 0


@pytest.mark.parametrize('options, absent', [(dict(), float('nan')), (dict(nan_to_num=0), 0.0)])
def test_class_iou_of_an_absent_class_is_nan_or_what_replaces_it(options, absent):
    label = torch.tensor([[0, 1]])
    scores = score(ClassIoUMetric, [(label, label)], 3, **options)
    assert scores == pytest.approx(dict(c0=100.0, c1=100.0, c2=absent), nan_ok=True)
