"""The counters of multiply-adds that are installed, on a convolution counted by hand."""

import runpy
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

TOOL = runpy.run_path(
    str(Path(__file__).resolve().parents[2] / 'tools/analysis/compare_counters.py')
)
MODULES = {'ultralytics-thop': 'thop'}


class Convolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)

    def forward(self, images: Tensor, samples: list, mode: str) -> Tensor:
        return self.conv(images)


@pytest.mark.parametrize('counter', TOOL['COUNTERS'])
def test_counter_of_a_convolution_gives_its_products(counter):
    if find_spec(MODULES.get(counter, counter)) is None:
        pytest.skip(f'{counter} is optional')
    once = TOOL['ImagePass'](Convolution(), (16, 24)).eval()
    with torch.no_grad():
        assert TOOL['COUNTERS'][counter](once) == 3 * 8 * 3 * 3 * 16 * 24
