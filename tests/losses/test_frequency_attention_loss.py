"""Frequency attention: the definition the long way, and the properties a recipe leans on."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kept_maps import check_kept_map

from mmkd.errors import UserError
from mmkd.losses.frequency_attention_loss import FrequencyAttentionLoss
from mmkd.registry import MODELS

FORMS = [  # order, compare
    ('filter_first', 'attention'),
    ('attend_first', 'attention'),
    ('filter_first', 'feature'),
]
every_form = pytest.mark.parametrize('order, compare', FORMS)
quick = settings(max_examples=25, deadline=None)


def rand(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def pair(student=(2, 3, 8, 6), teacher=None, dtype=torch.float64):
    return rand(*student, dtype=dtype), rand(*(teacher or student), seed=1, dtype=dtype)


def loss_of(student, teacher, **changes):
    settings = dict(low=1.0, high=0.0, cutoff=0.4) | changes
    return FrequencyAttentionLoss(**settings)(student, teacher)


def long_filter(x, low, high, cutoff):
    """Gaussian split by the full, shifted, complex transform."""
    axes, (height, width) = (-2, -1), x.shape[-2:]
    rows = (torch.arange(height, dtype=torch.float64) - height // 2) / (height / 2)
    columns = (torch.arange(width, dtype=torch.float64) - width // 2) / (width / 2)
    gain = torch.exp(-(rows[:, None] ** 2 + columns[None, :] ** 2) / (2 * cutoff**2))
    spectrum = torch.fft.fftshift(torch.fft.fft2(x), dim=axes) * (low * gain + high * (1 - gain))
    return torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=axes)).real


def unit(q):
    return q / q.flatten(1).norm(dim=1)[:, None, None]


@quick
@given(
    st.sampled_from(FORMS),
    st.sampled_from(['both', 'teacher', 'student']),
    st.tuples(st.integers(2, 9), st.integers(2, 9)),
    st.sampled_from([(1, 0), (0, 1), (0.3, 0.7), (1, 1), (2, 0.5)]),
    st.sampled_from([0.2, 0.5, 1.0]),
)
def test_frequency_attention_loss_equals_definition(form, filter_on, shape, gains, cutoff):
    order, compare = form
    student, teacher = pair((2, 3, *shape))

    def side(feature, name):
        def masked(x):
            return long_filter(x, *gains, cutoff) if filter_on in ('both', name) else x

        if compare == 'feature':
            return masked(feature)
        if order == 'filter_first':
            return unit((masked(feature) ** 2).sum(1))
        return unit(masked((feature**2).sum(1)))

    difference = side(student, 'student') - side(teacher, 'teacher')
    if compare == 'feature':
        expected = (difference**2).mean()
    else:
        expected = sum(torch.sum(d**2) for d in difference) / 2
    value = loss_of(
        student,
        teacher,
        low=gains[0],
        high=gains[1],
        cutoff=cutoff,
        filter_on=filter_on,
        order=order,
        compare=compare,
    )
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)


def test_frequency_attention_loss_equals_hand_value():
    # One channel, one row, (1, -1) is all Nyquist and (1, 1) all constant: a high-pass with the
    # ideal disc at half Nyquist leaves the first untouched and nothing of the second.
    checker = torch.tensor([[[[1.0, -1.0]]]])
    flat = torch.tensor([[[[1.0, 1.0]]]])
    high = dict(low=0.0, high=1.0, cutoff=0.5, filter='ideal')
    assert loss_of(checker, flat, **high).item() == pytest.approx(1)  # unit map against none
    assert loss_of(checker, flat, compare='feature', **high).item() == pytest.approx(1)
    low = dict(low=1.0, high=0.0, cutoff=0.5, filter='ideal')
    assert loss_of(checker, 3 * flat, compare='feature', **low).item() == pytest.approx(9)
    # |F| is the same for both, so attending first sees no difference.
    assert loss_of(checker, flat, order='attend_first', **low).item() == 0


@every_form
@pytest.mark.parametrize('filter_on', ['both', 'teacher', 'student'])
def test_frequency_attention_loss_of_equal_inputs_masked_alike_is_zero(order, compare, filter_on):
    student, _ = pair()
    student.requires_grad_()
    gains = {} if filter_on == 'both' else dict(high=1.0)
    value = loss_of(
        student, student.detach(), order=order, compare=compare, filter_on=filter_on, **gains
    )
    value.backward()
    assert value == 0
    assert (student.grad == 0).all()


@pytest.mark.parametrize('order', ['filter_first', 'attend_first'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.float32])
@pytest.mark.parametrize('size', [(5, 6), (12, 16), (24, 32)])
def test_frequency_attention_loss_ignores_rounding_noise(order, dtype, size):
    """What a high-pass leaves of a constant feature is rounding, which must not count."""
    details = dict(low=0.0, high=1.0, order=order)
    student = torch.full((2, 3, *size), 5.0, dtype=dtype, requires_grad=True)
    teacher = rand(2, 3, *size).to(dtype)
    loss_of(student, teacher, **details).backward()
    assert student.grad.abs().max() < 20
    assert loss_of(student, 0.74 * student, **details) < 1e-6


@quick
@given(st.floats(2e-3, 1.0), st.floats(1e-2, 1e3))
def test_frequency_attention_loss_sees_faint_detail(part, scale):
    """Of a thousandth of the map on it is compared in full."""
    student, teacher = (1 + part * rand(1, 1, 8, 8, seed=s).sign() for s in (0, 1))
    value = loss_of(scale * student, teacher, low=0.0, high=1.0, order='attend_first', p=1)
    maps = [long_filter(x[:, 0], 0.0, 1.0, 0.4) for x in (student, teacher)]
    expected = (unit(maps[0]) - unit(maps[1])).square().sum()
    torch.testing.assert_close(value, expected, rtol=1e-3, atol=0)


def test_frequency_attention_loss_every_option_changes_value():
    student, teacher = pair()
    variants = [
        {},
        dict(low=0.0, high=1.0),
        dict(low=0.3, high=0.7),
        dict(cutoff=0.8),
        dict(filter='ideal'),
        dict(filter='butterworth'),
        dict(filter_on='teacher'),
        dict(filter_on='student'),
        dict(order='attend_first'),
        dict(order='attend_first', p=4),
        dict(compare='feature'),
        dict(p=1),
        dict(p=4),
    ]
    values = [loss_of(student, teacher, **variant).item() for variant in variants]
    assert min(abs(a - b) for i, a in enumerate(values) for b in values[:i]) > 1e-4


def test_frequency_attention_loss_ratio_weighs_both_bands():
    # The masked feature is linear in the gains, so against an empty teacher the loss of the
    # ratio is the mean square of the weighted sum of the two bands.
    student, _ = pair()
    nothing = torch.zeros_like(student)
    low, high = long_filter(student, 1, 0, 0.4), long_filter(student, 0, 1, 0.4)
    for alpha in (0.0, 0.25, 0.8, 1.0):
        value = loss_of(student, nothing, low=alpha, high=1 - alpha, compare='feature')
        expected = (alpha * low + (1 - alpha) * high).square().mean()
        torch.testing.assert_close(value, expected)


@quick
@given(
    st.sampled_from(['filter_first', 'attend_first']), st.floats(1e-2, 1e4), st.floats(1e-2, 1e4)
)
def test_frequency_attention_loss_attention_ignores_scale(order, a, b):
    student, teacher = pair()
    expected = loss_of(student, teacher, order=order)
    value = loss_of(a * student, b * teacher, order=order)
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=0)
    assert 0 <= value <= (2 if order == 'filter_first' else 4)


@every_form
def test_frequency_attention_loss_value_is_independent_of_batch_and_size(order, compare):
    student, teacher = pair()
    form = dict(order=order, compare=compare, filter='ideal', cutoff=0.5)
    expected = loss_of(student, teacher, **form)
    batch = loss_of(student.repeat(3, 1, 1, 1), teacher.repeat(3, 1, 1, 1), **form)
    torch.testing.assert_close(batch, expected)
    # Content repeated in space keeps its frequencies a pixel; only the period of the map grows.
    tiled = loss_of(student.repeat(1, 1, 2, 3), teacher.repeat(1, 1, 2, 3), **form)
    torch.testing.assert_close(tiled, expected)


@every_form
def test_frequency_attention_loss_of_non_contiguous_input_is_unchanged(order, compare):
    student, teacher = pair((2, 3, 7, 6))
    form = dict(order=order, compare=compare)
    expected = loss_of(student.mT.contiguous(), teacher.mT.contiguous(), **form)
    torch.testing.assert_close(loss_of(student.mT, teacher.mT, **form), expected)
    last = [x.to(memory_format=torch.channels_last) for x in (student, teacher)]
    torch.testing.assert_close(loss_of(*last, **form), loss_of(student, teacher, **form))


@every_form
@pytest.mark.parametrize('large', [(8, 6), (9, 7), (12, 11), (5, 6), (5, 3)])
def test_frequency_attention_loss_of_two_sizes_compares_at_the_smaller(order, compare, large):
    # What the small grid holds, sampled finely, must be found equal to itself. Squares of a
    # feature double its band, so for attend_first the small grid must hold those as well: a
    # feature of frequency 1 on 5 rows or more does.
    def waves(shape):
        y = torch.arange(shape[0], dtype=torch.float64)[:, None] / shape[0]
        x = torch.arange(shape[1], dtype=torch.float64)[None, :] / shape[1]
        y, x = 2 * torch.pi * y, 2 * torch.pi * x
        planes = [torch.cos(y + 0.3) + 0 * x, torch.sin(y) + 0.5 + 0 * x, 0 * y + 0 * x + 2.0]
        return torch.stack(planes)[None]

    small = waves((5, 3))
    for student, teacher in ((small, waves(large)), (waves(large), small)):
        value = loss_of(student, teacher, order=order, compare=compare)
        torch.testing.assert_close(value, torch.zeros_like(value), rtol=0, atol=1e-14)
    # Each axis goes to its own smaller size.
    crossed = loss_of(waves((5, 8)), waves((7, 3)), order=order, compare=compare)
    torch.testing.assert_close(crossed, torch.zeros_like(crossed), rtol=0, atol=1e-14)


def test_frequency_attention_loss_cutoff_is_fraction_of_common_nyquist():
    # Frequency 2 of 8 columns is half of Nyquist, whether the other side has 8 columns or 32.
    def wave(width):
        x = torch.arange(width, dtype=torch.float64) / width
        return torch.cos(2 * torch.pi * 2 * x).expand(1, 1, 4, width)

    ideal = dict(filter='ideal', compare='feature')
    nothing = torch.zeros(1, 1, 4, 8, dtype=torch.float64)
    for sides in ((wave(32), nothing), (nothing, wave(32))):
        assert loss_of(*sides, cutoff=0.5, **ideal).item() == pytest.approx(0.5)
        assert loss_of(*sides, cutoff=0.49, **ideal).item() == pytest.approx(0)


def test_frequency_attention_loss_different_channels_need_attention():
    student, teacher = pair((2, 3, 8, 6), (2, 5, 8, 6))
    assert loss_of(student, teacher).isfinite()
    assert loss_of(student, teacher, order='attend_first').isfinite()
    with pytest.raises(UserError, match='3 student and 5 .*`adapter`'):
        loss_of(student, teacher, compare='feature')


@every_form
@pytest.mark.parametrize('shapes', [((2, 3, 4, 5),) * 2, ((1, 2, 5, 3), (1, 2, 4, 6))])
@pytest.mark.parametrize('filter_on', ['both', 'teacher', 'student'])
def test_frequency_attention_loss_passes_gradcheck(order, compare, shapes, filter_on):
    student, teacher = pair(*shapes)
    student.requires_grad_()
    loss = FrequencyAttentionLoss(0.8, 0.3, 0.5, filter_on=filter_on, order=order, compare=compare)
    assert torch.autograd.gradcheck(lambda student: loss(student, teacher), student)


@every_form
def test_frequency_attention_loss_teacher_gets_no_gradient(order, compare):
    student, teacher = pair((2, 3, 8, 6), (2, 3, 4, 9))
    student.requires_grad_()
    teacher.requires_grad_()
    loss_of(student, teacher, order=order, compare=compare).backward()
    assert teacher.grad is None
    assert student.grad.abs().max() > 0


@every_form
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_frequency_attention_loss_half_precision_computes_in_float32(order, compare, dtype):
    student, teacher = (x.to(dtype) for x in pair(dtype=torch.float32))
    form = dict(order=order, compare=compare, high=0.5)
    expected = loss_of(student.float(), teacher.float(), **form)
    student.requires_grad_()
    with torch.autocast('cpu', torch.bfloat16):
        value = loss_of(student, teacher, **form)
    value.backward()
    assert value.dtype == torch.float32 and value.ndim == 0
    torch.testing.assert_close(value, expected, rtol=1e-3, atol=0)
    assert student.grad.dtype == dtype and student.grad.isfinite().all()


@every_form
def test_frequency_attention_loss_of_bfloat16_feature_equals_its_float32(order, compare):
    # The rounding of the features is not the loss's; their float32 value is compared.
    layer = torch.nn.Conv2d(3, 4, 1)
    image, teacher = rand(2, 3, 8, 6, dtype=torch.float32), rand(2, 4, 8, 6, dtype=torch.float32)
    with torch.autocast('cpu', torch.bfloat16):
        feature = layer(image)
        value = loss_of(feature, teacher, order=order, compare=compare)
    expected = loss_of(feature.float(), teacher, order=order, compare=compare)
    torch.testing.assert_close(value, expected, rtol=1e-3, atol=0)


@every_form
@pytest.mark.parametrize('filter_on', ['both', 'teacher'])
@pytest.mark.parametrize('gains', [(1, 0), (0, 1)])
@pytest.mark.parametrize(
    'make',
    [
        lambda: torch.zeros(2, 3, 4, 6),
        lambda: torch.full((2, 3, 4, 6), 5.0),
        lambda: torch.ones(1, 3, 1, 1),
        lambda: torch.randn(1, 3, 5, 4) * 1e4,
        lambda: torch.randn(1, 3, 5, 4).half() * 1e4,
        lambda: torch.randn(1, 3, 5, 4) * 1e-6,
    ],
    ids=['zero', 'constant', 'one_pixel', 'large', 'large_half', 'tiny'],
)
def test_frequency_attention_loss_of_degenerate_inputs_is_finite(
    order, compare, filter_on, gains, make
):
    for other in (make, lambda: torch.randn_like(make())):
        student = make().requires_grad_()
        value = loss_of(
            student,
            other(),
            low=gains[0],
            high=gains[1],
            filter_on=filter_on,
            order=order,
            compare=compare,
        )
        value.backward()
        assert value.isfinite() and student.grad.isfinite().all()


def test_frequency_attention_loss_unit_gains_skip_transform(monkeypatch):
    student, teacher = pair()
    monkeypatch.setattr(torch.fft, 'rfft2', None)
    expected = (unit((student**2).sum(1)) - unit((teacher**2).sum(1))).square().sum() / 2
    torch.testing.assert_close(loss_of(student, teacher, high=1.0), expected)


def test_frequency_attention_loss_is_registered_without_state():
    config = dict(type='FrequencyAttentionLoss', low=1.0, high=0.0, cutoff=0.25, _scope_='mmkd')
    loss = MODELS.build(config)
    assert isinstance(loss, FrequencyAttentionLoss)
    assert not loss.state_dict() and not list(loss.parameters())
    assert 'cutoff=0.25' in repr(loss)


@pytest.mark.parametrize(
    'changes, said',
    [
        (dict(low=-0.5), 'low=-0.5: .*>= 0'),
        (dict(low=0, high=0), 'low=0, high=0'),
        (dict(cutoff=0.0), r'cutoff=0.0: .*\(0, 1\]'),
        (dict(cutoff=1.01), r'cutoff=1.01: .*\(0, 1\]'),
        (dict(filter='box'), "filter.*'box'.*gaussian, ideal, butterworth"),
        (dict(filter_on='all'), "filter_on='all'.*both, teacher, student"),
        (dict(order='first'), "order='first'.*filter_first, attend_first"),
        (dict(compare='logit'), "compare='logit'.*attention, feature"),
        (dict(p=0), 'p=0: .*>= 1'),
        (dict(order='attend_first', compare='feature'), 'attend_first.*feature'),
    ],
)
def test_frequency_attention_loss_bad_parameters_raise_user_error(changes, said):
    with pytest.raises(UserError, match=said):
        FrequencyAttentionLoss(**(dict(low=1.0, high=0.0, cutoff=0.25) | changes))


def test_frequency_attention_loss_bad_inputs_raise_user_error():
    student, teacher = pair()
    with pytest.raises(UserError, match=r'\(3, 8, 6\).*\(B, C, H, W\)'):
        loss_of(student[0], teacher)
    with pytest.raises(UserError, match='one batch size'):
        loss_of(student[:1], teacher)
    with pytest.raises(UserError, match='student is a tuple: expected one feature; give the term'):
        loss_of((student, student), (teacher, teacher))


@pytest.mark.parametrize('order', ['filter_first', 'attend_first'])
@pytest.mark.parametrize('filter_on', ['both', 'teacher', 'student'])
@quick
@given(sizes=st.lists(st.integers(2, 9), min_size=4, max_size=4))
def test_frequency_attention_of_a_kept_map_is_that_of_the_feature(order, filter_on, sizes):
    loss = FrequencyAttentionLoss(0.3, 1.0, 0.5, order=order, filter_on=filter_on)
    check_kept_map(loss, *pair((2, 3, *sizes[:2]), (2, 5, *sizes[2:])))


def test_frequency_attention_keeps_no_map_where_features_are_compared():
    loss = FrequencyAttentionLoss(1.0, 0.0, 0.5, compare='feature')
    assert not loss.reads_teacher_map
    with pytest.raises(UserError, match='expected features'):
        loss(rand(2, 3, 4, 4), rand(2, 4, 4))


def test_frequency_attention_takes_tokens_for_no_map():
    with pytest.raises(UserError, match='expected features'):
        FrequencyAttentionLoss(0.3, 1.0, 0.5)(rand(2, 3, 8, 12), rand(2, 96, 16))
