"""The most memory that is held at one time."""

import torch

from mmkd.analysis.memory import peak_bytes

MIB = 2**20


def test_peak_bytes_counts_memory_freed_later():
    kept = []

    def call():
        first = torch.empty(3 * MIB, dtype=torch.uint8)
        del first
        second = torch.empty(2 * MIB, dtype=torch.uint8)
        kept.append(torch.empty(2 * MIB, dtype=torch.uint8))
        del second

    assert peak_bytes(call) == 4 * MIB
