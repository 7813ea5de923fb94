import pytest
import torch

from mmkd.errors import UserError
from mmkd.losses.affinities import QueryKeyAffinity, SimilarityAffinity
from mmkd.losses.affinities.node_affinities import node_affinities
from mmkd.ops.attention_readings import Attention


def rand(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def attention(grid, key_grid=None, batch=2):
    (height, width), (rows, columns) = grid, key_grid or grid
    query, key = rand(batch, 3, height * width, 4), rand(batch, 3, rows * columns, 4, seed=1)
    return Attention(query, key, grid, key_grid or grid)


def weights_of(student, teacher, nodes=None):
    return node_affinities('SomeLoss', SimilarityAffinity(), student, teacher, nodes)


def test_node_affinities_of_two_sizes_use_the_smaller():
    student, teacher, gram = weights_of(rand(2, 5, 4, 9), attention((6, 3)))
    assert student.shape == (2, 1, 12, 12) and teacher.shape == (2, 3, 12, 12) and not gram
    torch.testing.assert_close(student, SimilarityAffinity()(rand(2, 5, 4, 9), (4, 3)))
    torch.testing.assert_close(teacher, attention((6, 3)).on_nodes((4, 3)))


def test_node_affinities_given_nodes_are_used():
    student, teacher, _ = weights_of(rand(2, 5, 4, 6), rand(2, 7, 8, 8), (2, 2))
    assert student.shape == teacher.shape == (2, 1, 4, 4)


@pytest.mark.parametrize('side', ['student', 'teacher'])
def test_node_affinities_reduced_keys_give_gram_graphs(side):
    sides = dict(student=rand(2, 5, 6, 8), teacher=rand(2, 5, 6, 8))
    sides[side] = attention((6, 8), (3, 4))
    student, teacher, gram = weights_of(**sides)
    assert gram and dict(student=student, teacher=teacher)[side].shape[-2:] == (48, 12)


def test_node_affinities_gradient_reaches_student_only():
    student, teacher, _ = weights_of(*(rand(1, 5, 3, 3).requires_grad_() for _ in range(2)))
    assert student.requires_grad and not teacher.requires_grad
    learned = QueryKeyAffinity()
    learned(rand(1, 5, 3, 3), (3, 3))
    student, teacher, _ = node_affinities(
        'SomeLoss', learned, rand(1, 5, 3, 3), rand(1, 5, 3, 3), None
    )
    assert student.requires_grad and not teacher.requires_grad


def test_node_affinities_dtype_is_the_wider_and_at_least_float32():
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
        (rand(2, 5, 4), rand(2, 5, 4, 4), r'SomeLoss: student is \(2, 5, 4\): expected'),
        (rand(2, 5, 4, 4), (rand(2, 5, 4, 4),), 'teacher is tuple'),
        (rand(2, 5, 4, 4), rand(3, 5, 4, 4), 'batches of 2 and 3: expected one batch size'),
        (rand(2, 5, 4, 4), attention((4, 4), batch=1), 'batches of 2 and 1'),
        (Attention(rand(1, 1, 6, 2), rand(1, 1, 6, 2)),
         Attention(rand(1, 1, 6, 2), rand(1, 1, 6, 2)), r'nodes=None: expected \(h, w\)'),
    ],
)  # fmt: skip
def test_node_affinities_incomparable_sides_raise_user_error(student, teacher, message):
    with pytest.raises(UserError, match=message):
        weights_of(student, teacher)
