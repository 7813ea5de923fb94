"""The common ground of two features: types, checks and grids."""

import pytest
import torch

from mmkd.errors import UserError
from mmkd.ops.features import cast_feature_pair, common_size, resize


@pytest.mark.parametrize(
    'student, teacher, expected',
    [
        (torch.float16, torch.bfloat16, torch.float32),
        (torch.float32, torch.float16, torch.float32),
        (torch.bfloat16, torch.float64, torch.float64),
    ],
)
def test_cast_feature_pair_gives_one_dtype_and_detaches_teacher(student, teacher, expected):
    student = torch.ones(1, 2, 2, 2, dtype=student, requires_grad=True)
    teacher = torch.ones(1, 3, 2, 2, dtype=teacher, requires_grad=True)
    s, t = cast_feature_pair('X', student, teacher)
    assert s.dtype == t.dtype == expected
    assert s.requires_grad and not t.requires_grad


def test_resize_equals_hand_value():
    x = torch.tensor([[[[0.0, 2.0, 4.0, 6.0]]]])
    assert resize(x, (1, 2)).flatten().tolist() == [1, 5]
    assert resize(x, (1, 4)) is x
    small = torch.tensor([[[[0.0, 4.0]]]])
    assert resize(small, (1, 4)).flatten().tolist() == [0, 1, 3, 4]
    assert common_size(torch.ones(1, 2, 5, 3), torch.ones(4, 2, 7)) == (2, 3)


@pytest.mark.parametrize(
    'student, teacher, said',
    [
        ((1, 2, 2), (1, 2, 2, 2), r'X: student \(1, 2, 2\).*features \(B, C, H, W\)'),
        ((1, 2, 2, 2), (2, 2, 2, 2), 'X: .*one batch size'),
        ((1, 2, 2, 2), (1, 5, 2, 2), 'X: 2 student and 5.*`adapter`'),
    ],
)
def test_cast_feature_pair_bad_inputs_raise_user_error(student, teacher, said):
    with pytest.raises(UserError, match=said):
        cast_feature_pair('X', torch.ones(student), torch.ones(teacher), same_channels=True)


def test_cast_feature_pair_list_of_taps_is_rejected():
    x = torch.ones(1, 2, 2, 2)
    with pytest.raises(UserError, match='X: teacher is a tuple: expected one feature'):
        cast_feature_pair('X', x, (x, x))
