"""The selective scan of state space models, and the choice of its backend.

Gu & Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023, section 3.2
(https://arxiv.org/abs/2312.00752). Every channel has ``S`` states. At each position they decay and
take up input, with a step size ``delta`` of that position::

    x_t = exp(delta_t A) x_{t-1} + delta_t B_t u_t        y_t = C_t . x_t + D u_t

Shapes: see :mod:`mmkd.ops`. The channels of a group share ``B`` and ``C``.
"""

from __future__ import annotations

import importlib
import os
from functools import lru_cache

import torch
from mmengine.logging import print_log
from torch import Tensor
from torch.nn import functional

from mmkd.errors import UserError, one_line, warn_renamed
from mmkd.ops.blocked_scan import BlockedScan
from mmkd.ops.doubling_scan import doubling_scan

BACKENDS = ('torch', 'triton', 'mamba', 'doubling', 'reference')

# The modules that the CUDA backends need, fastest first.
_PACKAGES = dict(mamba='mamba_ssm.ops.selective_scan_interface', triton='triton')


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = True,
    backend: str | None = None,
) -> Tensor:
    """Run the scan with the fastest available backend, in float32 or float64.

    Args:
        u: Input, (B, K, L).
        delta: Step sizes before bias and softplus, (B, K, L).
        A: Rates, (K, S), negative.
        B: Input weights, (B, G, S, L), where G divides K.
        C: Output weights, (B, G, S, L).
        D: Skip weights, (K,).
        delta_bias: Added to ``delta``, (K,).
        delta_softplus: Whether the step size is ``softplus(delta + delta_bias)``. Without it
            the step size is the sum itself, which must be >= 0.
        backend: ``'mamba'`` (mamba-ssm's kernel, CUDA only), ``'triton'`` (kernels that Triton
            compiles at first use; CUDA, or a CPU with ``TRITON_INTERPRET=1``), ``'torch'`` (plain
            PyTorch, any device), ``'doubling'`` (for export) or ``'reference'`` (the definition,
            slow). The default is the environment variable ``MMKD_SCAN_BACKEND``. Without it, CUDA
            tensors use the first of these that is installed and others ``'torch'``. If the variable
            names a CUDA backend, CPU tensors on a machine with a GPU use ``'torch'``.

    Returns:
        (B, K, L), in the dtype of ``u``; its memory layout may differ from that of ``u``.

    Raises:
        UserError: Shapes do not fit together, or the backend is unknown or not installed.
    """
    _check_shapes(u, delta, A, B, C, D, delta_bias)
    backend = choose_backend(u.device, backend)
    with torch.autocast(u.device.type, enabled=False):
        inputs = _in_one_type(u, delta, A, B, C, D, delta_bias)
        if backend == 'torch':
            y = _blocked_scan(*inputs, delta_softplus)
        elif backend == 'triton':
            y = _triton_scan(*inputs, delta_softplus)
        elif backend == 'mamba':
            y = _mamba_scan(*inputs, delta_softplus)
        elif backend == 'doubling':
            y = doubling_scan(*inputs, delta_softplus)
        else:
            y = selective_scan_reference(*inputs, delta_softplus)
    return y.to(u.dtype)


def selective_scan_reference(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = True,
) -> Tensor:
    """Run the scan by its definition, position by position; arguments as :func:`selective_scan`."""
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = functional.softplus(delta)
    channels = len(A) // B.shape[1]
    B, C = (x.repeat_interleave(channels, dim=1) for x in (B, C))
    decay = (delta.unsqueeze(2) * A.unsqueeze(-1)).exp()
    drive = (delta * u).unsqueeze(2) * B
    state = torch.zeros_like(drive[..., 0])
    states = []
    for a, b in zip(decay.unbind(-1), drive.unbind(-1), strict=True):
        state = a * state + b
        states.append(state)
    y = (torch.stack(states, dim=-1) * C).sum(2)
    return y if D is None else y + D[:, None] * u


def choose_backend(device: torch.device, backend: str | None = None) -> str:
    """Return the backend that :func:`selective_scan` uses on ``device``; log it once."""
    is_argument = backend is not None
    if is_argument:
        source = f'backend={backend!r}'
    else:
        backend = os.environ.get('MMKD_SCAN_BACKEND')
        if backend is None and 'MMKD_SCAN' in os.environ:
            warn_renamed('MMKD_SCAN', 'MMKD_SCAN_BACKEND')
            backend = os.environ['MMKD_SCAN']
        source = f'MMKD_SCAN_BACKEND={backend}'
    if backend is None:
        usable = [name for name in _PACKAGES if device.type == 'cuda' and _why_absent(name) is None]
        backend = usable[0] if usable else 'torch'
    elif backend not in BACKENDS:
        raise UserError(f'{source}: expected one of {", ".join(BACKENDS)}')
    elif backend in _PACKAGES and (why := _why_absent(backend)):
        raise UserError(f'{source}: {why}; use torch or reference')
    elif backend in _PACKAGES and device.type != 'cuda' and not _is_interpreted(backend):
        if is_argument or not torch.cuda.is_available():
            raise UserError(f'{source}: expected tensors on a CUDA device, got {device.type}')
        backend = 'torch'  # a network is built and dry-run on the CPU before it moves to the GPU
    _log_once(backend, device.type)
    return backend


@lru_cache
def _why_absent(backend: str) -> str | None:
    """Return why a backend's package cannot be imported; None if it can.

    The import itself is the check: a package compiled for another PyTorch is found but fails here.
    """
    package = _PACKAGES[backend].partition('.')[0]
    try:
        importlib.import_module(_PACKAGES[backend])
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            return f'{package} is not installed'
        return f'{package} cannot be imported ({one_line(error)})'
    return None


def _is_interpreted(backend: str) -> bool:
    return backend == 'triton' and os.environ.get('TRITON_INTERPRET') == '1'


@lru_cache
def _log_once(backend: str, device: str) -> None:
    print_log(f'selective scan on {device}: backend {backend}', logger='current')


def _in_one_type(u: Tensor, *others: Tensor | None) -> list[Tensor]:
    dtype = torch.float64 if u.dtype == torch.float64 else torch.float32
    channels = u.new_zeros(u.shape[1], dtype=dtype)
    return [channels if x is None else x.to(dtype) for x in (u, *others)]


# Break the graph here: the compiler would unroll the loops.
@torch.compiler.disable
def _blocked_scan(*inputs) -> Tensor:
    return BlockedScan.apply(*inputs, torch.is_grad_enabled())


@torch.compiler.disable
def _triton_scan(u, delta, A, B, C, D, delta_bias, delta_softplus) -> Tensor:
    from mmkd.ops.triton_scan import TritonScan

    return TritonScan.apply(u, delta, A, B, C, D, delta_bias, delta_softplus)


@torch.compiler.disable
def _mamba_scan(u, delta, A, B, C, D, delta_bias, delta_softplus) -> Tensor:
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    return selective_scan_fn(u, delta, A, B, C, D, None, delta_bias, delta_softplus)


def _check_shapes(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
) -> None:
    if u.ndim != 3 or not u.numel():
        raise UserError(f'selective_scan: u has shape {tuple(u.shape)}: expected (B, K, L)')
    samples, channels, length = u.shape
    if A.ndim != 2 or B.ndim != 4:
        raise UserError(
            f'selective_scan: A has shape {tuple(A.shape)}, B {tuple(B.shape)}: expected (K, S) '
            'and (B, G, S, L)'
        )
    if A.shape[1] != B.shape[2]:
        raise UserError(
            f'selective_scan: A has {A.shape[1]} states (d_state) per channel, B has {B.shape[2]}: '
            'expected the same number'
        )
    groups, states = B.shape[1:3]
    if channels % groups:
        raise UserError(
            f'selective_scan: B has {groups} groups: expected a divisor of {channels} channels'
        )
    expected = dict(
        delta=(delta, (samples, channels, length)),
        A=(A, (channels, states)),
        B=(B, (samples, groups, states, length)),
        C=(C, (samples, groups, states, length)),
        D=(D, (channels,)),
        delta_bias=(delta_bias, (channels,)),
    )
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tensor.shape != shape:
            raise UserError(
                f'selective_scan: {name} has shape {tuple(tensor.shape)}: expected {shape} '
                f'for u of shape {tuple(u.shape)}'
            )
