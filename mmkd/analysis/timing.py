"""Measure time."""

import statistics
import time
from collections.abc import Callable

import torch


def median_ms(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median milliseconds of each call, run in turn so that other load hits all of them.

    With one CPU thread it measures processor time, which does not count waiting on a busy machine.
    Otherwise it measures wall-clock time.
    """
    is_single_thread = torch.get_num_threads() == 1 and not torch.cuda.is_available()
    clock = time.process_time if is_single_thread else time.perf_counter
    times = {name: [] for name in calls}
    for repeat in range(repeats + 2):
        for name, call in calls.items():
            start = clock()
            call()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if repeat >= 2:  # the first ones warm up caches
                times[name].append((clock() - start) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}
