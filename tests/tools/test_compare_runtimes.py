"""The table of runtimes, as typed, on a small SegFormer."""

import os
import runpy
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from mmengine.config import Config

from mmkd.analysis.runtimes import RUNTIMES
from mmkd.config.load import load_config
from mmkd.deploy.export_files import write_onnx
from mmkd.deploy.export_model import make_export_model
from mmkd.errors import UserError
from mmkd.openmmlab.inference import load_network

TOOL = str(Path(__file__).resolve().parents[2] / 'tools/analysis/compare_runtimes.py')


@pytest.fixture
def tool() -> dict:
    return runpy.run_path(TOOL)


def test_row_of_one_changed_pixel_counts_it(tool):
    logits = np.zeros((1, 2, 4, 5), np.float32)
    logits[:, 0] = 1
    changed = logits.copy()
    changed[0, 1, 2, 3] = 1.5
    labels = torch.zeros(4, 5, dtype=torch.int64)
    answer = tool['Answer']
    cells = tool['row'](answer([[changed]], 2.0), answer([[logits]], 1.0), [labels])
    # One of 20 pixels; class 0 has 19 of 20, class 1 has 0 of 1: mIoU (95 + 0) / 2.
    assert cells == ['1.5e+00', '5.0000%', '47.50', '2.0']


def test_row_of_outputs_of_another_shape_names_both(tool):
    answer = tool['Answer']
    ours, theirs = np.zeros((1, 2, 4, 5)), np.zeros((1, 2, 4, 4))
    cells = tool['row'](answer([[theirs]], 2.0), answer([[ours]], 1.0), [None])
    assert cells[0] == 'outputs [(1, 2, 4, 4)] instead of [(1, 2, 4, 5)]'


def test_class_ids_of_each_task_are_of_a_pixel_a_box_and_an_image(tool):
    scores = np.eye(5, dtype=np.float32)[[3, 1]]  # of two pixels, boxes or images
    pixels, boxes = scores.T[None, :, None], scores[None]
    assert tool['class_ids']([pixels]).tolist() == [[[3, 1]]]
    assert tool['class_ids']([np.zeros((1, 2, 4)), boxes]).tolist() == [[3, 1]]
    assert tool['class_ids']([scores]).tolist() == [3, 1]


def test_runtime_that_ends_its_process_is_named_with_the_status(tool, monkeypatch):
    monkeypatch.setitem(RUNTIMES, 'broken', ('none', lambda student: os._exit(3)))
    assert tool['ask']('broken', None, {}, 1) == 'its process ends with 3'


def file_of(folder: Path, output: str, size: list[int | str]) -> Path:
    """An ONNX file without layers, with an input of a size and one output."""
    kind = onnx.TensorProto.FLOAT
    takes = onnx.helper.make_tensor_value_info('images', kind, ['batch', 3, *size])
    gives = onnx.helper.make_tensor_value_info(output, kind, None)
    onnx.save(
        onnx.helper.make_model(onnx.helper.make_graph([], 'g', [takes], [gives])), folder / 'a'
    )
    return folder / 'a'


def test_sizes_of_a_file_are_its_own_or_the_datas_and_three_others(tool, tmp_path):
    config = Config(dict(model=dict(data_preprocessor=dict(pad_size_divisor=32))))
    pairs = [(torch.zeros(1, 3, 64, 96), None)]
    for size, expected in (
        ([48, 80], [(48, 80)]),
        (['height', 'width'], [(64, 96), (32, 32), (96, 160), (160, 224)]),
    ):
        fixed = tool['check_student'](file_of(tmp_path, 'logits', size), ('logits',))
        assert tool['sizes_to_compare'](fixed, pairs, config) == expected


def test_student_that_returns_labels_raises_user_error(tool, tmp_path):
    with pytest.raises(UserError, match='export it without --preprocess and --argmax'):
        tool['check_student'](file_of(tmp_path, 'labels', [64, 96]), ('logits',))


@pytest.mark.slow
def test_table_of_a_student_has_a_row_of_onnxruntime(teacher_files, tmp_path, monkeypatch, capfd):
    for name in RUNTIMES.keys() - {'PyTorch', 'onnxruntime'}:  # test_runtimes.py has the others
        monkeypatch.delitem(RUNTIMES, name)
    config, checkpoint = teacher_files
    module = make_export_model(load_network(load_config(config), checkpoint))
    path = tmp_path / 'student.onnx'
    write_onnx(module, path, (64, 96), dynamic=False, facts={})
    args = ['compare_runtimes', path, config, checkpoint, '--images', 2, '--repeats', 1]
    monkeypatch.setattr(sys, 'argv', list(map(str, args)))
    runpy.run_path(TOOL, run_name='__main__')
    lines = capfd.readouterr().out.splitlines()
    (cells,) = [line.split(' | ') for line in lines if line.startswith('| onnxruntime')]
    assert cells[1] == '64x96' and float(cells[2]) < 1e-3 and float(cells[3].strip('%')) < 0.1
