"""Logit distillation: the definition, temperature, ignored pixels."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from mmkd.errors import UserError
from mmkd.losses.logit_kd_loss import LogitKDLoss

quick = settings(max_examples=20, deadline=None)


def rand(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def pair(*shape):
    return rand(*shape), 2 * rand(*shape, seed=1)


@quick
@given(st.integers(2, 5), st.integers(1, 5), st.sampled_from([0.5, 1.0, 4.0]))
def test_logit_kd_loss_value_equals_paper(classes, width, tau):
    student, teacher = pair(2, classes, 3, width)
    pixels = [x.movedim(1, -1).reshape(-1, classes) for x in (student, teacher)]
    expected = functional.kl_div(
        functional.log_softmax(pixels[0] / tau, 1),
        functional.softmax(pixels[1] / tau, 1),
        reduction='batchmean',
    )
    torch.testing.assert_close(
        LogitKDLoss(tau)(student, teacher), tau**2 * expected, rtol=0, atol=1e-9
    )


def test_logit_kd_loss_of_whole_images_is_that_of_one_pixel():
    student, teacher = pair(3, 5)
    expected = functional.kl_div(
        functional.log_softmax(student / 4, 1), functional.softmax(teacher / 4, 1),
        reduction='batchmean',
    )  # fmt: skip
    torch.testing.assert_close(LogitKDLoss(4.0)(student, teacher), 16 * expected)
    with pytest.raises(UserError, match=r'expected features \(B, C, H, W\)'):
        LogitKDLoss()(student, teacher[..., None, None])


def test_logit_kd_loss_gradient_size_is_independent_of_tau():
    # For logits small against tau the gradient tends to (S - T) / (C * pixels), without tau.
    student, teacher = pair(1, 4, 1, 1)
    student = student - student.mean()
    teacher = teacher - teacher.mean()
    student.requires_grad_()
    LogitKDLoss(1e4)(student, teacher).backward()
    torch.testing.assert_close(student.grad, (student - teacher).detach() / 4, rtol=0, atol=1e-4)


def test_logit_kd_loss_ignores_ignored_pixels():
    student, teacher = pair(2, 3, 4, 6)
    labels = torch.randint(0, 3, (2, 4, 6), generator=torch.Generator().manual_seed(0))
    labels[0, :, :2] = 255
    labels[1, 1] = 255
    kept = labels != 255
    chosen = [x.movedim(1, -1)[kept].T[None, :, None] for x in (student, teacher)]
    loss = LogitKDLoss()
    torch.testing.assert_close(loss(student, teacher, labels), loss(*chosen))
    assert loss(student, teacher, labels) != loss(student, teacher)
    # Another number is ignored where it is asked to be.
    other = LogitKDLoss(ignore_index=-1)
    torch.testing.assert_close(other(student, teacher, labels), loss(student, teacher))
    labels[labels == 255] = -1
    torch.testing.assert_close(other(student, teacher, labels), loss(*chosen))

    student.requires_grad_()
    loss(student, teacher, torch.where(kept, 0, 255)).backward()
    ignored = ~kept[:, None].expand_as(student)
    assert (student.grad[ignored] == 0).all() and (student.grad[~ignored] != 0).all()


def test_logit_kd_loss_labels_are_sampled_at_logit_pixels():
    student, teacher = pair(1, 3, 2, 3)
    small = torch.tensor([[[0, 255, 1], [255, 2, 0]]])
    loss = LogitKDLoss()
    expected = loss(student, teacher, small)
    for factor in (2, 3, 8):
        large = small.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
        torch.testing.assert_close(loss(student, teacher, large), expected)
    # A thin line of ignored labels off every centre changes nothing.
    large[:, ::8] = 255
    torch.testing.assert_close(loss(student, teacher, large), expected)


def test_logit_kd_loss_of_ignored_pixels_only_is_zero():
    student, teacher = pair(2, 3, 4, 6)
    student.requires_grad_()
    value = LogitKDLoss()(student, teacher, torch.full((2, 4, 6), 255))
    value.backward()
    assert value == 0 and (student.grad == 0).all()


def test_logit_kd_loss_teacher_is_resized_to_student():
    loss = LogitKDLoss()
    student = rand(1, 2, 2, 2)
    teacher = 2 * rand(1, 2, 4, 4, seed=1)
    halved = functional.avg_pool2d(teacher, 2)  # bilinear at half the size
    torch.testing.assert_close(loss(student, teacher), loss(student, halved))
    # A student larger than its teacher keeps all its pixels.
    student, teacher = rand(1, 2, 4, 4).requires_grad_(), rand(1, 2, 2, 2, seed=1)
    loss(student, teacher).backward()
    assert (student.grad != 0).all()


def test_logit_kd_loss_label_resolution_compares_upsampled_logits():
    student, teacher = rand(2, 3, 4, 6).requires_grad_(), 2 * rand(2, 3, 2, 3, seed=1)
    labels = torch.randint(0, 3, (2, 17, 23), generator=torch.Generator().manual_seed(0))
    labels[0, :5] = 255
    full = (functional.interpolate(x, (17, 23), mode='bilinear') for x in (student, teacher))
    expected = LogitKDLoss()(*full, labels)
    found = LogitKDLoss(resolution='label')(student, teacher, labels)
    torch.testing.assert_close(found, expected)
    gradients = (torch.autograd.grad(value, student)[0] for value in (found, expected))
    torch.testing.assert_close(*gradients)


def test_logit_kd_loss_label_resolution_without_labels_is_rejected():
    with pytest.raises(UserError, match="LogitKDLoss: resolution='label': expected label maps"):
        LogitKDLoss(resolution='label')(*pair(2, 3, 4, 6))


@pytest.mark.parametrize(
    'changes',
    [dict(tau=0), dict(tau='4'), dict(ignore_index=None), dict(resolution='pixel')],
)
def test_logit_kd_loss_bad_parameters_raise_user_error(changes):
    (name, value), *_ = changes.items()
    with pytest.raises(UserError, match=f'{name}={value!r}'):
        LogitKDLoss(**changes)


@pytest.mark.parametrize(
    'student, teacher, labels, said',
    [
        ((2, 3, 4, 4), (2, 5, 4, 4), None, '3 student and 5 teacher classes'),
        ((2, 1, 4, 4), (2, 1, 4, 4), None, '1 class: expected at least 2'),
        ((2, 3, 4, 4), (1, 3, 4, 4), None, 'one batch size'),
        ((2, 3, 4, 4), (2, 3, 4, 4), (2, 1, 4, 4), r'labels.*\(2, 1, 4, 4\)'),
        ((2, 3, 4, 4), (2, 3, 4, 4), (1, 4, 4), r'labels \(1, 4, 4\): .*B=2'),
    ],
)
def test_logit_kd_loss_bad_inputs_raise_user_error(student, teacher, labels, said):
    labels = labels and torch.zeros(labels)
    with pytest.raises(UserError, match=said):
        LogitKDLoss()(rand(*student), rand(*teacher), labels)
