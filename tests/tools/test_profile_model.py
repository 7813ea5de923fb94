"""The profile of a distillation's two networks, as typed."""

import runpy
import sys
from pathlib import Path

import pytest

from mmkd.analysis.complexity import flop_count, parameter_count
from mmkd.config.load import load_config
from mmkd.openmmlab.inference import build_network

TOOL = Path(__file__).resolve().parents[2] / 'tools/analysis/profile_model.py'


def profile(monkeypatch, capfd, *args) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, 'argv', ['profile_model', *map(str, args)])
    status = 0
    try:
        runpy.run_path(str(TOOL), run_name='__main__')
    except SystemExit as stop:
        status = stop.code
    return status, *capfd.readouterr()


def rows(said: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in said.splitlines()
        if line.startswith('| ') and '---' not in line
    ][1:]


@pytest.mark.parametrize('recipe', ['segmentation', 'detection'])
def test_profile_model_lists_student_and_teacher(
    recipe, recipe_file, detection_files, monkeypatch, capfd
):
    config = recipe_file if recipe == 'segmentation' else detection_files['recipe']
    args = [config, '--sizes', '64x96', '128x64', '--batch', 2, '--repeats', 2]
    status, said, errors = profile(monkeypatch, capfd, *args)
    assert status == 0, errors
    table = rows(said)
    assert [row[:2] for row in table] == [
        [name, size] for size in ('64x96', '128x64') for name in ('student', 'teacher')
    ]
    teacher = build_network(load_config(load_config(str(config)).model.teacher.config))
    assert table[1][2] == f'{parameter_count(teacher) / 1e6:.2f}'
    assert table[1][3] == f'{flop_count(teacher, (64, 96)) / 1e9:.2f}'
    assert all(float(cell) > 0 for row in table for cell in row[4:])


def test_profile_model_lists_one_network_and_rejects_bad_sizes(recipe_file, monkeypatch, capfd):
    teacher = load_config(str(recipe_file)).model.teacher.config
    args = ['--sizes', '64x64', '--repeats', 1, '--batch', 1]
    status, said, _ = profile(monkeypatch, capfd, teacher, *args)
    assert status == 0 and [row[0] for row in rows(said)] == ['network']
    for size in ('512', '0x64', 'axb'):
        status, _, errors = profile(monkeypatch, capfd, recipe_file, '--sizes', size)
        assert status == 2 and f'error: --sizes {size}: expected HEIGHTxWIDTH' in errors
    for option in ('--batch', '--repeats'):
        status, _, errors = profile(monkeypatch, capfd, recipe_file, option, 0)
        assert status == 2 and f"argument {option}: '0': expected an integer >= 1" in errors


def test_profile_model_size_that_a_layer_rejects_raises_user_error(recipe_file, monkeypatch, capfd):
    status, _, errors = profile(monkeypatch, capfd, recipe_file, '--sizes', '1x1')
    assert status == 2 and 'Traceback' not in errors
    assert errors.splitlines()[-1].startswith('error: --sizes 1x1: a layer fails, ')


def test_profile_model_size_not_divisible_raises_user_error(detection_files, monkeypatch, capfd):
    args = [detection_files['recipe'], '--sizes', '240x320']
    status, _, errors = profile(monkeypatch, capfd, *args)
    message = (
        "--sizes 240x320: expected multiples of 32, the size_divisor of the network's "
        'data_preprocessor'
    )
    assert status == 2 and errors.strip() == f'error: {message}'


def test_profile_model_config_without_model_raises_user_error(monkeypatch, capfd):
    config = 'configs/_base_/default_runtime.py'
    status, _, errors = profile(monkeypatch, capfd, config)
    assert status == 2 and f'error: config {config}: expected a model' in errors
