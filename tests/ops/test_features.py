"""The common ground of two features: types, checks and grids."""

import pytest
import torch

from mmkd.errors import UserError
from mmkd.ops.features import feature_pair, resize, smaller_size


@pytest.mark.parametrize(
    'student, teacher, expected',
    [
        (torch.float16, torch.bfloat16, torch.float32),
        (torch.float32, torch.float16, torch.float32),
        (torch.bfloat16, torch.float64, torch.float64),
    ],
)
def test_one_type_and_no_graph_behind_the_teacher(student, teacher, expected):
    student = torch.ones(1, 2, 2, 2, dtype=student, requires_grad=True)
    teacher = torch.ones(1, 3, 2, 2, dtype=teacher, requires_grad=True)
    s, t = feature_pair('X', student, teacher)
    assert s.dtype == t.dtype == expected
    assert s.requires_grad and not t.requires_grad


def test_resize_by_hand():
    x = torch.tensor([[[[0.0, 2.0, 4.0, 6.0]]]])
    assert resize(x, (1, 2)).flatten().tolist() == [1, 5]
    assert resize(x, (1, 4)) is x
    small = torch.tensor([[[[0.0, 4.0]]]])
    assert resize(small, (1, 4)).flatten().tolist() == [0, 1, 3, 4]
    assert smaller_size(torch.ones(1, 2, 5, 3), torch.ones(4, 2, 7)) == (2, 3)


@pytest.mark.parametrize(
    'student, teacher, said',
    [
        ((1, 2, 2), (1, 2, 2, 2), r'X takes features \(N, C, H, W\).*student \(1, 2, 2\)'),
        ((1, 2, 2, 2), (2, 2, 2, 2), 'X needs one batch size'),
        ((1, 2, 2, 2), (1, 5, 2, 2), 'X needs as many.*2 and 5.*`adapter`'),
    ],
)
def test_errors(student, teacher, said):
    with pytest.raises(UserError, match=said):
        feature_pair('X', torch.ones(student), torch.ones(teacher), same_channels=True)


def test_a_list_of_taps_is_refused():
    x = torch.ones(1, 2, 2, 2)
    with pytest.raises(UserError, match='X takes one feature a side, got tuple from teacher'):
        feature_pair('X', x, (x, x))
