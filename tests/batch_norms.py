"""Count the BatchNorms that PyTorch computes."""

from collections.abc import Callable
from typing import Any

from torch.profiler import ProfilerActivity, profile


def count_batch_norms(call: Callable, *args: Any) -> tuple[int, Any]:
    """Return how many BatchNorms ``call(*args)`` computes, and what it returns."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        result = call(*args)
    return sum(event.name == 'aten::batch_norm' for event in profiler.events()), result
