"""Attention transfer: the recipe's numbers, the authors' own formula, several layers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kept_maps import check_kept_map
from torch.nn import functional

from mmkd.errors import UserError
from mmkd.losses.activation_at_loss import ActivationATLoss
from mmkd.ops.fourier import fourier_resize

quick = settings(max_examples=25, deadline=None)


def rand(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def unit(q):
    return q / q.flatten(1).norm(dim=1)[:, None, None]


@quick
@given(
    st.sampled_from(['sum', 'max']),
    st.sampled_from([1, 2, 3, 4]),
    st.sampled_from(['l2_batch', 'l2', 'mse']),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_activation_at_loss_equals_definition(mapping, p, distance, shape):
    student, teacher = rand(2, 3, *shape), rand(2, 4, *shape, seed=1)

    def attention(feature):
        powers = feature.abs() ** p
        return unit(powers.sum(1) if mapping == 'sum' else powers.max(1).values)

    squares = [torch.sum(d**2).item() for d in attention(student) - attention(teacher)]
    expected = {
        'l2_batch': math.sqrt(sum(squares)) / 2,
        'l2': sum(map(math.sqrt, squares)) / 2,
        'mse': sum(squares) / (2 * shape[0] * shape[1]),
    }
    value = ActivationATLoss(mapping, p, distance)(student, teacher)
    assert value.item() == pytest.approx(expected[distance], rel=1e-6, abs=1e-7)


def test_activation_at_loss_yolo_form_equals_reference_numbers():
    # A map with 2500 at one pixel and norm 8000 is 0.3125 there after scaling. Against a student
    # that looks at that pixel alone, ||A_S - A_T||^2 is 2 - 2 * 0.3125.
    teacher = torch.tensor([[[[2500.0, math.sqrt(8000**2 - 2500**2)]]]]).sqrt()
    student = torch.tensor([[[[7.0, 0.0]]]])
    value = ActivationATLoss()(student, teacher)
    assert value.item() == pytest.approx(math.sqrt(2 - 2 * 0.3125), rel=1e-6)
    mean_square = ActivationATLoss(distance='mse')(student, teacher)
    assert mean_square.item() == pytest.approx(1 - 0.3125, rel=1e-6)


@quick
@given(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))
def test_activation_at_loss_mse_equals_authors_code(batch, height, width):
    def at(x):
        return functional.normalize(x.pow(2).mean(1).view(x.size(0), -1))

    student = rand(batch, 3, height, width, dtype=torch.float32)
    teacher = rand(batch, 5, height, width, seed=1, dtype=torch.float32)
    value = ActivationATLoss(distance='mse')(student, teacher)
    expected = (at(student) - at(teacher)).pow(2).mean()
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-6)


@quick
@given(
    st.floats(1e-2, 1e4),
    st.floats(1e-2, 1e4),
    st.sampled_from([('sum', 1), ('sum', 2), ('max', 3)]),
)
def test_activation_at_loss_ignores_scale(a, b, mapping):
    student, teacher = rand(2, 3, 4, 5), rand(2, 3, 4, 5, seed=1)
    loss = ActivationATLoss(*mapping)
    torch.testing.assert_close(
        loss(a * student, b * teacher), loss(student, teacher), rtol=1e-2, atol=0
    )
    exact = ActivationATLoss(*mapping, eps=1e-30)
    torch.testing.assert_close(exact(a * student, b * teacher), exact(student, teacher))


def test_activation_at_loss_layers_are_added_equally():
    shapes = [(2, 4, 8, 8), (2, 8, 8, 8), (2, 8, 4, 4), (2, 16, 4, 4), (2, 16, 2, 2), (2, 8, 2, 2)]
    students = tuple(rand(*shape) for shape in shapes)
    teachers = tuple(rand(*shape, seed=1) for shape in shapes)
    loss = ActivationATLoss()
    expected = sum(loss(s, t) for s, t in zip(students, teachers, strict=True))
    torch.testing.assert_close(loss(students, teachers), expected)
    with pytest.raises(UserError, match='6 student and 5 teacher layers'):
        loss(students, teachers[:5])


def test_activation_at_loss_l2_batch_falls_with_root_of_batch():
    student, teacher = rand(2, 3, 4, 5), rand(2, 3, 4, 5, seed=1)
    many = [x.repeat(9, 1, 1, 1) for x in (student, teacher)]
    one = ActivationATLoss()(student, teacher)
    torch.testing.assert_close(ActivationATLoss()(*many), one / 3)


@pytest.mark.parametrize('shapes', [((6, 8), (3, 4)), ((3, 4), (6, 8)), ((6, 4), (3, 8))])
def test_activation_at_loss_of_two_sizes_compares_at_the_smaller(shapes):
    student, teacher = rand(2, 3, *shapes[0]), rand(2, 3, *shapes[1], seed=1)

    def halves(q):  # bilinear, at half the size: the mean of the two pixels around the centre
        q = q.unflatten(1, (3, -1)).mean(2)
        return q.unflatten(2, (4, -1)).mean(3)

    expected = [unit(halves((x**2).sum(1))) for x in (student, teacher)]
    value = ActivationATLoss(distance='mse')(student, teacher)
    torch.testing.assert_close(value, (expected[0] - expected[1]).square().mean())

    expected = [unit(fourier_resize((x**2).sum(1), (3, 4))) for x in (student, teacher)]
    value = ActivationATLoss(distance='mse', resize='fourier')(student, teacher)
    torch.testing.assert_close(value, (expected[0] - expected[1]).square().mean())


@pytest.mark.parametrize('resize', ['bilinear', 'fourier'])
@pytest.mark.parametrize('mapping, p', [('sum', 1), ('sum', 2), ('max', 3)])
@pytest.mark.parametrize('distance', ['l2_batch', 'l2', 'mse'])
def test_activation_at_loss_every_form_passes_gradcheck(resize, mapping, p, distance):
    student, teacher = rand(2, 2, 3, 4).requires_grad_(), rand(2, 3, 2, 3, seed=1)
    loss = ActivationATLoss(mapping, p, distance, resize=resize)
    assert torch.autograd.gradcheck(lambda student: loss(student, teacher), student)


def test_activation_at_loss_eps_is_added_to_the_norm():
    # Map (3, 4), norm 5: with eps=5 it becomes (0.3, 0.4), against nothing.
    student = torch.tensor([[[[3.0, 4.0]]]])
    value = ActivationATLoss(p=1, eps=5.0)(student, torch.zeros_like(student))
    assert value.item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    'changes, said',
    [
        (dict(mapping='mean'), "mapping='mean'.*sum, max"),
        (dict(p=0.5), 'p=0.5: .*>= 1'),
        (dict(distance='l1'), "distance='l1'.*l2_batch, l2, mse"),
        (dict(eps=0), 'eps=0: .*> 0'),
        (dict(resize='nearest'), "resize='nearest'.*bilinear, fourier"),
    ],
)
def test_activation_at_loss_bad_parameters_raise_user_error(changes, said):
    with pytest.raises(UserError, match=said):
        ActivationATLoss(**changes)


def test_activation_at_loss_bad_inputs_raise_user_error():
    with pytest.raises(UserError, match='one batch size'):
        ActivationATLoss()(rand(1, 2, 2, 2), rand(2, 2, 2, 2))


@pytest.mark.parametrize('resize', ['bilinear', 'fourier'])
@pytest.mark.parametrize('mapping, p', [('sum', 1), ('sum', 2), ('max', 3)])
@given(sizes=st.lists(st.integers(1, 9), min_size=4, max_size=4))
def test_activation_at_loss_of_a_kept_map_is_that_of_the_feature(resize, mapping, p, sizes):
    teacher = rand(2, 5, *sizes[2:], seed=1)
    check_kept_map(ActivationATLoss(mapping, p, resize=resize), rand(2, 3, *sizes[:2]), teacher)


def test_activation_at_loss_takes_kept_maps_layer_by_layer():
    students, teachers = (rand(2, 3, 4, 6), rand(2, 3, 2, 3)), (rand(2, 4, 2, 3), rand(2, 4, 4, 6))
    loss = ActivationATLoss()
    kept = tuple(loss.teacher_map(x, (2, 3)) for x in teachers)
    torch.testing.assert_close(loss(students, kept), loss(students, teachers))


def test_activation_at_loss_takes_tokens_for_no_map():
    with pytest.raises(UserError, match='expected features'):
        ActivationATLoss()(rand(2, 3, 8, 12), rand(2, 96, 16))
