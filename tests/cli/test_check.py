"""``mmkd check`` on real networks: what it prints of the teacher, the taps and the gradients."""

import runpy
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from mmkd.cli.check import smaller_is_better

ROOT = Path(__file__).resolve().parents[2]


def check(monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, 'argv', ['mmkd check', *words])
    runpy.run_path(str(ROOT / 'tools/check.py'), run_name='__main__')


def test_check_names_a_blank_map_and_a_term_of_hardly_any_effect(recipe_file, monkeypatch, capsys):
    recipe_file.write_text(
        recipe_file.read_text()
        + "model['distill'] = dict(encoder=dict(teacher='backbone[3]', weight=1e-4))\n"
    )
    lines = []
    monkeypatch.setattr(
        'mmkd.distillation.sample_batch.print_log', lambda text, _: lines.append(text)
    )
    check(monkeypatch, str(recipe_file), '--images', '2')
    out = capsys.readouterr().out
    assert not lines  # no word of a synthetic batch: the terms are tried on the config's images
    assert 'Teacher: mIoU' in out and 'on the first 2 validation images' in out
    assert '| Class ' not in out
    assert 'backbone[1]: stride 32, 128 channels' in out
    assert 'Term encoder compares attention maps, and the map of backbone[3]' in out
    assert 'Term encoder has hardly any effect' in out
    assert "The baseline's score is not known" in out


def test_check_config_that_does_not_distil_is_an_error(monkeypatch, capsys):
    with pytest.raises(SystemExit, match='2'):
        check(monkeypatch, 'mmkd::students/fast_scnn_streets.py')
    assert 'expected a config that distils' in capsys.readouterr().err


@pytest.mark.parametrize('key', ['val_dataloader', 'val_evaluator'])
def test_check_config_without_validation_is_an_error(recipe_file, monkeypatch, capsys, key):
    with pytest.raises(SystemExit, match='2'):
        check(monkeypatch, str(recipe_file), '--cfg-options', f'{key}=None')
    assert f'{key}=None: expected the data to check on' in capsys.readouterr().err


def test_check_launcher_is_rejected(recipe_file, monkeypatch, capsys):
    with pytest.raises(SystemExit, match='2'):
        check(monkeypatch, str(recipe_file), '--launcher', 'pytorch')
    assert 'unrecognized arguments: --launcher' in capsys.readouterr().err


@pytest.mark.parametrize(
    'hook, metric, smaller',
    [
        (dict(save_best='mIoU'), 'mIoU', False),
        (dict(save_best='val_loss'), 'val_loss', True),
        (dict(save_best='error'), 'error', False),  # unknown to MMEngine
        (dict(save_best='error', rule='less'), 'error', True),
        (dict(save_best=['a/mIoU', 'a/error'], rule=['greater', 'less']), 'error', True),
        (dict(save_best=['a/mIoU', 'a/error'], rule=['greater', 'less']), 'mIoU', False),
        (None, 'mIoU', False),
    ],
)
def test_smaller_is_better_is_decided_as_the_checkpoint_hook_does(hook, metric, smaller):
    config = Config(dict(default_hooks=dict(checkpoint=hook)))
    assert smaller_is_better(config, metric) == smaller
