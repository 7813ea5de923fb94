"""tools/analysis/compare_gradients.py, as typed."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner

from mmkd.analysis.term_gradients import term_gradients
from mmkd.config.load import load_config
from mmkd.distillation.load import load_distiller

TOOL = Path(__file__).resolve().parents[2] / 'tools/analysis/compare_gradients.py'


def command(monkeypatch, *args) -> int:
    monkeypatch.setattr(sys, 'argv', ['compare_gradients', *map(str, args)])
    try:
        runpy.run_path(str(TOOL), run_name='__main__')
    except SystemExit as stop:
        return stop.code
    return 0


def test_compare_gradients_has_a_row_per_term_at_full_weight(recipe_file, monkeypatch, capsys):
    schedule = dict(type='linear_warmup', begin=0, end=9)
    scheduled = [f'model.distill.encoder.schedule.{key}={schedule[key]}' for key in schedule]
    options = ['--batches', 2, '--cfg-options', *scheduled]
    assert command(monkeypatch, recipe_file, *options) == 0
    table = capsys.readouterr().out.split('\n\n')[-1].strip().splitlines()[2:]
    cells = [[cell.strip(' `') for cell in row.strip('|').split('|')] for row in table]
    config = load_config(str(recipe_file))
    torch.manual_seed(0)
    distiller = load_distiller(config, None).train()
    batches = iter(Runner.build_dataloader(config.train_dataloader, seed=0))
    steps = []
    for _ in range(2):
        data = distiller.data_preprocessor(next(batches), training=True)
        steps.append(term_gradients(distiller, data['inputs'], data['data_samples']))
    assert [row[0] for row in cells] == ['encoder', 'decoder']
    for name, value, ratio, cosine in cells:
        first, second = (step[name] for step in steps)
        assert float(value) == pytest.approx((first.value + second.value) / 2, rel=5e-3)
        assert float(ratio) == pytest.approx((first.ratio + second.ratio) / 2, abs=6e-4)
        assert float(cosine) == pytest.approx((first.cosine + second.cosine) / 2, abs=6e-3)


@pytest.mark.parametrize(
    'options, message',
    [
        (
            ['configs/students/fast_scnn_streets.py'],
            'EncoderDecoder: expected mmkd.Distiller',
        ),
        (['{recipe}', '--batches', '0'], "'0': expected an integer >= 1"),
        (['{recipe}', '--checkpoint', 'none.pth'], 'none.pth'),
        (
            ['{recipe}', '--cfg-options', 'model.distill=1'],
            'model.distill=1: expected a dict of terms',
        ),
    ],
)
def test_compare_gradients_bad_arguments_error_is_one_line(
    recipe_file, monkeypatch, capfd, options, message
):
    assert command(monkeypatch, *[text.format(recipe=recipe_file) for text in options]) == 2
    line = capfd.readouterr().err.strip().splitlines()[-1]
    assert 'error: ' in line and message in line
