"""The most memory that is held at one time."""

import torch

from mmkd.benchmark.memory import peak_bytes

MIB = 2**20


def test_what_is_freed_counts_while_it_is_held():
    kept = []

    def call():
        first = torch.empty(3 * MIB, dtype=torch.uint8)
        del first
        second = torch.empty(2 * MIB, dtype=torch.uint8)
        kept.append(torch.empty(2 * MIB, dtype=torch.uint8))
        del second

    assert peak_bytes(call) == 4 * MIB
