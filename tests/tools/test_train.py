"""The training and evaluation commands, as typed; most in this process, for speed."""

import fcntl
import resource
import runpy
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import mmkd
from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.config.load import load_config
from mmkd.datasets.camvid_classes import CLASSES
from mmkd.engine.folder_lock import lock_folder
from mmkd.engine.hooks import BestCheckpointHook
from mmkd.losses import FrequencyAttentionLoss
from mmkd.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]


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
def untrained(recipe_file, teacher_files, tmp_path, monkeypatch):
    """The recipe, run from an empty folder where the teacher is still to be trained."""
    monkeypatch.chdir(tmp_path)
    text = recipe_file.read_text().replace(teacher_files[1], 'work_dirs/teacher/best.pth')
    recipe_file.write_text(text)
    return recipe_file


@pytest.mark.skipif(torch.cuda.is_available(), reason='is about a CPU')
def test_train_amp_on_a_cpu_computes_in_bfloat16(recipe_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    types = set()
    monkeypatch.setattr(
        FrequencyAttentionLoss,
        'forward',
        lambda self, student, teacher: types.add(student.dtype) or student.float().mean(),
    )
    # A config for GPUs names the scale of AmpOptimWrapper.
    args = ['--amp', '--cfg-options', 'optim_wrapper.loss_scale=512.0']
    assert command(monkeypatch, 'train', recipe_file, *args) == 0
    assert torch.bfloat16 in types
    student = load_checkpoint_file('work_dirs/recipe/best.pth')['state_dict']
    assert {w.dtype for w in student.values() if w.is_floating_point()} == {torch.float32}


def test_train_missing_teacher_is_trained_first(untrained, teacher_files, monkeypatch, capfd):
    # MMEngine does without a visualizer; a teacher's is renamed.
    Path('bare.py').write_text(f"_base_ = '{teacher_files[0]}'\nvisualizer = None\n")
    untrained.write_text(untrained.read_text().replace(teacher_files[0], 'bare.py'))
    assert command(monkeypatch, 'train', untrained) == 0
    out = capfd.readouterr().out
    assert 'teacher work_dirs/teacher/best.pth is missing or half trained: training' in out
    student = load_checkpoint_file('work_dirs/recipe/best.pth')
    teacher = load_checkpoint_file('work_dirs/teacher/best.pth')
    assert 'teacher_score' in student['meta']
    assert 'decode_head.fusion_conv.conv.weight' in teacher['state_dict']

    # A second run finds the teacher; the finished student is resumed and kept.
    assert command(monkeypatch, 'train', untrained, '--resume', '--require-teacher') == 0
    assert 'half trained' not in capfd.readouterr().out


@pytest.mark.parametrize(
    'option, message',
    [
        ('model.distill.encoder.student=backbon[1]', "model.distill.encoder: tap 'backbon'"),
        ('model.student.decode_head.num_classes=9', 'num_classes=9: expected 11, the classes'),
        ('val_dataloader.dataset.split=dev', "split='dev'"),
        ('train_dataloader.dataset.data_root=no/data', 'dataset.data_root=no/data does not exist'),
        ('train_dataloader.batch_size=0', 'train_dataloader.batch_size=0: expected an integer'),
        ('val_dataloader.batch_size=None', 'val_dataloader.batch_size=None: expected an integer'),
        ('load_from=no/best.pth', 'load_from=no/best.pth: expected an existing file'),
        ('optim_wrapper.optimizer.lrr=0.1', "takes no 'lrr': expected "),
        ('param_scheduler.0.type=LinearLRs', "type='LinearLRs' is not a registered parameter"),
        ('val_evaluator.type=IoUMetrc', "type='IoUMetrc' is not a registered metric; nearest: "),
        ('default_hooks.logger.intervall=1', "LoggerHook takes no 'intervall': expected "),
        ('train_cfg.val_intervall=1', "IterBasedTrainLoop takes no 'val_intervall': expected "),
        ('train_cfg=5', 'train_cfg=5: expected a dict'),
        ('model.student=None', 'model.student=None: expected a dict'),
        ('val_dataloader=data', "val_dataloader='data': expected a dict"),
        ('randomness.sed=1', "randomness takes no 'sed': expected seed, "),
        ('randomness.seed=-1', 'randomness.seed=-1: expected an integer from 0 to 4294967295'),
        ('custom_hooks=5', 'custom_hooks=5: expected a list of dicts'),
        (
            "default_hooks.checkpoint.save_best=['mIoU','aAcc']",
            'expected one metric, which chooses best',
        ),
        ('default_hooks.logger=5', 'default_hooks.logger=5: expected a dict'),
        ('train_dataloader.batch_size=1', 'Expected more than 1 value per channel'),
        (
            'model.student.decode_head.loss_decode.class_weight=[1.0,2.0]',
            'decode_head.loss_decode.class_weight=[1.0, 2.0]: expected 11 numbers, one a class',
        ),
        (
            'model.student.auxiliary_head.1.loss_decode.class_weight=[1.0,2.0]',
            'auxiliary_head.1.loss_decode.class_weight=[1.0, 2.0]: expected 11 numbers',
        ),
        ('optim_wrapper.optimizer.lr=-1', 'optimizer.lr=-1: expected a finite number'),
        ('optim_wrapper.accumulative_counts=0', 'accumulative_counts=0: expected an integer'),
        ('visualizer.vis_backends.0.type=ClearMLVisBackend', 'expected clearml to be installed'),
    ],
)
def test_train_mistake_fails_before_the_teacher_trains(
    untrained, monkeypatch, capfd, option, message
):
    assert command(monkeypatch, 'train', untrained, '--cfg-options', option) == 2
    assert message in last_line(capfd)
    assert not Path('work_dirs').exists()


def test_train_finished_and_teacher_folders_are_not_overwritten(untrained, monkeypatch, capfd):
    assert command(monkeypatch, 'train', untrained) == 0
    best = {path: path.read_bytes() for path in Path('work_dirs').glob('*/best.pth')}
    assert len(best) == 2
    assert command(monkeypatch, 'train', untrained) == 2
    assert 'expected a folder without checkpoints' in last_line(capfd)
    for resume in ((), ('--resume',)):
        args = (untrained, '--work-dir', 'work_dirs/teacher', *resume)
        assert command(monkeypatch, 'train', *args) == 2
        assert "expected a folder other than the teacher's" in last_line(capfd)
    assert {path: path.read_bytes() for path in best} == best


def test_train_teacher_equals_its_own_training(untrained, teacher_files, monkeypatch):
    """Also where no seed is set, so that the state of the process decides."""
    drawn = Path('teacher.py')
    drawn.write_text(f"_base_ = '{teacher_files[0]}'\nrandomness = dict(seed=None)\n")
    untrained.write_text(untrained.read_text().replace(teacher_files[0], str(drawn)))
    np.random.seed(5)
    assert command(monkeypatch, 'train', untrained) == 0
    np.random.seed(5)
    assert command(monkeypatch, 'train', drawn, '--work-dir', 'alone') == 0
    assert command(monkeypatch, 'train', untrained, '--work-dir', 'again') == 0
    for first, second in (('work_dirs/teacher', 'alone'), ('work_dirs/recipe', 'again')):
        states = [load_checkpoint_file(f'{path}/best.pth') for path in (first, second)]
        a, b = (state['state_dict'] for state in states)
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_train_second_training_in_folder_is_rejected(untrained, teacher_files, monkeypatch, capfd):
    with lock_folder(Path('work_dirs/teacher')):
        assert (
            command(monkeypatch, 'train', teacher_files[0], '--work-dir', 'work_dirs/teacher') == 2
        )
    assert 'work_dirs/teacher: expected no other training here; wait' in last_line(capfd)
    assert not list(Path('work_dirs/teacher').glob('*.pth'))


def test_train_teacher_of_another_job_is_waited_for(untrained, teacher_files):
    folder = Path('work_dirs/teacher')
    folder.mkdir(parents=True)
    tool = [sys.executable, '-u', ROOT / 'tools/train.py', untrained]
    with open(folder / '.lock', 'w') as lock, open('said.txt', 'w') as said:
        fcntl.flock(lock, fcntl.LOCK_EX)
        job = subprocess.Popen(tool, stdout=said, stderr=subprocess.STDOUT)
        end = time.monotonic() + 240
        waiting = 'waiting for the training that runs in work_dirs/teacher'
        while waiting not in Path('said.txt').read_text():
            assert job.poll() is None and time.monotonic() < end, Path('said.txt').read_text()
            time.sleep(0.1)
        shutil.copy(teacher_files[1], folder)
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert job.wait(timeout=240) == 0, Path('said.txt').read_text()
    assert 'half trained' not in Path('said.txt').read_text()


def test_train_half_trained_teacher_resumes(untrained, teacher_files, monkeypatch, capfd):
    options = ['train_cfg.max_iters=1', 'default_hooks.checkpoint.interval=1']
    args = [teacher_files[0], '--work-dir', 'work_dirs/teacher', '--cfg-options', *options]
    with monkeypatch.context() as patch:  # a crash after the first validation
        patch.setattr(BestCheckpointHook, 'after_train', lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            command(monkeypatch, 'train', *args)
    assert Path('work_dirs/teacher/best.pth').is_file()
    assert command(monkeypatch, 'train', untrained, '--require-teacher') == 2
    assert 'model.teacher.checkpoint=work_dirs/teacher/best.pth: expected' in last_line(capfd)
    assert command(monkeypatch, 'train', untrained) == 0
    assert 'resumed epoch: 0, iter: 1' in capfd.readouterr().out
    assert not Path('work_dirs/teacher/training_unfinished').exists()


def test_train_half_trained_teacher_of_another_network_raises_user_error(
    untrained, teacher_files, monkeypatch, capfd
):
    Path('work_dirs/teacher').mkdir(parents=True)
    student = 'configs/students/fast_scnn_streets.py'
    network = MODELS.build(load_config(student).model)
    torch.save(dict(state_dict=network.state_dict()), 'work_dirs/teacher/iter_1.pth')
    assert command(monkeypatch, 'train', untrained) == 2
    assert last_line(capfd).startswith(
        'error: model.teacher, half trained: checkpoint work_dirs/teacher/iter_1.pth does not fit'
    )


def test_train_student_and_teacher_log_to_own_folders(untrained, monkeypatch):
    assert command(monkeypatch, 'train', untrained) == 0
    for run, metric in (('recipe', 'distill.encoder'), ('teacher', 'decode.loss_ce')):
        (scalars,) = Path('work_dirs', run).glob('*/vis_data/scalars.json')
        text = scalars.read_text()
        assert metric in text
        assert ('distill.encoder' in text) == (run == 'recipe')


def test_train_load_from_starts_run_and_keeps_resume(recipe_file, tmp_path, monkeypatch, capfd):
    config = load_config('configs/students/fast_scnn_streets.py')
    torch.manual_seed(3)
    weights = MODELS.build(config.model).state_dict()
    torch.save(weights, tmp_path / 'start.pth')
    options = [f'load_from={tmp_path}/start.pth', 'optim_wrapper.optimizer.lr=0.0']
    args = [recipe_file, '--work-dir', tmp_path / 'work', '--resume', '--cfg-options', *options]
    assert command(monkeypatch, 'train', *args, 'train_cfg.max_iters=2') == 0
    trained = load_checkpoint_file(tmp_path / 'work' / 'iter_2.pth')['state_dict']
    learnt = [k for k in weights if k.endswith('.weight')]
    assert learnt and all(torch.allclose(trained[k], weights[k], atol=1e-5) for k in learnt)
    capfd.readouterr()
    assert command(monkeypatch, 'train', *args) == 0
    assert 'resumed epoch: 0, iter: 2' in capfd.readouterr().out


@pytest.mark.parametrize('alone', [False, True])
def test_train_load_from_another_network_is_rejected(
    untrained, teacher_files, monkeypatch, capfd, alone
):
    config = 'configs/students/fast_scnn_streets.py' if alone else untrained
    option = f'load_from={teacher_files[1]}'
    args = [config, '--cfg-options', option, 'train_cfg.max_iters=2']
    assert command(monkeypatch, 'train', *args) == 2
    line = last_line(capfd)
    assert line.startswith(f'error: {option} does not fit its config: ')
    assert 'such as backbone.learning_to_downsample.conv.conv.weight' in line
    assert not Path('work_dirs').exists()


@pytest.mark.parametrize(
    'options, message',
    [
        (
            ['model.student.decode_head.num_convs=3'],
            'checkpoint {work}/iter_2.pth does not fit its config: 10 of 294 weights are missing, '
            'such as decode_head.convs.2.depthwise_conv.conv.weight',
        ),
        (
            [
                'model.distill.encoder.adapter.type=Conv2d',
                'model.distill.encoder.adapter.kernel_size=1',
            ],
            'model.distill of {work}/iter_2.pth does not fit its config: 2 of 2 weights are '
            'missing, such as encoder.adapter.0.weight',
        ),
    ],
)
def test_train_resume_of_changed_network_is_rejected(
    recipe_file, tmp_path, monkeypatch, capfd, options, message
):
    work = tmp_path / 'work'
    args = [recipe_file, '--work-dir', work, '--cfg-options', 'train_cfg.max_iters=2']
    assert command(monkeypatch, 'train', *args) == 0
    assert command(monkeypatch, 'train', *args, *options, '--resume') == 2
    assert last_line(capfd).startswith(f'error: --resume: {message.format(work=work)}')
    assert command(monkeypatch, 'train', *args, '--resume') == 0


@pytest.fixture
def small_disk(tmp_path):
    """A folder that is a disk of its own, with room for one checkpoint; ``grow`` gives it more."""
    folder = tmp_path / 'disk'
    folder.mkdir()

    def mount(options: str) -> int:
        call = ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', folder]
        return subprocess.run(call, capture_output=True).returncode

    if mount('size=24m'):
        pytest.skip('mounting a disk needs root')
    yield folder, lambda: mount('remount,size=200m')
    subprocess.run(['umount', '--lazy', folder], check=True)  # the log is still open


def test_train_full_disk_leaves_resumable_checkpoint(recipe_file, small_disk, monkeypatch, capfd):
    work, grow = small_disk
    args = [recipe_file, '--work-dir', work, '--cfg-options']
    args += ['default_hooks.checkpoint.interval=1', 'default_hooks.checkpoint.max_keep_ckpts=2']
    assert command(monkeypatch, 'train', *args) == 2
    assert 'error: [Errno 28] No space left on device' in last_line(capfd)
    assert [path.name for path in work.glob('*.pth*')] == ['iter_1.pth']
    assert not list(work.glob('.*.pth*'))
    assert grow() == 0
    assert command(monkeypatch, 'train', *args, '--resume') == 0
    assert 'resumed epoch: 0, iter: 1' in capfd.readouterr().out
    assert (work / 'iter_4.pth').is_file()


def test_train_file_size_limit_leaves_resumable_checkpoint(
    recipe_file, tmp_path, monkeypatch, capfd
):
    work = tmp_path / 'work'
    args = [recipe_file, '--work-dir', work, '--cfg-options', 'train_cfg.val_interval=4']
    assert command(monkeypatch, 'train', *args, 'train_cfg.max_iters=2') == 0
    before = {p.name: p.read_bytes() for p in work.glob('*.pth')}
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, unlimited[1]))  # as on a disk that is full
    try:
        assert command(monkeypatch, 'train', *args, '--resume') == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert 'error: [Errno 27] File too large' in last_line(capfd)
    assert {p.name: p.read_bytes() for p in work.glob('*.pth')} == before
    assert not list(work.glob('.*.pth*'))
    assert command(monkeypatch, 'train', *args, '--resume') == 0
    assert 'resumed epoch: 0, iter: 2' in capfd.readouterr().out


def test_train_truncated_checkpoint_error_names_it_and_earlier_resumes(
    recipe_file, tmp_path, monkeypatch, capfd
):
    args = [recipe_file, '--resume', '--work-dir', tmp_path / 'work']
    assert command(monkeypatch, 'train', *args) == 0
    last = tmp_path / 'work/iter_4.pth'
    last.write_bytes(last.read_bytes()[:-1000])
    assert command(monkeypatch, 'train', *args) == 2
    assert f'error: checkpoint {last} is damaged' in last_line(capfd)
    last.unlink()
    assert command(monkeypatch, 'train', *args) == 0
    assert 'resumed epoch: 0, iter: 2' in capfd.readouterr().out


def test_train_unwritable_work_dir_fails_before_the_teacher_trains(untrained, monkeypatch, capfd):
    assert command(monkeypatch, 'train', untrained, '--work-dir', '/sys/mmkd') == 2
    assert last_line(capfd).startswith('error: [Errno ') and not Path('work_dirs').exists()


def test_train_moved_work_dir_resumes(recipe_file, tmp_path, monkeypatch, capfd):
    args = [recipe_file, '--cfg-options', 'train_cfg.max_iters=2', '--work-dir']
    assert command(monkeypatch, 'train', *args, tmp_path / 'old') == 0
    (tmp_path / 'old').rename(tmp_path / 'new')
    again = [recipe_file, '--resume', '--work-dir', tmp_path / 'new']
    assert command(monkeypatch, 'train', *again) == 0
    assert 'resumed epoch: 0, iter: 2' in capfd.readouterr().out


def test_evaluation_checkpoint_of_another_network_is_rejected(
    recipe_file, teacher_files, tmp_path, monkeypatch, capfd
):
    assert command(monkeypatch, 'test', recipe_file, teacher_files[1], '--work-dir', tmp_path) == 2
    assert 'does not fit its config' in last_line(capfd)


def test_evaluation_on_classes_in_another_order_is_rejected(
    recipe_file, tmp_path, monkeypatch, capfd
):
    config = load_config(str(recipe_file))
    network = MODELS.build(config.model.student)
    meta = dict(dataset_meta=dict(classes=CLASSES[::-1]))
    torch.save(dict(state_dict=network.state_dict(), meta=meta), tmp_path / 'student.pth')
    args = [recipe_file, tmp_path / 'student.pth', '--work-dir', tmp_path / 'work']
    assert command(monkeypatch, 'test', *args) == 2
    line = last_line(capfd)
    assert line.startswith("error: test_dataloader.dataset.metainfo.classes=['Sky', ")
    assert f'expected the classes of checkpoint {tmp_path}/student.pth in the same order' in line


def test_train_require_teacher_without_one_is_rejected(untrained, monkeypatch, capfd):
    assert command(monkeypatch, 'train', untrained, '--require-teacher') == 2
    line = last_line(capfd)
    assert 'model.teacher.checkpoint=work_dirs/teacher/best.pth: expected a trained teacher' in line
    assert not Path('work_dirs').exists()


@pytest.mark.parametrize('of', ['distillation', 'student.py'])
def test_evaluation_scores_the_student(recipe_file, tmp_path, monkeypatch, capfd, of):
    monkeypatch.chdir(tmp_path)
    work = Path('work_dirs/recipe')
    assert command(monkeypatch, 'train', recipe_file) == 0
    best = load_checkpoint_file(str(work / 'best.pth'))['message_hub']['runtime_info']
    config = recipe_file if of == 'distillation' else work / 'student.py'
    assert command(monkeypatch, 'test', config, work / 'best.pth') == 0
    assert f'mIoU: {best["best_score"]:.4f}' in capfd.readouterr().out
    mmkd.load_student(work, device='cpu')  # to which the work dir is still that of one run


@pytest.mark.parametrize(
    'args, message',
    [
        (['no/such.py'], 'config no/such.py does not exist'),
        (['configs/_base_/datasets/camvid.py'], 'datasets/camvid.py: expected a model'),
        (['{recipe}', '--launcher', 'slurm'], '--launcher slurm: expected a GPU'),
        (['{recipe}', '--launcher', 'pytorch'], '--launcher pytorch: expected a GPU or a start by'),
        (
            ['{recipe}', '--cfg-options', 'model.teacher.checkpoint=a/b.pth'],
            'model.teacher.checkpoint=a/b.pth: expected an existing file',
        ),
        (
            ['{recipe}', '--cfg-options', 'model.distill.encoder.loss.cutoff=0'],
            'cutoff=0: expected a number in (0, 1]',
        ),
        (
            ['{recipe}', '--cfg-options', 'model.student.decode_head.num_classes=9'],
            'model.student.decode_head.num_classes=9: expected 11, the classes',
        ),
        (
            ['{recipe}', '--cfg-options', 'model.student.auxiliary_head.1.num_classes=9'],
            'model.student.auxiliary_head.1.num_classes=9: expected 11, the classes',
        ),
        (
            ['{recipe}', '--cfg-options', 'train_dataloader.dataset.split=dev'],
            "split='dev'",
        ),
        (
            ['{recipe}', '--cfg-options', 'train_dataloader.dataset.type=mmkd.StreetScene'],
            "type='mmkd.StreetScene' is not a registered dataset; nearest: mmkd.StreetScenes",
        ),
        (
            ['{recipe}', '--cfg-options', 'model.distil.encoder.weight=1'],
            "Distiller takes no 'distil': expected student, teacher, distill, data_preprocessor",
        ),
        (
            ['{recipe}', '--cfg-options', 'optim_wrapper.accumulative_counts=3'],
            'default_hooks.checkpoint.interval=2: expected a multiple of',
        ),
        (
            [
                '{recipe}',
                '--cfg-options',
                'optim_wrapper.accumulative_counts=2',
                'train_cfg.val_interval=3',
            ],
            'train_cfg.val_interval=3: expected a multiple of optim_wrapper.accumulative_counts=2',
        ),
        (
            ['{recipe}', '--cfg-options', 'default_hooks.checkpoint.by_epoch=True'],
            'default_hooks.checkpoint.by_epoch=True: expected False with a loop of iterations',
        ),
        (
            ['{recipe}', '--cfg-options', 'default_hooks.checkpoint.max_keep_ckpts=1'],
            'default_hooks.checkpoint.max_keep_ckpts=1: expected an integer >= 2',
        ),
        (
            ['{recipe}', '--cfg-options', 'default_hooks.checkpoint.save_best=mIOU'],
            "save_best='mIOU': expected one of aAcc, mIoU, mAcc",
        ),
        (
            ['{recipe}', '--cfg-options', 'custom_imports.imports=[mmkd,no_such_module]'],
            "No module named 'no_such_module'; put the folder of your module on PYTHONPATH",
        ),
        (['{recipe}', '--cfg-options', 'log_level=DEBUGG'], "log_level='DEBUGG': expected one of"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason='the launcher lines are those of a CPU')
def test_train_bad_arguments_error_is_one_line(
    recipe_file, tmp_path, monkeypatch, capfd, args, message
):
    monkeypatch.chdir(tmp_path)
    args = [arg.format(recipe=recipe_file) for arg in args]
    assert command(monkeypatch, 'train', *args) == 2
    line = last_line(capfd)
    assert line.startswith('error: ') and message in line


def test_train_config_mistake_error_is_one_line(recipe_file, monkeypatch, capfd):
    with open(recipe_file, 'a') as file:
        file.write("model['student'] = studnet\n")
    assert command(monkeypatch, 'train', recipe_file) == 2
    said = capfd.readouterr().err
    line = f"error: config {recipe_file}, or one that it inherits: NameError: name 'studnet'"
    assert line in said and 'Traceback' not in said


def test_train_truncated_teacher_leaves_checkpoints(recipe_file, tmp_path, monkeypatch, capfd):
    work = tmp_path / 'work'
    assert command(monkeypatch, 'train', recipe_file, '--work-dir', work) == 0
    before = {p.name: p.read_bytes() for p in work.glob('*.pth')}
    torn = tmp_path / 'torn.pth'
    torn.write_bytes((work / 'best.pth').read_bytes()[:1000])
    options = ['--cfg-options', f'model.teacher.checkpoint={torn}']
    args = [recipe_file, '--resume', '--work-dir', work, *options]
    assert command(monkeypatch, 'train', *args) == 2
    assert f'checkpoint {torn} is damaged' in last_line(capfd)
    assert {p.name: p.read_bytes() for p in work.glob('*.pth')} == before


CAMVID = """
_base_ = '{root}/configs/students/fast_scnn_camvid.py'
train_dataloader = dict(batch_size=2, num_workers={workers}, persistent_workers=False,
    dataset=dict(data_root='{data}'))
val_dataloader = dict(num_workers=0, dataset=dict(data_root='{data}'))
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(logger=dict(interval=1))
"""


@pytest.fixture
def camvid(tmp_path, monkeypatch):
    """A four-image data set in the SegNet layout, and a config file that trains on it."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for i in range(4):
            for folder, suffix, shape, top in (
                (split, 'jpg', (60, 80, 3), 256),
                (f'{split}annot', 'png', (60, 80), 12),
            ):
                path = tmp_path / 'data' / folder / f'{i}.{suffix}'
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), rng.integers(0, top, shape).astype(np.uint8))

    def write(workers=0) -> Path:
        config = tmp_path / 'camvid.py'
        config.write_text(CAMVID.format(root=ROOT, data=tmp_path / 'data', workers=workers))
        return config

    return write


def test_train_on_segnet_layout_works(camvid, monkeypatch):
    assert command(monkeypatch, 'train', camvid()) == 0
    assert Path('work_dirs/camvid/best.pth').is_file()


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('content', [b'', b'no image'])
def test_train_unreadable_image_raises_user_error(camvid, monkeypatch, capfd, workers, content):
    for i in range(4):
        Path(f'data/train/{i}.jpg').write_bytes(content)
    assert command(monkeypatch, 'train', camvid(workers)) == 2
    line = last_line(capfd)
    assert line.startswith('error: ') and 'data/train/' in line and 'cannot be read' in line


@pytest.mark.parametrize(
    'split, label, message',
    [
        ('train', np.full((60, 80), 37), 'holds the class id 37: expected 0 to 10, or 255'),
        ('val', np.full((60, 80), 37), 'holds the class id 37: expected 0 to 10, or 255'),
        ('train', np.zeros((30, 40)), 'has the shape (30, 40): expected (60, 80)'),
        ('train', b'', 'cannot be read'),
    ],
)
def test_train_label_of_other_size_raises_user_error(
    camvid, monkeypatch, capfd, split, label, message
):
    config = camvid()
    for i in range(4):
        path = f'data/{split}annot/{i}.png'
        if isinstance(label, bytes):
            Path(path).write_bytes(label)
        else:
            cv2.imwrite(path, label.astype(np.uint8))
    assert command(monkeypatch, 'train', config) == 2
    line = last_line(capfd)
    assert line.startswith('error: label ') and f'data/{split}annot/' in line and message in line


def test_train_missing_dataset_raises_user_error(camvid, monkeypatch, capfd):
    config = camvid()
    Path('data/trainannot').rename('data/elsewhere')
    assert command(monkeypatch, 'train', config) == 2
    assert 'data/trainannot (data_prefix.seg_map_path); create it' in last_line(capfd)


def test_camvid_real_data_has_published_counts(shared):
    from mmkd.datasets import CamVidDataset

    for split, count in (('train', 367), ('val', 101)):
        data = CamVidDataset(
            data_root=str(shared / 'data/camvid'),
            data_prefix=dict(img_path=split, seg_map_path=f'{split}annot'),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')],
        )
        assert len(data) == count
        sample = data[0]
        assert sample['img'].shape == (360, 480, 3)
        assert set(np.unique(sample['gt_seg_map'])) <= {*range(11), 255}
        raw = cv2.imread(sample['seg_map_path'], cv2.IMREAD_UNCHANGED)
        assert ((sample['gt_seg_map'] == 255) == (raw == 11)).all()


@pytest.mark.parametrize(
    'tool, args',
    [('train', ['--resum', 'x']), ('test', []), ('ablate', ['x.py', '--jobs', '0'])],
)
def test_tools_wrong_flag_prints_usage(monkeypatch, capfd, tool, args):
    assert command(monkeypatch, tool, *args) == 2
    assert 'usage:' in capfd.readouterr().err


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh'])
def test_dist_scripts_without_arguments_print_usage(script):
    result = subprocess.run([ROOT / 'tools' / script], capture_output=True, text=True)
    assert result.returncode == 2 and 'usage: ' in result.stderr
