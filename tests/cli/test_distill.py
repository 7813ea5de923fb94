"""``mmkd distill`` from the two words that a user types to a trained student."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from huggingface_folder import write_folder
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.cli.distill import (
    change_classes,
    checkpoint_options,
    load_teacher,
    split_teacher,
    use_folder,
)
from mmkd.config.load import load_config
from mmkd.errors import UserError
from mmkd.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]


def mmkd(folder: Path, *words: str) -> subprocess.CompletedProcess:
    environment = os.environ | dict(PYTHONPATH=str(ROOT))
    command = [sys.executable, '-m', 'mmkd_cli', *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def distill(folder: Path, *words: str) -> subprocess.CompletedProcess:
    return mmkd(folder, 'distill', *words)


def run_distill(monkeypatch, *words: str) -> None:
    """Run a command that fails, in this process."""
    monkeypatch.setattr(sys, 'argv', ['mmkd distill', *words])
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / 'tools/distill.py'), run_name='__main__')


def write_student(folder: Path) -> None:
    """Write ``student.py``, which trains for two iterations."""
    (folder / 'student.py').write_text(
        f"_base_ = '{ROOT}/configs/students/fast_scnn_streets.py'\n"
        'train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)\n'
        'val_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(length=4))\n'
        'train_cfg = dict(max_iters=2, val_interval=2)\n'
    )


@pytest.mark.parametrize(
    'text, config, checkpoint',
    [
        ('a/b.py', 'a/b.py', 'work_dirs/b/best.pth'),
        ('a/b.py:c.pth', 'a/b.py', 'c.pth'),
        ('mmkd::teachers/b.py', 'mmkd::teachers/b.py', 'work_dirs/b/best.pth'),
        ('mmseg::a/b.py:https://c.org/d.pth', 'mmseg::a/b.py', 'https://c.org/d.pth'),
    ],
)
def test_split_teacher_finds_config_and_checkpoint(text, config, checkpoint):
    assert split_teacher(text) == dict(config=config, checkpoint=checkpoint)


def test_split_teacher_finds_folder_and_timm_backbone(tmp_path):
    assert split_teacher(str(tmp_path)) == dict(huggingface=str(tmp_path))
    url = 'https://c.org/d.safetensors'
    assert split_teacher(f'timm:vit.tag:{url}') == dict(timm='vit.tag', checkpoint=url)


def test_split_teacher_checkpoint_may_begin_at_home(monkeypatch):
    monkeypatch.setenv('HOME', '/users/me')
    assert split_teacher('a/b.py:~/c.pth')['checkpoint'] == '/users/me/c.pth'
    assert split_teacher('timm:resnet18:~/c.pth')['checkpoint'] == '/users/me/c.pth'


@pytest.mark.parametrize(
    'text, message',
    [
        ('b.pth', '--teacher=b.pth: expected CONFIG.py, CONFIG.py:CHECKPOINT, a folder'),
        ('timm:resnet18', 'expected timm:NAME:CHECKPOINT'),
        ('mmdet::a/b.py', 'expected its weights too; write mmdet::a/b.py:CHECKPOINT'),
        ('', '--teacher=: expected CONFIG.py, CONFIG.py:CHECKPOINT, a folder'),
    ],
)
def test_split_teacher_unclear_text_is_an_error(text, message):
    with pytest.raises(UserError, match=message):
        split_teacher(text)


def test_change_classes_covers_every_head():
    model = dict(decode_head=[dict(), dict()], auxiliary_head=dict(num_classes=19))
    two = dict(num_classes=2)
    assert change_classes(model, 2) == dict(decode_head=[two, two], auxiliary_head=two)


def test_use_folder_replaces_the_dataset_and_keeps_each_heads_other_keys():
    heads = [dict(type='FCNHead', num_classes=19), dict(type='FCNHead', num_classes=19)]
    dataset = dict(dataset=dict(type='StreetScenes', length=4))
    config = Config(dict(model=dict(auxiliary_head=heads), train_dataloader=dataset))
    overrides = dict(train_dataloader=dict(dataset=dict(_delete_=True, type='FolderDataset')))
    use_folder(config, overrides, change_classes(config.model, 2))
    assert config.model.auxiliary_head == [dict(type='FCNHead', num_classes=2)] * 2
    assert config.train_dataloader.dataset == dict(type='FolderDataset')
    assert overrides['train_dataloader']['dataset']['_delete_'], 'the written file needs it'


def test_distill_trains_from_the_config_that_it_writes(teacher_files, tmp_path):
    config, checkpoint = teacher_files
    write_student(tmp_path)
    done = distill(tmp_path, 'student.py', '--teacher', f'{config}:{checkpoint}')
    assert done.returncode == 0, done.stderr
    assert 'stride_32: backbone[1] (128 channels) learns from backbone[3]' in done.stdout
    written = load_config(str(tmp_path / 'student_auto.py'))
    assert list(written.model.distill) == ['stride_8', 'stride_8_2', 'stride_32', 'logits']
    assert (tmp_path / 'work_dirs/student_auto/best.pth').is_file()


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['huggingface', 'timm'])
def test_distill_other_teacher_trains_and_resumes(kind, tmp_path):
    write_student(tmp_path)
    if kind == 'timm':
        torch.save(timm.create_model('convnext_atto').state_dict(), tmp_path / 'a.pth')
        teacher = f'timm:convnext_atto:{tmp_path}/a.pth'
    else:
        teacher = str(write_folder(tmp_path / 'folder'))
    done = distill(tmp_path, 'student.py', '--teacher', teacher)
    assert done.returncode == 0, done.stderr
    written = load_config(str(tmp_path / 'student_auto.py'))
    terms = written.model.distill
    assert {'stride_8', 'stride_32'} < set(terms)
    if kind == 'huggingface':  # road, Side-Walk, car
        assert 'compares 2: Road, Car; left out of the student: Sky' in done.stdout
        assert terms.logits.classes.teacher == ['road', 'Side-Walk', 'car']
    else:
        assert 'logits' not in terms
        assert 'the teacher is not scored on this data: it does not have a head' in done.stdout
    work_dir = tmp_path / 'work_dirs/student_auto'
    best = load_checkpoint_file(str(work_dir / 'best.pth'))
    assert not [name for name in best['state_dict'] if 'teacher' in name]
    assert best['meta']['teacher']
    if kind == 'timm':  # other weights under the same name
        torch.save(timm.create_model('convnext_atto').state_dict(), tmp_path / 'a.pth')
    command = [sys.executable, str(ROOT / 'tools/train.py'), 'student_auto.py', '--resume']
    done = subprocess.run(
        [*command, '--cfg-options', 'train_cfg.max_iters=4'],
        cwd=tmp_path, env=os.environ | dict(PYTHONPATH=str(ROOT)), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    warned = 'holds other weights than the teacher that this run had before' in done.stdout
    assert warned is (kind == 'timm')
    assert (work_dir / 'iter_4.pth').is_file()


@pytest.mark.parametrize(
    'words, message',
    [
        (['--out', 'student.py'], '--out=student.py: expected a new file'),
        (['--out', 'a.txt'], '--out=a.txt: expected a name that ends in .py'),
    ],
)
def test_distill_bad_out_leaves_files(words, message, teacher_files, tmp_path, capsys, monkeypatch):
    write_student(tmp_path)
    text = (tmp_path / 'student.py').read_text()
    teacher = ':'.join(teacher_files)
    monkeypatch.chdir(tmp_path)
    run_distill(monkeypatch, 'student.py', '--teacher', teacher, '--write-only', *words)
    assert message in capsys.readouterr().err
    assert (tmp_path / 'student.py').read_text() == text
    assert [path.name for path in tmp_path.glob('*.*')] == ['student.py']


@pytest.mark.parametrize(
    'checkpoint, message',
    [
        ('.', 'is a folder: expected a file of weights'),
        ('typo.pth', 'typo.pth: expected an existing file or .../best.pth'),
    ],
)
def test_load_teacher_wrong_checkpoint_is_an_error(
    checkpoint, message, teacher_files, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        load_teacher(dict(config=teacher_files[0], checkpoint=checkpoint))


def test_distill_config_that_distils_is_an_error(tmp_path):
    config = str(ROOT / 'configs/segformer_fastscnn_freq.py')
    done = distill(
        tmp_path, config, '--teacher', str(ROOT / 'configs/teachers/segformer_b0_streets.py')
    )
    assert done.returncode == 2
    assert (
        'expected the config of a student alone, but it is a distillation'
        in done.stderr.splitlines()[-1]
    )


@pytest.mark.parametrize('words, absent', [([], 'train'), (['--data', 'photos'], 'val')])
def test_distill_student_without_the_data_of_a_training_is_an_error(
    words, absent, tmp_path, capsys, monkeypatch
):
    write_student(tmp_path)
    with (tmp_path / 'student.py').open('a') as file:
        file.write(f'{absent}_dataloader = {absent}_cfg = None\n')
    monkeypatch.chdir(tmp_path)
    teacher = str(ROOT / 'configs/teachers/segformer_b0_streets.py')
    run_distill(monkeypatch, 'student.py', '--teacher', teacher, *words)
    (line,) = capsys.readouterr().err.splitlines()
    assert f'student.py: {absent}_dataloader=None: expected the config that trains' in line


CHECKPOINT = dict(type='CheckpointHook')


@pytest.mark.parametrize(
    'changes, expected',
    [
        (dict(), dict(save_best='mIoU', rule='greater')),
        (dict(evaluator=dict(iou_metrics=['mDice'])), dict(save_best='mDice', rule='greater')),
        (dict(hook=CHECKPOINT | dict(save_best='mFscore')), {}),
        (dict(hook=CHECKPOINT | dict(save_best='auto')), dict(save_best='mIoU', rule='greater')),
        (
            dict(hook=None),
            dict(CHECKPOINT, by_epoch=False, interval=500, save_best='mIoU', rule='greater'),
        ),
        (
            dict(hook=None, loop=dict(max_epochs=3)),
            dict(CHECKPOINT, by_epoch=True, save_best='mIoU', rule='greater'),
        ),
    ],
)
def test_checkpoint_options_add_what_the_student_does_not_state(distiller, changes, expected):
    config = Config(
        dict(
            train_cfg=changes.get('loop', dict(max_iters=9)),
            val_evaluator=dict(type='IoUMetric') | changes.get('evaluator', {}),
            default_hooks=dict(checkpoint=changes.get('hook', CHECKPOINT)),
        )
    )
    assert checkpoint_options(config, distiller.student) == expected


@pytest.mark.parametrize(
    'evaluator, metric',
    [
        (dict(type='mmdet.VOCMetric'), 'pascal_voc/mAP'),
        ([dict(type='CocoMetric')], 'coco/bbox_mAP'),
        (None, 'coco/bbox_mAP'),
    ],
)
def test_checkpoint_options_of_a_detector_follow_its_metric(detection_files, evaluator, metric):
    with DefaultScope.overwrite_default_scope('mmdet'):
        detector = MODELS.build(load_config(detection_files['student']).model)
    config = Config(dict(val_evaluator=evaluator, default_hooks=dict(checkpoint=CHECKPOINT)))
    expected = dict(save_best=metric, rule='greater')
    assert checkpoint_options(config, detector) == expected


def test_distill_pure_python_student_error_names_the_command_that_helps(
    teacher_files, tmp_path, capsys, monkeypatch
):
    write_student(tmp_path)
    text = load_config(str(tmp_path / 'student.py')).pretty_text
    assert "type='FastSCNN'" in text
    (tmp_path / 'lazy.py').write_text(
        'from mmseg.models import FastSCNN\n' + text.replace("type='FastSCNN'", 'type=FastSCNN')
    )
    monkeypatch.chdir(tmp_path)
    run_distill(monkeypatch, 'lazy.py', '--teacher', ':'.join(teacher_files), '--write-only')
    error = capsys.readouterr().err
    assert 'lazy.py: expected a text config' in error
    assert not list(tmp_path.glob('*_auto.py'))
    command = re.search(r'mmkd (config lazy\.py) > (lazy_plain\.py)', error)
    plain = mmkd(tmp_path, *command[1].split())
    (tmp_path / command[2]).write_text(plain.stdout)
    done = distill(tmp_path, command[2], '--teacher', ':'.join(teacher_files), '--write-only')
    assert done.returncode == 0, done.stderr
    student = load_config('lazy_plain_auto.py').model.student
    expected = load_config('student.py').model
    assert student.backbone.pop('type') == 'mmseg.models.FastSCNN'
    assert expected.backbone.pop('type') == 'FastSCNN'
    assert student == expected
