"""mmcv.ops on one set of operators or on the other."""

from collections.abc import Callable, Iterator
from importlib import import_module

import pytest
import torch

from mmkd.analysis.operator_parity import use_operators
from mmkd.openmmlab.operators import extension
from mmkd.openmmlab.operators.install import uses_mmkd_operators


@pytest.fixture
def mmkd_operators() -> Iterator[None]:
    """mmcv.ops on mmkd's operators."""
    with use_operators(extension):
        yield


@pytest.fixture
def both() -> Callable[[Callable[[], list]], tuple[list, list]]:
    """A function that runs another one on mmkd's operators, then on mmcv's compiled ones."""
    if uses_mmkd_operators():
        pytest.skip("mmcv has no compiled operators here; 'make test-operators' compares with them")

    def run(compute: Callable[[], list]) -> tuple[list, list]:
        results = []
        for operators in (extension, import_module('mmcv._ext')):
            torch.manual_seed(0)
            with use_operators(operators):
                results.append(compute())
        return tuple(results)

    return run
