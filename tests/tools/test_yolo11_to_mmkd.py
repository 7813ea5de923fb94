"""The converter as typed: published names in, a checkpoint of the base config out."""

import ast
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from mmkd.checkpoints.load_weights import load_weights
from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.config.load import load_config
from mmkd.registry import MODELS

TOOL = Path(__file__).resolve().parents[2] / 'tools/converters/yolo11_to_mmkd.py'


def convert(monkeypatch, *args) -> int:
    monkeypatch.setattr(sys, 'argv', [TOOL.name, *map(str, args)])
    try:
        runpy.run_path(str(TOOL), run_name='__main__')
    except SystemExit as stop:
        return stop.code
    return 0


@pytest.fixture
def published(shared):
    lines = (line.split(' ', 1) for line in np.load(shared / 'parity/yolo11n.npz')['keys'])
    torch.manual_seed(0)
    return {name: torch.randn(ast.literal_eval(shape)) for name, shape in lines}


def test_yolo11_to_mmkd_checkpoint_loads(published, tmp_path, monkeypatch, capsys):
    src, dst = tmp_path / 'yolo11n.pth', tmp_path / 'new/yolo11n_mmkd.pth'
    torch.save(published, src)
    assert convert(monkeypatch, src, dst) == 0
    assert 'YOLO11-n, 3 classes' in capsys.readouterr().out
    init_default_scope('mmdet')
    config = load_config('configs/_base_/models/yolo11_n.py').model
    config.bbox_head.num_classes = 3
    network = MODELS.build(config)
    load_weights(network, load_checkpoint_file(dst), str(dst))
    assert torch.equal(
        network.neck.bottom_up_blocks[1].conv2.conv.weight, published['model.22.cv2.conv.weight']
    )


@pytest.mark.parametrize(
    'content, message',
    [
        (None, 'does not exist'),
        ([1.0], 'holds a list: expected a state dict'),
        ({'model.0.conv.weight': torch.ones(9)}, 'expected a size of YOLO11'),
        ({'model': Path('x')}, 'is rejected: it holds pathlib'),
    ],
)
def test_yolo11_to_mmkd_other_file_error_names_it_and_writes_nothing(
    content, message, tmp_path, monkeypatch, capsys
):
    src, dst = tmp_path / 'src.pth', tmp_path / 'dst.pth'
    if content is not None:
        torch.save(content, src)
    assert convert(monkeypatch, src, dst) == 2
    line = capsys.readouterr().err.strip()
    assert line.startswith('error: ') and str(src) in line and message in line
    assert not dst.exists()
