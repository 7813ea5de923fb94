"""Medians of calls that run in turn."""

import time

import torch

from mmkd.analysis.timing import median_ms


def test_median_ms_calls_take_turns_after_warmup(monkeypatch):
    order = []
    seconds = {'fast': [9, 9, 1, 2, 30], 'slow': [9, 9, 5, 4, 6]}
    clock = [0.0]

    def call(name):
        clock[0] += seconds[name][order.count(name)]
        order.append(name)

    monkeypatch.setattr(torch, 'get_num_threads', lambda: 1)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(time, 'process_time', lambda: clock[0])
    times = median_ms({name: lambda name=name: call(name) for name in seconds}, repeats=3)
    assert times == dict(fast=2000, slow=5000)
    assert order == ['fast', 'slow'] * 5
