"""The selective scan as a short, fixed list of operations on whole tensors, for export.

The recurrence ``x_t = a_t * x_{t-1} + b_t`` over any interval of positions is one pair ``(a, b)``.
Two adjacent intervals combine into one pair again (Hillis & Steele, "Data parallel algorithms",
1986). Doubling the intervals ``log2(L)`` times covers all positions before each one. No loop
over positions is left that an exporter would unroll: only the number of doublings depends on ``L``.

Shapes: see :mod:`mmkd.ops`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

# Enough for 2^20 positions, for exports in which their number is a symbol.
_DOUBLINGS = 20


def doubling_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    delta_bias: Tensor,
    delta_softplus: bool,
) -> Tensor:
    """Run the scan; arguments and result are those of ``selective_scan.selective_scan``."""
    groups, length = B.shape[1], u.shape[2]
    step = delta + delta_bias[:, None]
    step = functional.softplus(step) if delta_softplus else step
    step, x = (k.unflatten(1, (groups, -1)).unsqueeze(3) for k in (step, u))  # (B, G, c, 1, L)
    decay = (step * A.unflatten(0, (groups, -1)).unsqueeze(3)).exp()  # (B, G, c, S, L)
    state = step * x * B.unsqueeze(2)
    known = isinstance(length, int) and not torch.jit.is_tracing()
    for i in range((length - 1).bit_length() if known else _DOUBLINGS):
        state = state + decay * _before(state, 2**i)
        decay = decay * _before(decay, 2**i)
    return (state * C.unsqueeze(2)).sum(3).flatten(1, 2) + D[:, None] * u


def _before(x: Tensor, distance: int) -> Tensor:
    """Return the value ``distance`` positions before each one; zero before the first."""
    return functional.pad(x, (distance, 0))[..., : x.shape[-1]]
