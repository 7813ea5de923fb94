import importlib.util
import runpy
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.logging import MMLogger
from torch.utils.checkpoint import checkpoint

from mmkd.analysis.memory import peak_bytes
from mmkd.errors import UserError
from mmkd.ops.selective_scan import (
    _log_once,
    _why_absent,
    choose_backend,
    selective_scan,
    selective_scan_reference,
)

NAMES = ('u', 'delta', 'A', 'B', 'C', 'D', 'delta_bias')


def values_and_gradients(scan, inputs, **options):
    y = scan(*inputs, **options)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    return [y, *torch.autograd.grad(y, inputs, weights)]


def assert_equal_to_definition(inputs, tolerance=1e-10, **options):
    found = values_and_gradients(selective_scan, inputs, backend='torch', **options)
    expected = values_and_gradients(selective_scan_reference, inputs, **options)
    names = ('y', *NAMES[: len(inputs)])
    for name, a, b in zip(names, found, expected, strict=True):
        scale = max(1.0, float(b.detach().abs().max()))
        assert torch.isfinite(a).all(), name
        torch.testing.assert_close(
            a, b, rtol=0, atol=tolerance * scale, msg=lambda m, n=name: n + m
        )


@pytest.mark.parametrize('backend', ['torch', 'reference'])
@pytest.mark.parametrize('name', ['n1', 'n4'])
def test_selective_scan_equals_stored_outputs(shared, name, backend):
    make_input = runpy.run_path(str(shared / 'parity/fill.py'))['make_input']
    fixture = np.load(shared / f'parity/selective_scan_{name}.npz')
    salt = str(fixture['salt'])
    b, k, c, n, length = (int(fixture[key]) for key in ('B', 'K', 'C', 'N', 'L'))
    shapes = dict(
        u=(b, k * c, length), delta=(b, k * c, length), A=(k * c, n), B=(b, k, n, length),
        C=(b, k, n, length), D=(k * c,), delta_bias=(k * c,),
    )  # fmt: skip
    inputs = {key: make_input(shape, salt, key) for key, shape in shapes.items()}
    inputs['A'] = -inputs['A'].abs() - 0.1
    for x in inputs.values():
        x.requires_grad_()
    y = selective_scan(**inputs, backend=backend)
    y.backward(make_input(tuple(y.shape), salt, 'grad'))
    torch.testing.assert_close(y.detach(), torch.from_numpy(fixture['y']), rtol=1e-4, atol=1e-4)
    for key, x in inputs.items():
        expected = torch.from_numpy(fixture[f'd{key}'])
        torch.testing.assert_close(
            x.grad, expected, rtol=1e-4, atol=1e-4, msg=lambda m, k=key: k + m
        )


@settings(max_examples=25, deadline=None)
@given(
    samples=st.integers(1, 3),
    groups=st.integers(1, 4),
    channels=st.integers(1, 3),
    states=st.integers(1, 16),
    length=st.integers(1, 70),
    seed=st.integers(0, 1000),
)
def test_selective_scan_blocked_equals_definition(
    scan_inputs, samples, groups, channels, states, length, seed
):
    inputs = scan_inputs(samples, groups, channels, states, length, seed=seed)
    assert_equal_to_definition(inputs)


@pytest.mark.parametrize('length', [1, 2, 3, 4, 5, 49, 50, 1000, 4097])
def test_selective_scan_any_length_equals_definition(scan_inputs, length):
    assert_equal_to_definition(scan_inputs(1, 2, 2, 1, length))


@pytest.mark.parametrize('states', [1, 2])
@pytest.mark.parametrize('states_held', [1, 100, 400, 10**6])
def test_selective_scan_any_chunk_equals_definition(scan_inputs, states_held, states, monkeypatch):
    """One channel of one sequence (which has 160 states), some channels, some sequences, all."""
    monkeypatch.setattr('mmkd.ops.blocked_scan._SLICE', states_held * states // 2)
    monkeypatch.setattr('mmkd.ops.blocked_scan._CHANNELS', 1)
    assert_equal_to_definition(scan_inputs(2, 3, 4, states, 20))


@pytest.mark.parametrize('step', [-40.0, 40.0])
def test_selective_scan_extreme_decays_equal_definition(scan_inputs, step):
    """Over 2000 positions the states' products of decays are near 1, or far below what is 0."""
    inputs = scan_inputs(1, 2, 2, 2, 2000)
    with torch.no_grad():
        inputs[1].add_(step)
    assert_equal_to_definition(inputs)
    float32 = [x.detach().float().requires_grad_() for x in inputs]
    assert_equal_to_definition(float32, tolerance=1e-4)


def test_selective_scan_optional_inputs_equal_definition(scan_inputs):
    inputs = scan_inputs(2, 2, 3, 2, 30)
    with torch.no_grad():
        inputs[1].abs_()
    assert_equal_to_definition(inputs[:5], delta_softplus=False)


@pytest.mark.parametrize('samples, groups', [(2, 2), (1, 1)])
def test_selective_scan_ignores_memory_layout(scan_inputs, samples, groups):
    inputs = scan_inputs(samples, groups, 3, 2, 30)
    turned = [x.detach().transpose(-1, -2).contiguous().transpose(-1, -2) for x in inputs[:5]]
    turned = [x.requires_grad_() for x in [*turned, *inputs[5:]]]
    found, expected = (values_and_gradients(selective_scan, x) for x in (turned, inputs))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_selective_scan_half_precision_computes_in_float32(scan_inputs, dtype):
    inputs = [x.detach().to(dtype).requires_grad_() for x in scan_inputs(1, 2, 3, 2, 300)]
    exact = selective_scan_reference(*(x.float() for x in inputs))
    with torch.autocast('cpu', torch.bfloat16):
        y = selective_scan(*inputs)
        gradients = torch.autograd.grad(y.float().sum(), inputs)
    assert y.dtype == dtype and all(torch.isfinite(g).all() for g in gradients)
    torch.testing.assert_close(y, exact.to(dtype))


@pytest.mark.parametrize('states', [1, 16])
def test_selective_scan_saves_inputs_and_few_states(scan_inputs, states):
    """What autograd keeps does not grow with d_state times L, but for B and C themselves."""
    inputs = scan_inputs(1, 1, 16, states, 400)
    kept = {}

    def keep(x):
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        y = selective_scan(*inputs, backend='torch')
    state_bytes = inputs[0].nbytes if states == 1 else 0
    assert sum(kept.values()) == sum(x.nbytes for x in inputs) + state_bytes
    assert y.requires_grad


def test_selective_scan_without_gradient_saves_no_states(scan_inputs):
    inputs = [x.detach() for x in scan_inputs(1, 1, 16, 1, 400)]
    frozen = peak_bytes(lambda: selective_scan(*inputs, backend='torch'))
    inputs[-1].requires_grad_()
    trained = peak_bytes(lambda: selective_scan(*inputs, backend='torch'))
    assert trained - frozen == inputs[0].nbytes


@pytest.mark.parametrize('states', [1, 2])
def test_selective_scan_second_backward_equals_first(scan_inputs, states):
    """The first one has used up the states that were kept, and its gradients are left alone."""
    inputs = scan_inputs(2, 2, 3, states, 30)
    y = selective_scan(*inputs, backend='torch').sum()
    first = torch.autograd.grad(y, inputs, retain_graph=True)
    expected = [x.clone() for x in first]
    second = torch.autograd.grad(y, inputs)
    torch.testing.assert_close(first, tuple(expected), rtol=0, atol=0)
    torch.testing.assert_close(second, first, rtol=0, atol=0)


def test_selective_scan_in_checkpointed_block_equals_plain(scan_inputs):
    inputs = scan_inputs(2, 2, 3, 1, 30)

    def anew(*args):
        return checkpoint(selective_scan, *args, use_reentrant=False)

    torch.testing.assert_close(
        values_and_gradients(anew, inputs), values_and_gradients(selective_scan, inputs)
    )


def test_selective_scan_compiled_equals_eager(scan_inputs):
    inputs = scan_inputs(1, 2, 3, 2, 50)

    def doubled(*args):
        return 2 * selective_scan(*args)

    compiled = torch.compile(doubled, backend='eager')
    torch.testing.assert_close(
        values_and_gradients(compiled, inputs), values_and_gradients(doubled, inputs)
    )


@pytest.mark.parametrize(
    'name, shape, message',
    [
        ('A', (6, 3), 'A has 3 states'),
        ('B', (2, 4, 2, 30), 'B has 4 groups: expected a divisor of 6'),
        ('C', (2, 2, 2, 29), r'C has shape \(2, 2, 2, 29\): expected \(2, 2, 2, 30\)'),
        ('delta', (2, 5, 30), 'delta has shape'),
        ('D', (5,), 'D has shape'),
        ('delta_bias', (6, 1), 'delta_bias has shape'),
        ('u', (6, 30), 'u has shape'),
        ('A', (6,), 'A has shape'),
    ],
)
def test_selective_scan_wrong_shapes_raise_user_error(scan_inputs, name, shape, message):
    inputs = dict(zip(NAMES, scan_inputs(2, 2, 3, 2, 30), strict=True))
    inputs[name] = torch.zeros(shape)
    with pytest.raises(UserError, match=message):
        selective_scan(**inputs)


def test_scan_backend_follows_argument_and_environment(monkeypatch):
    cpu = torch.device('cpu')
    monkeypatch.delenv('MMKD_SCAN_BACKEND', raising=False)
    assert choose_backend(cpu) == 'torch'
    monkeypatch.setenv('MMKD_SCAN_BACKEND', 'reference')
    assert choose_backend(cpu) == 'reference'
    assert choose_backend(cpu, 'torch') == 'torch'
    monkeypatch.setenv('MMKD_SCAN_BACKEND', 'cuda')
    with pytest.raises(
        UserError, match='MMKD_SCAN_BACKEND=cuda: expected one of torch, triton, mamba'
    ):
        choose_backend(cpu)


def test_scan_backend_is_logged_once(scan_inputs, caplog):
    MMLogger.get_current_instance().addHandler(caplog.handler)
    _log_once.cache_clear()
    for _ in range(2):
        selective_scan(*scan_inputs(1, 1, 1, 1, 1), backend='torch')
    MMLogger.get_current_instance().removeHandler(caplog.handler)
    assert caplog.text.count('selective scan on cpu: backend torch') == 1


@pytest.mark.skipif(
    not torch.cuda.is_available() or importlib.util.find_spec('mamba_ssm') is None,
    reason='needs a GPU and mamba_ssm',
)
def test_scan_backend_mamba_equals_definition(scan_inputs):
    inputs = scan_inputs(2, 4, 3, 1, 64, dtype=torch.float32, device='cuda')
    found = values_and_gradients(selective_scan, inputs, backend='mamba')
    expected = values_and_gradients(selective_scan_reference, inputs)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_scan_backend_forced_but_absent_raises_user_error(scan_inputs):
    installed = importlib.util.find_spec('mamba_ssm') is not None
    message = 'expected tensors on a CUDA device' if installed else 'mamba_ssm is not installed'
    with pytest.raises(UserError, match=message):
        selective_scan(*scan_inputs(1, 1, 1, 1, 1), backend='mamba')


@pytest.mark.skipif(importlib.util.find_spec('triton') is None, reason='Triton is not installed')
def test_scan_backend_broken_package_counts_as_absent(tmp_path, monkeypatch):
    (tmp_path / 'mamba_ssm').mkdir()
    broken = "raise ImportError('selective_scan_cuda.so:\\n undefined symbol: _ZN3c10')"
    (tmp_path / 'mamba_ssm/__init__.py').write_text(broken)
    for name in [n for n in sys.modules if n.partition('.')[0] == 'mamba_ssm']:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv('MMKD_SCAN_BACKEND', raising=False)
    _why_absent.cache_clear()
    try:
        assert choose_backend(torch.device('cuda')) == 'triton'
        message = r"backend='mamba': mamba_ssm cannot be imported \(.*: undefined symbol: _ZN3c10\)"
        with pytest.raises(UserError, match=message) as error:
            choose_backend(torch.device('cuda'), 'mamba')
        assert '\n' not in str(error.value)
    finally:
        _why_absent.cache_clear()
