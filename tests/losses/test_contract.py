"""What every loss promises, checked for every loss that is registered."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mmkd.losses  # noqa: F401  (registers)
from mmkd.errors import UserError
from mmkd.registry import MODELS

# One construction a loss. `test_contract_table_holds_every_loss` fails for a loss that is not here.
ARGUMENTS = {
    # Its default distance falls with the batch, as the recipe it comes from has it.
    'ActivationATLoss': dict(distance='l2'),
    'CWDLoss': dict(),
    'FAMLoss': dict(),
    'FRSFeatureLoss': dict(),
    'FRSHeadLoss': dict(),
    'FeatureMSELoss': dict(),
    'FrequencyAttentionLoss': dict(low=0.5, high=1.0, cutoff=0.4),
    'GradientATLoss': dict(),
    'LocalizationKDLoss': dict(),
    'LogitKDLoss': dict(),
    'PKDLoss': dict(),
    # With anything cut or scaled its target is another graph than the teacher's.
    'SpectralGraphLoss': dict(energy=1.0, gamma=0.0),
    'SpectrumLoss': dict(k=6),
}
# A learned module stands between the two features, so equal ones need not be at zero.
LEARNED = {'FAMLoss'}
# Gradients with respect to one batch; distances that count in the strides of one grid.
ONE_SIZE = {'GradientATLoss', 'LocalizationKDLoss'}
# A cross entropy: equal inputs are at its minimum, which is their entropy.
ENTROPY_AT_MINIMUM = {'FRSHeadLoss'}
# What a loss takes beside the two features, made of the teacher's.
EXTRA = {
    name: lambda teacher: dict(scores=teacher) for name in ('FRSFeatureLoss', 'LocalizationKDLoss')
}
# What a loss takes in place of a feature: the channels as the bins of each of four sides.
FORM = {'LocalizationKDLoss': lambda feature: feature.repeat(1, 4, 1, 1)}

REGISTERED = {
    name
    for name, cls in MODELS.module_dict.items()
    if re.fullmatch(r'mmkd\.losses\.\w+', cls.__module__)
}
SHAPE = (2, 3, 5, 6)
DEGENERATE = {
    'zero': lambda: torch.zeros(SHAPE),
    'constant': lambda: torch.full(SHAPE, 5.0),
    'one_pixel': lambda: torch.ones(2, 3, 1, 1),
    'one_sample': lambda: rand(1, 3, 5, 4),
    'large': lambda: rand(*SHAPE) * 1e4,
    'large_constant': lambda: torch.full(SHAPE, 1e4),
    'large_half': lambda: (rand(*SHAPE) * 1e4).half(),
    'tiny': lambda: rand(*SHAPE) * 1e-6,
}
every_loss = pytest.mark.parametrize('name', sorted(ARGUMENTS))


def rand(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def pair(dtype=torch.float64, shape=SHAPE):
    return rand(*shape, dtype=dtype), rand(*shape, seed=1, dtype=dtype)


class OfTwoFeatures(torch.nn.Module):
    """A loss of two features, in the form and with what else it takes."""

    def __init__(self, loss, form, extra):
        super().__init__()
        self.loss, self.form, self.extra = loss, form, extra

    def forward(self, student, teacher):
        return self.loss(self.form(student), self.form(teacher), **self.extra(teacher))


def loss_of(name):
    torch.manual_seed(0)
    return MODELS.build(dict(type=name, _scope_='mmkd', **ARGUMENTS.get(name, {})))


def build(name):
    loss = loss_of(name)
    if name not in EXTRA:
        return loss
    return OfTwoFeatures(loss, FORM.get(name, lambda feature: feature), EXTRA[name])


def test_contract_table_holds_every_loss():
    missing = sorted(REGISTERED - ARGUMENTS.keys())
    assert not missing, f'add {", ".join(missing)} to ARGUMENTS, the table of this file'
    assert not ARGUMENTS.keys() - REGISTERED
    assert REGISTERED == set(mmkd.losses.__all__)


@every_loss
def test_loss_file_is_class_name_in_snake_case(name):
    file = type(loss_of(name)).__module__.rpartition('.')[2]
    assert file.replace('_', '') == name.lower() and file.endswith('_loss')


@every_loss
def test_loss_result_is_0_dim_of_input_dtype(name):
    for dtype in (torch.float32, torch.float64):
        value = build(name)(*pair(dtype))
        assert value.shape == () and value.dtype == dtype
        assert value > 0


@every_loss
def test_loss_of_equal_inputs_is_zero_without_gradient(name):
    if name in LEARNED:
        pytest.skip('equal inputs are not its minimum')
    student, _ = pair()
    student.requires_grad_()
    value = build(name)(student, student.detach().clone())
    value.backward()
    assert value == 0 or name in ENTROPY_AT_MINIMUM
    torch.testing.assert_close(student.grad, torch.zeros_like(student), rtol=0, atol=1e-14)


@every_loss
@pytest.mark.parametrize('listed', [('student',), ('teacher',), ('student', 'teacher')])
def test_loss_of_a_list_of_taps_is_a_number_or_a_user_error(name, listed):
    sides = dict(zip(('student', 'teacher'), pair(), strict=True))
    form, extra = FORM.get(name, lambda feature: feature), EXTRA.get(name, lambda teacher: {})
    extra = extra(sides['teacher'])
    sides = {side: form(feature) for side, feature in sides.items()}
    if listed == ('student', 'teacher'):
        extra = {key: (value, value) for key, value in extra.items()}
    sides |= {side: (sides[side], sides[side]) for side in listed}
    try:
        assert loss_of(name)(**sides, **extra).isfinite()
    except UserError as error:
        assert '\n' not in str(error)


@every_loss
def test_loss_gradient_step_lowers_value(name):
    student, teacher = pair()
    student.requires_grad_()
    loss = build(name)
    value = loss(student, teacher)
    (gradient,) = torch.autograd.grad(value, student)
    step = 1e-3 * student.norm() / gradient.norm()
    assert loss(student - step * gradient, teacher) < value


@every_loss
@pytest.mark.parametrize('side', ['student', 'teacher'])
@pytest.mark.parametrize('size', [(2, 2), (4, 4), (5, 6)])
def test_loss_of_nan_is_nan(name, side, size):
    """An error, or a number, would keep the training from naming the term."""
    sides = dict(zip(('student', 'teacher'), pair(torch.float32, (2, 3, *size)), strict=True))
    sides[side][1, 0, 0, 0] = torch.nan
    assert build(name)(**sides).isnan()


@every_loss
def test_loss_gradient_reaches_student_only(name):
    student, teacher = (x.requires_grad_() for x in pair())
    build(name)(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum(dim=(1, 2, 3)).min() > 0


@every_loss
@pytest.mark.parametrize('shapes', [((2, 3, 3, 4), (2, 3, 3, 4)), ((1, 3, 4, 3), (1, 3, 2, 5))])
def test_loss_passes_gradcheck(name, shapes):
    if name in ONE_SIZE and shapes[0] != shapes[1]:
        pytest.skip('takes one size')
    student, teacher = rand(*shapes[0], dtype=torch.float64), rand(*shapes[1], seed=1).double()
    loss = build(name)
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda student: loss(student, teacher), student)


@every_loss
def test_loss_of_repeated_batch_is_unchanged(name):
    student, teacher = pair()
    loss = build(name)
    many = loss(student.repeat(3, 1, 1, 1), teacher.repeat(3, 1, 1, 1))
    torch.testing.assert_close(many, loss(student, teacher))


@every_loss
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_loss_half_precision_inputs_are_widened(name, dtype):
    student, teacher = (x.to(dtype) for x in pair())
    loss = build(name)
    expected = loss(student.float(), teacher.float())
    student.requires_grad_()
    value = loss(student, teacher)
    value.backward()
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)
    assert student.grad.dtype == dtype and student.grad.isfinite().all()


@every_loss
def test_loss_half_precision_loses_input_rounding_only(name):
    student, teacher = pair(torch.float32)
    loss = build(name)
    expected = loss(student, teacher)
    for dtype, tolerance in ((torch.bfloat16, 1e-2), (torch.float16, 1e-3)):
        value = loss(student.to(dtype), teacher.to(dtype))
        torch.testing.assert_close(value, expected, rtol=tolerance, atol=0)


@every_loss
def test_loss_under_autocast_is_unchanged(name):
    student, teacher = pair(torch.float32)
    student.requires_grad_()
    loss = build(name)
    expected = loss(student, teacher)
    (gradient,) = torch.autograd.grad(expected, student)
    with torch.autocast('cpu', torch.bfloat16):
        value = loss(student, teacher)
    (under_autocast,) = torch.autograd.grad(value, student)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(under_autocast, gradient)


@every_loss
@pytest.mark.parametrize('case', DEGENERATE)
def test_loss_of_degenerate_inputs_is_finite(name, case):
    make = DEGENERATE[case]
    other = rand(*make().shape, seed=2)
    for student, teacher in ((make(), make()), (make(), other), (other.clone(), make())):
        loss = build(name)
        student.requires_grad_()
        value = loss(student, teacher)
        value.backward()
        assert value.isfinite()
        for tensor in (student, *loss.parameters()):
            assert tensor.grad.isfinite().all()


FILLS = {
    'zero': torch.zeros,
    'one': torch.ones,
    'noise': lambda *shape: rand(*shape),
    'one channel': lambda *shape: torch.eye(shape[1])[0].view(1, -1, 1, 1).expand(shape),
    'one pixel': lambda *shape: torch.eye(shape[2] * shape[3])[-1].view(shape[2:]).expand(shape),
    'one sample': lambda *shape: torch.eye(shape[0])[0].view(-1, 1, 1, 1).expand(shape),
}


@st.composite
def feature_pairs(draw, one_size):
    batch, channels = draw(st.integers(1, 3)), draw(st.integers(2, 4))
    size = st.tuples(st.integers(1, 7), st.integers(1, 7))
    student, teacher = draw(size), draw(size)
    pair = []
    for shape in (student, student if one_size else teacher):
        fill = draw(st.sampled_from(sorted(FILLS)))
        dtype = draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
        # A loss without scale has a gradient of 1 over the feature's, which float16 cannot hold.
        smallest = 1e-2 if dtype == torch.float16 else 1e-6
        scale = draw(st.sampled_from([-1e4, -1.0, smallest, 1.0, 1e4]))
        pair.append((scale * FILLS[fill](batch, channels, *shape)).to(dtype))
    return pair


@pytest.mark.parametrize('name', sorted(REGISTERED))
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_loss_of_any_degenerate_pair_is_finite(name, data):
    student, teacher = data.draw(feature_pairs(name in ONE_SIZE))
    loss = build(name)
    student.requires_grad_()
    value = loss(student, teacher)
    value.backward()
    assert value.isfinite()
    for tensor in (student, *loss.parameters()):
        assert tensor.grad.isfinite().all()


@every_loss
def test_loss_of_non_contiguous_input_is_unchanged(name):
    student, teacher = pair()
    loss = build(name)
    expected = loss(student.mT.contiguous(), teacher.mT.contiguous())
    torch.testing.assert_close(loss(student.mT, teacher.mT), expected)
    last = [x.to(memory_format=torch.channels_last) for x in (student, teacher)]
    torch.testing.assert_close(loss(*last), loss(student, teacher))


@every_loss
def test_loss_leaves_inputs_unchanged(name):
    student, teacher = pair()
    copies = student.clone(), teacher.clone()
    build(name)(student, teacher)
    assert torch.equal(student, copies[0]) and torch.equal(teacher, copies[1])
