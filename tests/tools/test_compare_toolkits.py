"""The factor between two losses, and the losses of the toolkits that are installed."""

import runpy
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from mmkd.errors import UserError

TOOL = runpy.run_path(
    str(Path(__file__).resolve().parents[2] / 'tools/analysis/compare_toolkits.py')
)
Row, measure_factor, print_losses = (TOOL[n] for n in ('Row', 'measure_factor', 'print_losses'))


def noise(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, *shape, generator=generator, dtype=torch.float64)


def row(factor: float, theirs=lambda s, t: 3 * functional.mse_loss(s, t)) -> Row:
    return Row('theirs', 'ours', '3', lambda b, c, h, w: factor, theirs, functional.mse_loss)


def test_measure_factor_of_three_times_the_loss_is_3():
    factor, rest = measure_factor(row(3), *noise(2, 3, 4, 5))
    assert factor == pytest.approx(3, rel=1e-12) and rest < 1e-12


def test_measure_factor_of_another_loss_leaves_a_rest():
    factor, rest = measure_factor(row(3, functional.l1_loss), *noise(2, 3, 4, 5))
    assert rest > 0.1


@pytest.mark.parametrize('factor', [3, 2])
def test_print_losses_refuses_a_factor_that_is_not_its_formula(factor, monkeypatch, capsys):
    names = print_losses.__globals__
    monkeypatch.setitem(names, 'TOOLKITS', {'torch': lambda: [row(factor)]})
    monkeypatch.setitem(names, 'features', lambda: tuple(noise(1, 2, 3, 4)))
    if factor == 3:
        print_losses()
    else:
        with pytest.raises(UserError, match='torch `theirs`: the factor is not its formula'):
            print_losses()
    assert '| torch `theirs` | `ours` | 3 | 3 | 3 | 3 |' in capsys.readouterr().out


@pytest.mark.parametrize('toolkit', TOOL['TOOLKITS'])
def test_factor_of_every_shared_loss_is_its_formula(toolkit):
    if find_spec(toolkit) is None:  # mmrazor is there but its plain import fails.
        pytest.skip(f'{toolkit} is optional')
    for shared in TOOL['TOOLKITS'][toolkit]():
        student, teacher = noise(2, 5, 6, 7)
        factor, rest = measure_factor(shared, student, teacher)
        assert rest < 1e-4 and factor == pytest.approx(shared.factor(2, 5, 6, 7), rel=1e-4)
