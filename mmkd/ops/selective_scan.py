"""The selective scan of state space models, and the choice of who computes it.

Gu & Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", 2023, section 3.2
(https://arxiv.org/abs/2312.00752). Every channel has ``N`` states that decay and take up input at
a rate ``delta`` of the position's own::

    x_t = exp(delta_t A) x_{t-1} + delta_t B_t u_t        y_t = C_t . x_t + D u_t

Shapes: ``M`` samples, ``G`` groups, ``K = G * c`` channels, ``N`` states of a channel, ``L``
positions. The channels of a group share ``B`` and ``C``.
"""

from __future__ import annotations

import importlib
import os
from functools import lru_cache

import torch
from mmengine.logging import print_log
from torch import Tensor
from torch.nn import functional

from mmkd.errors import UserError
from mmkd.ops.blocked_scan import BlockedScan
from mmkd.ops.doubling_scan import doubling_scan

BACKENDS = ('torch', 'triton', 'mamba', 'doubling', 'reference')

# What the backends for CUDA need, the fastest first.
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
    """Run the scan with the fastest backend there is, in float32 or better.

    Args:
        u: Input, (M, K, L).
        delta: Step sizes before bias and softplus, (M, K, L).
        A: Rates, (K, N), negative.
        B: Input weights, (M, G, N, L), where G divides K.
        C: Output weights, (M, G, N, L).
        D: Skip weights, (K,).
        delta_bias: Added to ``delta``, (K,).
        delta_softplus: Whether the step size is ``softplus(delta + delta_bias)``. Without it the
            sum itself must not be negative.
        backend: ``'mamba'`` (mamba-ssm's kernel, CUDA only), ``'triton'`` (kernels that Triton
            compiles as they are first used; CUDA, or a CPU with ``TRITON_INTERPRET=1``),
            ``'torch'`` (PyTorch alone, any device), ``'doubling'`` (for the export of a network) or
            ``'reference'`` (the definition, slow). By default what the environment variable
            ``MMKD_SCAN`` says, or else on CUDA the first of these that is installed, elsewhere
            ``'torch'``. Where the variable names a backend for CUDA, tensors on the CPU beside a
            GPU are left to ``'torch'``.

    Returns:
        (M, K, L), in the type of ``u``; its memory layout may differ from that of ``u``.

    Raises:
        UserError: Shapes do not fit together, or the backend is unknown or absent.
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
    """The definition, one position after the other; arguments as :func:`selective_scan`."""
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
    """The backend that :func:`selective_scan` takes for tensors on ``device``; logged once."""
    is_argument = backend is not None
    if is_argument:
        source = f'backend={backend!r}'
    else:
        backend = os.environ.get('MMKD_SCAN')
        source = f'MMKD_SCAN={backend}'
    if backend is None:
        usable = [name for name in _PACKAGES if device.type == 'cuda' and _why_absent(name) is None]
        backend = usable[0] if usable else 'torch'
    elif backend not in BACKENDS:
        raise UserError(f'{source} is not known; allowed: {", ".join(BACKENDS)}')
    elif backend in _PACKAGES and (why := _why_absent(backend)):
        raise UserError(f'{source}: {why}; allowed here: torch, reference')
    elif backend in _PACKAGES and device.type != 'cuda' and not _is_interpreted(backend):
        if is_argument or not torch.cuda.is_available():
            raise UserError(f'{source} needs tensors on a CUDA device, got {device.type}')
        backend = 'torch'  # a network is built and tried on the CPU before it moves to the GPU
    _log_once(backend, device.type)
    return backend


@lru_cache
def _why_absent(backend: str) -> str | None:
    """Why what a backend needs cannot be imported; None if it can.

    To be found is not enough: a compiled package that was built for another PyTorch breaks here.
    """
    package = _PACKAGES[backend].partition('.')[0]
    try:
        importlib.import_module(_PACKAGES[backend])
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            return f'{package} is not installed'
        return f'{package} cannot be imported ({" ".join(str(error).split())[:120]})'
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


# A graph break: the compiler would unroll the loops.
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
        raise UserError(f'selective_scan takes u of shape (M, K, L), got {tuple(u.shape)}')
    samples, channels, length = u.shape
    if A.ndim != 2 or B.ndim != 4:
        raise UserError(
            'selective_scan takes A of shape (K, N) and B of shape (M, G, N, L), '
            f'got {tuple(A.shape)} and {tuple(B.shape)}'
        )
    if A.shape[1] != B.shape[2]:
        raise UserError(
            f'selective_scan: A has {A.shape[1]} states (d_state) a channel, B has {B.shape[2]}'
        )
    groups, states = B.shape[1:3]
    if channels % groups:
        raise UserError(
            f'selective_scan: the {groups} groups of B do not divide {channels} channels'
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
                f'selective_scan: {name} has shape {tuple(tensor.shape)}, must be {shape} '
                f'for u of shape {tuple(u.shape)}'
            )
