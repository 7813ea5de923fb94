import runpy
import sys
from pathlib import Path

import pytest
import torch
from huggingface_folder import write_folder
from mmseg.apis import init_model

from mmkd.config.class_names import class_names
from mmkd.config.load import load_config
from mmkd.teachers import build_teacher_network

TOOL = str(Path(__file__).resolve().parents[2] / 'tools/converters/huggingface_to_mmseg.py')


def convert(monkeypatch, *args: object) -> None:
    monkeypatch.setattr(sys, 'argv', [TOOL, *map(str, args)])
    runpy.run_path(TOOL, run_name='__main__')


def test_converter_output_runs_in_mmsegmentation(tmp_path, monkeypatch, capsys):
    folder = write_folder(tmp_path / 'folder')
    convert(monkeypatch, folder, tmp_path / 'out')
    assert 'SegFormer, 3 classes' in capsys.readouterr().out
    ours = init_model(str(tmp_path / 'out.py'), str(tmp_path / 'out.pth'), device='cpu')
    theirs = build_teacher_network(dict(huggingface=str(folder))).network.eval()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = theirs(images, mode='tensor')
        torch.testing.assert_close(ours(images, mode='tensor'), expected)
    assert ours.dataset_meta['classes'] == ['road', 'Side-Walk', 'car']
    assert class_names(load_config(str(tmp_path / 'out.py'))) == ['road', 'Side-Walk', 'car']


def test_converter_of_another_architecture_writes_nothing(tmp_path, monkeypatch, capsys):
    folder = write_folder(tmp_path / 'folder', architectures=['DPTForSemanticSegmentation'])
    with pytest.raises(SystemExit) as stop:
        convert(monkeypatch, folder, tmp_path / 'out')
    assert stop.value.code == 2
    assert 'its architecture is DPTForSemanticSegmentation' in capsys.readouterr().err
    assert not list(tmp_path.glob('out.*'))
