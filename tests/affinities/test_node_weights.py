import pytest
import torch

from mmkd.affinities import QueryKeyAffinity, SimilarityAffinity
from mmkd.affinities.node_weights import node_weights
from mmkd.attention_taps import Attention
from mmkd.errors import UserError


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def attention(grid, key_grid=None, batch=2):
    (height, width), (rows, columns) = grid, key_grid or grid
    query, key = rand(batch, 3, height * width, 4), rand(batch, 3, rows * columns, 4, seed=1)
    return Attention(query, key, grid, key_grid or grid)


def weights_of(student, teacher, nodes=None):
    return node_weights('SomeLoss', SimilarityAffinity(), student, teacher, nodes)


def test_both_sides_meet_on_the_smaller_height_and_width():
    student, teacher, gram = weights_of(rand(2, 5, 4, 9), attention((6, 3)))
    assert student.shape == (2, 1, 12, 12) and teacher.shape == (2, 3, 12, 12) and not gram
    torch.testing.assert_close(student, SimilarityAffinity()(rand(2, 5, 4, 9), (4, 3)))
    torch.testing.assert_close(teacher, attention((6, 3)).on_nodes((4, 3)))


def test_nodes_that_are_asked_for_are_taken():
    student, teacher, _ = weights_of(rand(2, 5, 4, 6), rand(2, 7, 8, 8), (2, 2))
    assert student.shape == teacher.shape == (2, 1, 4, 4)


@pytest.mark.parametrize('side', ['student', 'teacher'])
def test_fewer_keys_than_nodes_make_both_graphs_of_what_nodes_share(side):
    sides = dict(student=rand(2, 5, 6, 8), teacher=rand(2, 5, 6, 8))
    sides[side] = attention((6, 8), (3, 4))
    student, teacher, gram = weights_of(**sides)
    assert gram and dict(student=student, teacher=teacher)[side].shape[-2:] == (48, 12)


def test_only_the_student_has_a_gradient():
    student, teacher, _ = weights_of(*(rand(1, 5, 3, 3).requires_grad_() for _ in range(2)))
    assert student.requires_grad and not teacher.requires_grad
    learned = QueryKeyAffinity()
    learned(rand(1, 5, 3, 3), (3, 3))
    student, teacher, _ = node_weights(
        'SomeLoss', learned, rand(1, 5, 3, 3), rand(1, 5, 3, 3), None
    )
    assert student.requires_grad and not teacher.requires_grad


def test_the_wider_type_of_the_two_at_least_single():
    for types, expected in (
        ((torch.float16, torch.bfloat16), torch.float32),
        ((torch.float32, torch.float64), torch.float64),
    ):
        with torch.autocast('cpu', torch.bfloat16):
            student, teacher, _ = weights_of(*(rand(1, 5, 3, 3).to(t) for t in types))
        assert student.dtype == teacher.dtype == expected


@pytest.mark.parametrize(
    'student, teacher, message',
    [
        (rand(2, 5, 4), rand(2, 5, 4, 4), r'SomeLoss takes .* got \(2, 5, 4\) from student'),
        (rand(2, 5, 4, 4), (rand(2, 5, 4, 4),), 'got tuple from teacher'),
        (rand(2, 5, 4, 4), rand(3, 5, 4, 4), 'one batch size on both sides, got 2 and 3'),
        (rand(2, 5, 4, 4), attention((4, 4), batch=1), 'got 2 and 1'),
        (Attention(rand(1, 1, 6, 2), rand(1, 1, 6, 2)),
         Attention(rand(1, 1, 6, 2), rand(1, 1, 6, 2)), r'set nodes=\(h, w\)'),
    ],
)  # fmt: skip
def test_sides_that_cannot_be_compared_are_named(student, teacher, message):
    with pytest.raises(UserError, match=message):
        weights_of(student, teacher)
