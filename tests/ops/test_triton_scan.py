"""The Triton kernels against the definition; without a GPU they run in Triton's interpreter."""

import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmkd.errors import UserError
from mmkd.ops.selective_scan import choose_backend, selective_scan, selective_scan_reference

if importlib.util.find_spec('triton') is None:
    pytest.skip('Triton is not installed', allow_module_level=True)

CUDA = torch.cuda.is_available()
DEVICE = 'cuda' if CUDA else 'cpu'


def assert_equal_to_definition(inputs, tolerance=1e-10, **options):
    results = []
    for scan in (
        lambda *x: selective_scan(*x, backend='triton', **options),
        lambda *x: selective_scan_reference(*x, **options),
    ):
        y = scan(*inputs)
        weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=y.device).view_as(y)
        results.append([y, *torch.autograd.grad(y, inputs, weights)])
    for found, expected in zip(*results, strict=True):
        scale = max(1.0, float(expected.detach().abs().max()))
        assert torch.isfinite(found).all()
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * scale)


@settings(max_examples=4, deadline=None)
@given(
    samples=st.integers(1, 2),
    groups=st.integers(1, 4),
    channels=st.integers(1, 5),
    states=st.integers(1, 5),
    length=st.integers(1, 20),
    seed=st.integers(0, 1000),
)
def test_triton_scan_equals_definition(
    scan_inputs, samples, groups, channels, states, length, seed
):
    assert_equal_to_definition(
        scan_inputs(samples, groups, channels, states, length, seed=seed, device=DEVICE)
    )


def test_triton_scan_of_sixteen_states_equals_definition(scan_inputs):
    assert_equal_to_definition(scan_inputs(1, 1, 2, 16, 5, device=DEVICE))


@pytest.mark.parametrize('length', [256, 10000 if CUDA else 515])
def test_triton_scan_chunks_pass_their_state(scan_inputs, length):
    assert_equal_to_definition(scan_inputs(1, 2, 1, 1, length, device=DEVICE))


@pytest.mark.parametrize('step', [-40.0, -9.0, 40.0])
def test_triton_scan_float32_equals_definition(scan_inputs, step):
    inputs = scan_inputs(1, 1, 2, 1, 40, dtype=torch.float32, device=DEVICE)
    with torch.no_grad():
        inputs[1].add_(step)
    assert_equal_to_definition(inputs, tolerance=1e-5)


def test_triton_scan_optional_inputs_equal_definition(scan_inputs):
    inputs = scan_inputs(2, 2, 3, 2, 30, device=DEVICE)[:5]
    with torch.no_grad():
        inputs[1].abs_()
    assert_equal_to_definition(inputs, delta_softplus=False)


def test_triton_scan_ignores_memory_layout(scan_inputs):
    inputs = scan_inputs(2, 2, 3, 2, 30, device=DEVICE)
    turned = [x.detach().mT.contiguous().mT.requires_grad_() for x in inputs[:5]]
    found = selective_scan(*turned, *inputs[5:], backend='triton')
    expected = selective_scan(*inputs, backend='triton')
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_scan_backend_on_cuda_without_mamba_is_triton(monkeypatch):
    monkeypatch.delenv('MMKD_SCAN_BACKEND', raising=False)
    faster = importlib.util.find_spec('mamba_ssm') is not None
    assert choose_backend(torch.device('cuda')) == ('mamba' if faster else 'triton')
    assert choose_backend(torch.device('cpu')) == 'torch'


def test_triton_scan_without_gpu_needs_the_interpreter(monkeypatch):
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    with pytest.raises(
        UserError, match="backend='triton': expected tensors on a CUDA device, got cpu"
    ):
        choose_backend(torch.device('cpu'), 'triton')


def test_scan_backend_variable_for_gpu_leaves_cpu_tensors(monkeypatch):
    """On which a Distiller tries its networks as it is built."""
    cpu = torch.device('cpu')
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    monkeypatch.setenv('MMKD_SCAN_BACKEND', 'triton')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    assert choose_backend(cpu) == 'torch'
    assert choose_backend(torch.device('cuda')) == 'triton'
    with pytest.raises(UserError, match="backend='triton': expected tensors on a CUDA device"):
        choose_backend(cpu, 'triton')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(
        UserError, match='MMKD_SCAN_BACKEND=triton: expected tensors on a CUDA device'
    ):
        choose_backend(cpu)


# A kernel for a GPU can be made without one.
COMPILE = """
import inspect
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from mmkd.ops import triton_scan

constants = dict(SOFTPLUS=True, WIDTH=8, STATES=1, CHUNK=32)
sizes = ('groups', 'channels', 'states', 'length')
for kernel in (triton_scan._forward_kernel, triton_scan._backward_kernel):
    signature = {
        name: 'constexpr' if name in constants else 'i32' if name in sizes else '*fp32'
        for name in inspect.signature(kernel.fn).parameters
    }
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    made = triton.compile(source, target=GPUTarget('cuda', 80, 32))
    assert made.asm['cubin'], made.asm.keys()
    print(made.metadata.name)
"""


def test_triton_scan_kernels_compile_for_a_gpu():
    env = {k: v for k, v in os.environ.items() if k != 'TRITON_INTERPRET'}
    result = subprocess.run(
        [sys.executable, '-c', COMPILE], env=env, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-2:] == ['_forward_kernel', '_backward_kernel']
