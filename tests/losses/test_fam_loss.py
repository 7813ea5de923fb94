"""Frequency attention module: its two branches, what it learns, how it is stored."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from mmkd.distillation.term import Term
from mmkd.errors import UserError
from mmkd.losses.fam_loss import FAMLoss
from mmkd.ops.global_filter import apply_global_filter


def rand(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def built(student, teacher, **settings):
    loss = FAMLoss(**settings)
    with torch.no_grad():
        loss(student, teacher)
    return loss


def randomise(loss):
    with torch.no_grad():
        for seed, parameter in enumerate(loss.parameters()):
            parameter.copy_(rand(*parameter.shape, seed=seed))
    return loss


def test_fam_loss_value_is_mse_of_both_branches():
    student, teacher = rand(2, 3, 6, 5), rand(2, 4, 6, 5, seed=1)
    loss = randomise(built(student, teacher, cutoff=0.5))
    nodes, mixing, local, bias, branches = (
        p.detach().double()
        for p in (loss.filter, loss.mixing, loss.local, loss.bias, loss.branches)
    )
    far = functional.conv2d(apply_global_filter(student, nodes, 0.5), mixing[:, :, None, None])
    near = functional.conv2d(student, local[:, :, None, None], bias)
    expected = (branches[0] * far + branches[1] * near - teacher).square().mean()
    torch.testing.assert_close(loss(student, teacher).double(), expected)


def test_fam_loss_fresh_module_is_high_pass_with_equal_branches():
    torch.manual_seed(0)
    student, teacher = rand(1, 3, 8, 8), rand(1, 5, 8, 8)
    loss = built(student, teacher)
    assert loss.branches.tolist() == [0.5, 0.5]
    nodes = loss.filter.detach().double()
    assert nodes.shape == (2, 3, 17, 9)
    # Under 0.1 of Nyquist an 8x8 map has its mean alone.
    high = student - student.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(apply_global_filter(student, nodes, loss.cutoff), high)
    for weight in (loss.mixing, loss.local, loss.bias):
        assert 0 < weight.abs().max() <= 3**-0.5
    assert not torch.equal(loss.mixing, loss.local)


def test_fam_loss_identity_module_of_equal_inputs_is_zero():
    student = rand(2, 3, 6, 5)
    loss = built(student, student)
    with torch.no_grad():
        loss.branches.copy_(torch.tensor([0.0, 1.0]))
        loss.local.copy_(torch.eye(3))
        loss.bias.zero_()
    assert loss(student, student) == 0


def test_fam_loss_backward_reaches_every_parameter():
    student, teacher = rand(2, 3, 6, 5), rand(2, 4, 6, 5, seed=1)
    loss = randomise(built(student, teacher, grid=(3, 2)))
    loss(student, teacher).backward()
    for name, parameter in loss.named_parameters():
        assert (parameter.grad.abs() > 0).float().mean() > 0.8, name
        assert parameter.dtype == torch.float32


def test_fam_loss_training_learns_a_shift_of_one_pixel():
    # The teacher is the student moved by a pixel: all phase, and linear in frequency.
    student = rand(4, 1, 8, 8, dtype=torch.float32)
    student = student - student.mean(dim=(2, 3), keepdim=True)
    teacher = student.roll(1, dims=-1)
    torch.manual_seed(0)
    loss = built(student, teacher)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        value = loss(student, teacher)
        value.backward()
        optimizer.step()
    assert value < 0.1 * teacher.square().mean()


def test_fam_loss_one_module_takes_every_size():
    student, teacher = rand(1, 3, 6, 5), rand(1, 4, 6, 5)
    loss = built(student, teacher)
    for shape in ((1, 1), (7, 4), (12, 31)):
        assert loss(rand(1, 3, *shape), rand(1, 4, *shape)).isfinite()


@pytest.mark.parametrize('swap', [False, True])
def test_fam_loss_of_two_sizes_compares_at_the_smaller(swap):
    small, large = rand(1, 2, 2, 3), rand(1, 2, 4, 6, seed=1)
    halved = functional.avg_pool2d(large, 2)  # bilinear at half the size
    sides, expected = (small, large), (small, halved)
    if swap:
        sides, expected = sides[::-1], expected[::-1]
    loss = built(*sides)
    torch.testing.assert_close(loss(*sides), loss(*expected))


class Taps:
    def __init__(self, feature):
        self.feature = feature

    def __getitem__(self, tap):
        return self.feature


def build_term(student, teacher):
    term = Term('fam', 'a', 'b', loss=dict(type='FAMLoss'))
    term.build(Taps(student), Taps(teacher), images=len(student))
    return term


def test_fam_loss_in_term_is_sized_stored_and_loaded():
    student, teacher = rand(2, 3, 6, 5), rand(2, 4, 6, 5, seed=1)
    term = build_term(student, teacher)
    # After the build the parameters are ordinary ones: an optimizer takes and changes them all.
    optimizer = torch.optim.AdamW(term.parameters(), lr=0.1)
    before = {k: v.clone() for k, v in term.state_dict().items()}
    assert all(v.isfinite().all() for v in before.values())
    term(Taps(student), Taps(teacher)).backward()
    optimizer.step()
    assert all((v != before[k]).any() for k, v in term.state_dict().items())

    value = term(Taps(student), Taps(teacher))
    fresh = build_term(student, teacher)
    assert fresh(Taps(student), Taps(teacher)) != value
    fresh.load_state_dict(term.state_dict())
    assert fresh(Taps(student), Taps(teacher)) == value
    assert copy.deepcopy(term)(Taps(student), Taps(teacher)) == value


def test_fam_loss_weights_loaded_before_first_pass_stay():
    student, teacher = rand(2, 3, 6, 5), rand(2, 4, 6, 5, seed=1)
    loss = randomise(built(student, teacher))
    fresh = FAMLoss()
    fresh.load_state_dict(loss.state_dict())
    assert fresh(student, teacher) == loss(student, teacher)
    assert all(type(p) is nn.Parameter and p.requires_grad for p in fresh.parameters())


@pytest.mark.parametrize(
    'changes, said',
    [
        (dict(cutoff=0), r'cutoff=0: .*\(0, 1\]'),
        (dict(grid=(0, 4)), r'grid=\(0, 4\)'),
        (dict(grid=9), 'grid=9'),
    ],
)
def test_fam_loss_bad_parameters_raise_user_error(changes, said):
    with pytest.raises(UserError, match=said):
        FAMLoss(**changes)


def test_fam_loss_bad_inputs_raise_user_error():
    loss = FAMLoss()
    with pytest.raises(UserError, match='FAMLoss.*one batch size'):
        loss(rand(1, 3, 4, 4), rand(2, 4, 4, 4))
    with pytest.raises(UserError, match='FAMLoss: student is a list: expected one feature'):
        loss([rand(1, 3, 4, 4)], [rand(1, 4, 4, 4)])
    assert loss.has_uninitialized_params()
    loss(rand(1, 3, 4, 4), rand(1, 4, 4, 4))
    with pytest.raises(UserError, match='5 student and 4 teacher .* 3 and 4'):
        loss(rand(1, 5, 4, 4), rand(1, 4, 4, 4))
