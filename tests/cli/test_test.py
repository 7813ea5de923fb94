"""``mmkd test`` on a real network."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from mmkd.config.load import load_config
from mmkd.registry import DATASETS, MODELS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize('resume', [False, True])
def test_test_scores_the_checkpoint_and_not_what_its_training_started_from(
    tmp_path, monkeypatch, resume
):
    monkeypatch.chdir(tmp_path)
    Path('student.py').write_text(
        f"_base_ = '{ROOT}/configs/students/fast_scnn_streets.py'\n"
        'test_dataloader = dict(batch_size=1, num_workers=0, dataset=dict(length=1))\n'
        f"load_from, resume = 'start.pth', {resume}\n"
    )
    config = load_config('student.py')
    label = DATASETS.build(config.test_dataloader.dataset)[0]['data_samples'].gt_sem_seg.data
    network = MODELS.build(config.model)
    classes = network.decode_head.conv_seg
    torch.nn.init.zeros_(classes.weight)
    frequent = label.flatten().mode().values
    for name, answer in (('start', (frequent + 1) % 11), ('trained', frequent)):
        classes.bias.data[:] = torch.eye(11)[answer]  # one class for every pixel
        torch.save(dict(state_dict=network.state_dict(), meta={}), f'{name}.pth')
    monkeypatch.setattr(sys, 'argv', ['mmkd test', 'student.py', 'trained.pth'])
    runpy.run_path(str(ROOT / 'tools/test.py'), run_name='__main__')
    (log,) = Path('work_dirs/student/test').glob('*/*.json')
    accuracy = 100 * (label == frequent).double().mean().item()
    assert json.loads(log.read_text())['aAcc'] == pytest.approx(accuracy, abs=0.01)


def test_test_missing_checkpoint_is_named_before_the_network_is_built(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, 'argv', ['mmkd test', 'mmkd::students/fast_scnn_streets.py', 'none.pth']
    )
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / 'tools/test.py'), run_name='__main__')
    assert stop.value.code == 2 and not Path('work_dirs').exists()  # a runner makes its work dir
