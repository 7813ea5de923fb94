"""Measure memory."""

import json
import tempfile
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile


def peak_bytes(call: Callable[[], object]) -> int:
    """Return the peak memory of ``call``, beyond what was allocated before.

    On a CPU it comes from the profiler's record of every allocation, on a GPU from the allocator.
    """
    if torch.cuda.is_available():
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        call()
    with tempfile.NamedTemporaryFile(suffix='.json') as file:
        recorded.export_chrome_trace(file.name)
        with open(file.name) as trace:
            events = json.load(trace)['traceEvents']
    events = sorted((e for e in events if e['name'] == '[memory]'), key=lambda e: e['ts'])
    held, peak = 0, 0
    for event in events:
        held += event['args']['Bytes']
        peak = max(peak, held)
    return peak
