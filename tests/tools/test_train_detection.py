"""The training and evaluation commands on detectors, as typed; in this process, for speed."""

import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmkd.checkpoints.safe_load import load_checkpoint_file

ROOT = Path(__file__).resolve().parents[2]

# Cells in the layout of PASCAL VOC, for the small student of tests/conftest.py.
BCCD = """
_base_ = '{root}/configs/students/retinanet_r18half_bccd.py'
model = dict(
    backbone=dict(base_channels=4),
    neck=dict(in_channels=[4, 8, 16, 32], out_channels=4, norm_cfg=dict(num_groups=2)),
    bbox_head=dict(
        in_channels=4, feat_channels=4, stacked_convs=1, norm_cfg=dict(num_groups=2)),
    test_cfg=dict(score_thr=0.0, max_per_img=20))
train_dataloader = dict(batch_size=2, num_workers={workers}, persistent_workers=False)
val_dataloader = dict(batch_size=2, num_workers=0)
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(logger=dict(interval=1))
"""
XML = """<annotation><size><width>64</width><height>48</height></size>{objects}</annotation>"""
CELL = """<object><name>RBC</name><bndbox><xmin>9</xmin><ymin>9</ymin><xmax>30</xmax>
<ymax>25</ymax></bndbox></object>"""


def command(monkeypatch, tool, *args) -> int:
    """Run ``tools/<tool>.py`` with arguments; its exit status."""
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
    try:
        runpy.run_path(str(ROOT / 'tools' / f'{tool}.py'), run_name='__main__')
    except SystemExit as stop:
        return stop.code
    return 0


def last_line(capfd) -> str:
    return capfd.readouterr().err.strip().splitlines()[-1]


@pytest.fixture
def cells(tmp_path, monkeypatch):
    """``data/bccd`` with four images, the first without cells, and a config that trains on it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / 'data/bccd'
    for name in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (folder / name).mkdir(parents=True)
    for i in range(4):
        (folder / f'Annotations/{i}.xml').write_text(XML.format(objects=CELL if i else ''))
        image = np.random.default_rng(i).integers(0, 256, (48, 64, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / f'JPEGImages/{i}.jpg'), image)
    for split in ('train', 'val'):
        (folder / f'ImageSets/Main/{split}.txt').write_text('0\n1\n2\n3\n')

    def write(workers=0) -> Path:
        # MMEngine names a run by its config and second, and its scope by the run.
        path = tmp_path / f'{tmp_path.name}.py'
        path.write_text(BCCD.format(root=ROOT, workers=workers))
        return path

    return write


def test_train_detection_on_voc_layout_trains_and_evaluates(cells, monkeypatch, capfd):
    config = cells()
    assert command(monkeypatch, 'train', config) == 0
    assert command(monkeypatch, 'test', config, f'work_dirs/{config.stem}/best.pth') == 0
    assert 'coco/bbox_mAP: ' in capfd.readouterr().out


def test_train_detection_images_without_boxes_train(cells, monkeypatch):
    for path in Path('data/bccd/Annotations').glob('[0-2].xml'):
        path.write_text(XML.format(objects=''))
    Path('data/bccd/ImageSets/Main/train.txt').write_text('0\n1\n')
    assert command(monkeypatch, 'train', cells()) == 0


def test_train_detection_corrupt_annotation_error_is_one_line(cells, monkeypatch, capfd):
    Path('data/bccd/Annotations/2.xml').write_text('<annotation><object>')
    assert command(monkeypatch, 'train', cells()) == 2
    line = last_line(capfd)
    assert line.startswith('error: annotation data/bccd/Annotations/2.xml cannot be read: ')


@pytest.mark.parametrize('workers', [0, 1])
def test_train_detection_corrupt_image_error_is_one_line(cells, monkeypatch, capfd, workers):
    for path in Path('data/bccd/JPEGImages').glob('*'):
        path.write_bytes(b'no image')
    assert command(monkeypatch, 'train', cells(workers)) == 2
    line = last_line(capfd)
    assert line.startswith('error: image data/bccd/JPEGImages/') and 'cannot be read' in line


@pytest.mark.parametrize(
    'option, message',
    [
        ('train_dataloader.dataset.data_root=no/data', 'dataset.data_root=no/data does not exist'),
        ('train_dataloader.dataset.ann_file=no.txt', 'dataset.ann_file=data/bccd/no.txt does not'),
        (
            'model.bbox_head.num_classes=80',
            'model.bbox_head.num_classes=80: expected 3',
        ),
    ],
)
def test_train_detection_bad_arguments_error_is_one_line(
    cells, monkeypatch, capfd, option, message
):
    assert command(monkeypatch, 'train', cells(), '--cfg-options', option) == 2
    line = last_line(capfd)
    assert line.startswith('error: ') and message in line


def test_train_detection_missing_teacher_is_trained_first(
    detection_files, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    text = Path(detection_files['recipe']).read_text()
    recipe = tmp_path / 'recipe.py'
    recipe.write_text(text.replace(detection_files['checkpoint'], 'work_dirs/teacher/best.pth'))
    wrong = ['--cfg-options', 'model.student.bbox_head.num_classes=3']
    assert command(monkeypatch, 'train', recipe, *wrong) == 2
    assert 'distill.scores' in last_line(capfd) and not Path('work_dirs').exists()

    assert command(monkeypatch, 'train', recipe) == 0
    student = load_checkpoint_file('work_dirs/recipe/best.pth')
    teacher = load_checkpoint_file('work_dirs/teacher/best.pth')
    assert 'pascal_voc/mAP' in student['meta']['teacher_score']
    key = 'backbone.conv1.weight'
    assert (len(teacher['state_dict'][key]), len(student['state_dict'][key])) == (8, 4)
    best = student['message_hub']['runtime_info']['best_score']
    capfd.readouterr()
    args = ['work_dirs/recipe/student.py', 'work_dirs/recipe/best.pth']
    assert command(monkeypatch, 'test', *args) == 0
    assert f'coco/bbox_mAP: {best:.4f}' in capfd.readouterr().out


def test_train_detection_teacher_of_other_classes_has_no_score(
    detection_files, tmp_path, monkeypatch, capfd
):
    options = ['model.distill.scores=None', 'train_cfg.max_iters=1']
    chosen = "['Car','Pedestrian']"
    for loader in ('train', 'val'):
        options.append(f'{loader}_dataloader.dataset.metainfo.classes={chosen}')
    options.append('model.student.bbox_head.num_classes=2')
    args = [detection_files['recipe'], '--work-dir', tmp_path, '--cfg-options', *options]
    assert command(monkeypatch, 'train', *args) == 0
    assert 'the teacher is not scored on this data: model.bbox_head.num_classes=4' in (
        capfd.readouterr().out
    )


def test_train_blind_networks_are_not_refused_for_their_metric(
    detection_files, tmp_path, monkeypatch, capfd
):
    """Without a box CocoMetric reports nothing, and the other metric beside it does."""
    monkeypatch.chdir(tmp_path)
    blind = 'model = dict(test_cfg=dict(score_thr=1.1))\n'
    Path('blind.py').write_text(f"_base_ = '{detection_files['teacher']}'\n{blind}")
    torch.save(
        dict(state_dict=load_checkpoint_file(detection_files['checkpoint'])['state_dict']),
        'blind.pth',
    )
    text = Path(detection_files['recipe']).read_text()
    text = text.replace(detection_files['teacher'], 'blind.py')
    Path('recipe.py').write_text(text.replace(detection_files['checkpoint'], 'blind.pth'))
    assert command(monkeypatch, 'train', 'recipe.py') == 0
    assert 'teacher: pascal_voc' in capfd.readouterr().out


def test_train_missing_teacher_that_finds_nothing_says_so(
    detection_files, tmp_path, monkeypatch, capfd
):
    """Its training is whole, so it is not to be deleted."""
    monkeypatch.chdir(tmp_path)
    Path('blind.py').write_text(
        f"_base_ = '{detection_files['teacher']}'\n"
        'model = dict(test_cfg=dict(score_thr=1.1))\n'
        'val_evaluator = [_base_.val_evaluator[0]]\n'
        'train_cfg = dict(max_iters=2)\n'
    )
    text = (
        Path(detection_files['recipe']).read_text().replace(detection_files['teacher'], 'blind.py')
    )
    recipe = text.replace(detection_files['checkpoint'], 'work_dirs/blind/best.pth')
    Path('recipe.py').write_text(recipe)
    assert command(monkeypatch, 'train', 'recipe.py') == 2
    line = last_line(capfd)
    assert line.startswith('error: blind.py: expected a validation with ')
    assert 'a detector that finds no object' in line
    assert Path('work_dirs/blind/iter_2.pth').is_file()
