"""The tools that draw what a distillation reads, as typed."""

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmkd.config.load import load_config
from mmkd.datasets import render_street
from mmkd.distillation.tap import INPUT_GRADIENT, parse_tap
from mmkd.ops.feature_richness import feature_richness
from mmkd.registry import MODELS
from mmkd.visualization.inspection import inspect_networks
from mmkd.visualization.overlay import overlay

ROOT = Path(__file__).resolve().parents[2]
RUNTIME = 'configs/_base_/default_runtime.py'


def command(monkeypatch, tool, *args) -> int:
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
    # The tool's own folder is first on the path, as when it is started by name.
    monkeypatch.syspath_prepend(str(ROOT / 'tools/analysis'))
    try:
        runpy.run_path(str(ROOT / 'tools/analysis' / f'{tool}.py'), run_name='__main__')
    except SystemExit as stop:
        return stop.code
    return 0


@pytest.fixture
def frs(detection_files, tmp_path) -> Path:
    """A small RetinaNet's FRS distillation."""
    path = tmp_path / 'frs.py'
    base = f"_base_ = ['{detection_files['recipe']}', '{ROOT}/configs/_base_/distillers/{{}}.py']"
    path.write_text(
        base.format('frs_one_stage')
        + '\nmodel = dict(distill=dict(_delete_=True, **_base_.distill))\n'
    )
    return path


def test_show_frs_draws_every_level(frs, tmp_path, monkeypatch):
    # Of 160 x 128 the networks see 80 x 64, padded to 96 x 64, and five levels reach to 128 x 128.
    half = tmp_path / 'half.py'
    half.write_text(
        f"_base_ = '{frs}'\n"
        "resize = dict(type='Resize', scale=(80, 64))\n"
        'val_dataloader = dict(dataset=dict(\n'
        '    size=(128, 160), pipeline=[_base_.load[0], resize, _base_.load[1], _base_.pack]))\n'
    )

    def last_cell_in_sight(scores):
        mask = torch.zeros_like(scores[:, 0])
        # 64 rows need all of a level's; 80 of 96 columns, or of 128, may not.
        stride = 64 // mask.shape[1] if mask.shape[2] > 1 else 128
        mask[:, -1, 79 // stride] = 1
        return mask

    monkeypatch.setattr('mmkd.ops.feature_richness.feature_richness', last_cell_in_sight)
    out = tmp_path / 'frs.png'
    assert command(monkeypatch, 'show_frs', half, out, '--index', 1) == 0
    # The image and five levels, three a row, each drawn 288 pixels high.
    sheet = cv2.imread(str(out))
    assert sheet.shape == (2 * (288 + 28), 3 * 360 + 2 * 4, 3)
    rows, columns = (((np.arange(n) + 0.5) * 4.5).astype(int) for n in (64, 80))
    boxed, *levels = (
        sheet[28 + top + rows][:, left + columns] for top in (0, 316) for left in (0, 364, 728)
    )
    boxes = render_street(1, 'val', (128, 160)).boxes
    assert len(boxes) > 0
    for x, y in (boxes[:, :2] / 2).round().astype(int):
        assert boxed[y, x].tolist() == [0, 200, 0]
    image = inspect_networks(load_config(str(half)), None, 1).image
    dark = overlay(image, np.zeros((1, 1)), 1.0)
    for level, stride in zip(levels, (8, 16, 32, 64, 128), strict=True):
        lit = np.argwhere((level != dark).any(2))
        # The cell's light ends half a cell before it.
        ends = [max(0, n // stride * stride - stride // 2) for n in (63, 79)]
        assert np.abs(lit.min(0) - ends).max() <= 1
        assert lit.max(0).tolist() == [63, 79]


def test_inspect_networks_records_network_outputs(frs, detection_files):
    inspection = inspect_networks(load_config(str(frs)), None, 1)
    teacher = inspection.distiller.teacher.network
    image = torch.from_numpy(inspection.image.transpose(2, 0, 1).copy())
    data = teacher.data_preprocessor(dict(inputs=[image], data_samples=None))
    with torch.no_grad():
        scores = teacher(data['inputs'], mode='tensor')[0][2]
    read = inspection.teacher[parse_tap('bbox_head[0][2]')]
    torch.testing.assert_close(feature_richness(read), feature_richness(scores))
    with torch.no_grad():
        own = inspection.distiller.student(data['inputs'], mode='tensor')[0][2]
    torch.testing.assert_close(inspection.student[parse_tap('bbox_head[0][2]')], own)


def test_inspect_networks_records_input_gradients_of_both(recipe):
    loss = dict(type='GradientATLoss')
    term = dict(student='input_gradient', teacher='input_gradient', loss=loss)
    recipe.model.distill = dict(gradient=term)
    inspection = inspect_networks(recipe, None, 1)
    image = torch.from_numpy(inspection.image.transpose(2, 0, 1).copy())
    networks = inspection.distiller.student, inspection.distiller.teacher.network
    for network, recording in zip(networks, (inspection.student, inspection.teacher), strict=True):
        batch = dict(inputs=[image], data_samples=[inspection.sample])
        data = network.data_preprocessor(batch, False)
        inputs = data['inputs'].requires_grad_()
        loss, _ = network.parse_losses(network.loss(inputs, data['data_samples']))
        (expected,) = torch.autograd.grad(loss * (192 * 256) ** 0.5, inputs)
        torch.testing.assert_close(recording[INPUT_GRADIENT], expected)


@pytest.mark.parametrize('recipe', ['detection', 'segmentation'])
def test_show_attention_draws_teacher_student_and_what_is_asked(
    recipe, detection_files, recipe_file, tmp_path, monkeypatch
):
    config = detection_files['recipe'] if recipe == 'detection' else recipe_file
    out = tmp_path / 'attention.png'
    assert command(monkeypatch, 'show_attention', config, out) == 0
    sheet = cv2.imread(str(out))
    width = 432 if recipe == 'detection' else 384
    assert sheet.shape == (3 * (288 + 28), 3 * width + 2 * 4, 3)
    # All rows begin with the image; what random networks look at differs, and what is asked.
    rows = np.split(sheet, 3)
    for row, other in ((0, 1), (1, 2)):
        assert np.array_equal(rows[row][28:, :width], rows[other][28:, :width])
        assert not np.array_equal(rows[row][28:, width:], rows[other][28:, width:])


@pytest.fixture
def graph(teacher_files, tmp_path) -> Path:
    """A small SegFormer's spectral graph distillation into Fast-SCNN, with a learned graph."""
    path = tmp_path / 'graph.py'
    path.write_text(
        f"_base_ = '{ROOT}/configs/ablations/fastscnn_spectral_query_key.py'\n"
        f'model = dict(teacher=dict(config={teacher_files[0]!r}, checkpoint={teacher_files[1]!r}))'
    )
    return path


def test_show_graph_draws_what_a_patch_is_tied_to(graph, tmp_path, monkeypatch):
    torch.manual_seed(1)
    distiller = MODELS.build(load_config(str(graph)).model)
    trained = dict(
        state_dict=distiller.student.state_dict(), distill=distiller.distill.state_dict()
    )
    torch.save(trained, tmp_path / 'trained.pth')
    out, other = tmp_path / 'graph.png', tmp_path / 'other.png'
    args = (graph, out, '--checkpoint', tmp_path / 'trained.pth')
    assert command(monkeypatch, 'show_graph', *args) == 0
    # Image, teacher, low rank; before, after, eigenvalues: each 256 x 192 drawn 384 x 288.
    sheet = cv2.imread(str(out))
    assert sheet.shape == (2 * (288 + 28), 3 * 384 + 2 * 4, 3)
    pictures = [p for row in np.split(sheet, 2) for p in np.split(row[28:, :1152], 3, axis=1)]
    for i, picture in enumerate(pictures):
        assert not any(np.array_equal(picture, p) for p in pictures[:i])
    # From elsewhere in the image another patch's ties are seen, and nothing else changes.
    args = (graph, other, '--checkpoint', tmp_path / 'trained.pth', '--point', 3, 5)
    assert command(monkeypatch, 'show_graph', *args) == 0
    moved = cv2.imread(str(other))
    assert not np.array_equal(moved[:, :1152], sheet[:, :1152])
    assert np.array_equal(moved[320:, 2 * 388 :], sheet[320:, 2 * 388 :])


def test_show_graph_learned_affinity_comes_from_checkpoint(graph, tmp_path):
    config = load_config(str(graph))
    distiller = MODELS.build(config.model)
    trained = dict(
        state_dict=distiller.student.state_dict(), distill=distiller.distill.state_dict()
    )
    torch.save(trained, tmp_path / 'trained.pth')
    inspection = inspect_networks(config, str(tmp_path / 'trained.pth'), 0)
    learned = inspection.distiller.distill['objects'].loss.affinity.weight
    assert torch.equal(learned, distiller.distill['objects'].loss.affinity.weight)


@pytest.mark.parametrize(
    'args, message',
    [
        (['--point', '256', '0'], '--point 256 0: expected 0 to 255, 0 to 191'),
        (['--index', '-1'], '--index -1: expected 0 to'),
        (['--checkpoint', 'none.pth'], 'checkpoint none.pth does not exist'),
    ],
)
def test_show_graph_bad_arguments_error_is_one_line(
    graph, tmp_path, monkeypatch, capfd, args, message
):
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, 'show_graph', graph, 'x.png', *args) == 2
    line = capfd.readouterr().err.strip().splitlines()[-1]
    assert line.startswith('error: ') and message in line
    assert not Path('x.png').exists()


@pytest.mark.parametrize(
    'tool, args, message',
    [
        ('show_graph', ['{recipe}', 'x.png'], 'expected a term with SpectralGraphLoss'),
        ('show_frs', ['{recipe}', 'x.png'], 'expected a term with FRSFeatureLoss, FRSHeadLoss or'),
        ('show_frs', ['{recipe}', 'x.png', '--index', '4'], '--index 4: expected 0 to 3'),
        ('show_frs', [RUNTIME, 'x.png'], f'config {RUNTIME}: expected a model'),
        ('show_graph', [RUNTIME, 'x.png'], f'config {RUNTIME}: expected a model'),
        ('show_attention', [RUNTIME, 'x.png'], f'config {RUNTIME}: expected a model'),
        ('show_attention', ['{student}', 'x.png'], 'model.type=RetinaNet: expected a Distiller'),
        (
            'show_attention',
            ['{recipe}', 'x.png', '--checkpoint', '{checkpoint}'],
            'best.pth does not fit its config',
        ),
    ],
)
def test_show_tools_bad_arguments_error_is_one_line(
    detection_files, tmp_path, monkeypatch, capfd, tool, args, message
):
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, tool, *[arg.format(**detection_files) for arg in args]) == 2
    line = capfd.readouterr().err.strip().splitlines()[-1]
    assert line.startswith('error: ') and message in line
    assert not Path('x.png').exists()
