"""Trainings that read the teacher from the disk, beside trainings that run it."""

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmkd.config.load import load_config
from mmkd.distillation.distiller import Distiller
from mmkd.distillation.teacher_views import TeacherViews
from mmkd.engine.distill_runner import DistillRunner
from mmkd.engine.hooks.teacher_views_hook import TeacherViewsHook
from mmkd.errors import UserError
from mmkd.experiments.teacher_views import make_teacher_views, views_options

AT = dict(
    student=['backbone[1]', 'backbone[2]'],
    teacher=['backbone[3]', 'decode_head.fusion_conv'],
    loss=dict(type='ActivationATLoss'),
)

# Crops of several sizes, as in the configs.
SMALL = [
    dict(type='mmkd.SeedTransforms'),
    dict(type='mmkd.RenderStreet'),
    dict(type='RandomResize', scale=(96, 64), ratio_range=(0.8, 1.8), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(64, 96)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]


@pytest.fixture
def detects() -> bool:
    return False


@pytest.fixture
def config(detects, tmp_path, monkeypatch, recipe_file, detection_files) -> Config:
    """A recipe with a few images, half of them without labels, and every kind of target."""
    monkeypatch.chdir(tmp_path)
    init_default_scope('mmdet' if detects else 'mmseg')
    config = load_config(detection_files['recipe'] if detects else str(recipe_file))
    images = config.train_dataloader.dataset
    images.length = 4
    config.optim_wrapper.optimizer = dict(type='SGD', lr=0.01)  # Adam enlarges rounding errors
    if not detects:
        images.size = (64, 96)
        images.pipeline = SMALL
    config.default_hooks.unlabelled = dict(
        type='mmkd.UnlabelledImagesHook', dataset=copy.deepcopy(config.train_dataloader.dataset)
    )
    config.default_hooks.unlabelled.dataset.length = 3
    if not detects:
        config.model.distill.attention = AT
        config.model.distill.feature = dict(
            student='backbone[1]',
            teacher='backbone[3]',
            adapter=dict(type='Conv2d', kernel_size=1),
            loss=dict(type='PKDLoss'),
        )
    config.val_dataloader = config.val_evaluator = config.val_cfg = None
    return config


def reading(config: Config, views: int = 3) -> Config:
    """The config with the overrides that make it read views."""
    options = dict(o.split('=', 1) for o in views_options(config, views, Path('views')))
    read = copy.deepcopy(config)
    read.merge_from_dict(options | {'train_dataloader.sampler.views': views})
    return read


def folder_of(config: Config) -> Path:
    return Path(config.default_hooks.teacher_views.folder)


def pad_batches(config: Config) -> None:
    """Pad a live training's batches to the size to which those that read views are padded."""
    if config.default_scope == 'mmseg':
        config.model.student.data_preprocessor.update(size=(64, 96), size_divisor=None)


def train(config: Config, work_dir: str) -> list[dict[str, float]]:
    """Train two iterations and return the losses of each."""
    config = copy.deepcopy(config)
    config.work_dir = work_dir
    config.train_cfg.max_iters = 2
    runner = DistillRunner.from_cfg(config)
    runner.train()
    (log,) = Path(work_dir).glob('*/vis_data/scalars.json')
    lines = map(json.loads, log.read_text().splitlines())
    return [{k: v for k, v in line.items() if 'loss' in k or 'distill' in k} for line in lines]


def never(*_, **__):
    raise AssertionError('the teacher ran')


both = pytest.mark.parametrize('detects', [False, True], ids=['segmentation', 'detection'])


@both
def test_views_give_the_losses_of_a_teacher_that_runs(config, monkeypatch):
    read = reading(config)
    said = []
    make_teacher_views([read], said.append)
    assert '3 of each of 7 images, ' in said[0] and said[1].startswith('teacher views: done')
    live = copy.deepcopy(read)
    del live.default_hooks['teacher_views']
    pad_batches(live)
    expected = train(live, 'live')
    monkeypatch.setattr(Distiller, 'run_teacher', never)
    losses = train(read, 'read')
    assert len(losses) == 2 and sum(k.startswith('distill.') for k in losses[0]) >= 2
    for found, wanted in zip(losses, expected, strict=True):
        assert found == pytest.approx(wanted, rel=2e-5)


@both
def test_views_are_made_once_and_grow_by_what_a_variant_adds(config, monkeypatch):
    read = reading(config)
    first, *rest = read.model.distill
    small = copy.deepcopy(read)
    small.model.distill = {first: read.model.distill[first]}
    said = []
    make_teacher_views([small, small], said.append)
    before = TeacherViews(folder_of(read))
    assert len(before.files) == 1
    make_teacher_views([read, small], said.append)
    after = TeacherViews(folder_of(read))
    assert len(after.files) > 1 and after.files.items() >= before.files.items()
    assert len(after.pixels) == 3 * 7 and after.pixels == before.pixels
    assert len(said) == 4
    monkeypatch.setattr('mmkd.experiments.teacher_views.Teacher', never)
    make_teacher_views([small], said.append)
    assert said[-1] == f'teacher views: all are in {folder_of(read)}'


def test_views_of_another_training_are_refused(config):
    read = reading(config)
    make_teacher_views([read], print)
    folder = folder_of(read)
    read.work_dir = 'work'
    runner = DistillRunner.from_cfg(read)
    hook = TeacherViewsHook(str(folder))
    hook.before_train(runner)

    def refused(message: str) -> None:
        with pytest.raises(UserError, match=message):
            hook.before_train(runner)

    changes = {
        'train_dataloader.dataset.pipeline.2.scale': ((96, 80), 'images and pipeline'),
        'default_hooks.unlabelled.dataset.length': (4, 'images and pipeline'),
        'train_dataloader.sampler.views': (2, 'sampler.views'),
        'model.teacher.scale': (2.0, 'model.teacher'),
        'model.student.data_preprocessor.mean': ([0, 0, 0], 'data_preprocessor'),
        'model.teacher.checkpoint': ('other.pth', "the teacher's weights"),
    }
    shutil.copy(read.model.teacher.checkpoint, 'other.pth')
    with open('other.pth', 'ab') as file:
        file.write(b'0')
    for key, (value, part) in changes.items():
        runner.cfg = copy.deepcopy(read)
        runner.cfg.merge_from_dict({key: value})
        refused(f'holds what another training read: expected the same {part}; remove the folder,')
    runner.cfg = read
    loss = runner.model.distill['attention'].loss
    loss.p = 4
    refused(r'expected backbone\[3\] ActivationATLoss.*p=4.*which a term reads; run mmkd ablate')
    loss.p = 2

    batch = next(iter(runner.build_dataloader(read.train_dataloader, seed=0)))
    hook.before_train_iter(runner, 0, batch)
    pixels = folder / 'pixels.npy'
    kept = pixels.read_bytes()
    np.save(pixels, np.zeros_like(np.load(pixels)))  # as if every image had changed since
    hook.before_train(runner)
    with pytest.raises(UserError, match='an image of this training is not among its 21 views'):
        hook.before_train_iter(runner, 0, batch)
    read.model.distill.attention.loss.p = 4
    with pytest.raises(UserError, match='holds views of other images: expected the same'):
        make_teacher_views([read], print)
    pixels.write_bytes(kept[:-8])
    refused('is damaged: .*; remove the folder')
    np.save(pixels, np.zeros((20, 8), np.uint8))
    refused('has 21 rows: expected 20; remove the folder')
    (folder / 'views.json').write_text('[]')
    refused('is damaged: .*; remove the folder')
    (folder / 'views.json').unlink()
    refused('expected a folder of mmkd ablate --teacher-views: views.json is missing')


def test_views_folder_stays_whole_when_making_is_interrupted(config, monkeypatch):
    read = reading(config)
    written = []

    def interrupt(self, targets):
        written.append(targets)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr('mmkd.distillation.teacher_views.ViewsWriter.add', interrupt)
        make_teacher_views([read], print)
    assert written and not (folder_of(read) / 'views.json').exists()
    make_teacher_views([read], print)
    assert len(TeacherViews(folder_of(read)).files) == 5
    assert not list(folder_of(read).glob('.*.npy'))


@pytest.mark.parametrize(
    'term, message',
    [
        (
            dict(
                student='backbone[1]', teacher='attention(backbone.layers.3.1.0.attn)',
                loss=dict(type='SpectrumLoss'),
            ),
            r"teacher tap 'attention\(.*\)': expected a feature with --teacher-views; run without",
        ),
        (
            dict(
                student='input_gradient', teacher='input_gradient',
                loss=dict(type='GradientATLoss'),
            ),
            "teacher tap 'input_gradient': expected a feature with --teacher-views; run without",
        ),
    ],
)  # fmt: skip
def test_views_refuse_what_depends_on_more_than_the_image(config, term, message):
    config.model.distill = dict(odd=term)
    with pytest.raises(UserError, match=f'recipe.py: model.distill.odd: {message}'):
        make_teacher_views([reading(config)], print)


def test_views_need_a_pipeline_that_gives_the_same_view_again(config):
    del config.train_dataloader.dataset.pipeline[0]
    for _ in range(2):
        with pytest.raises(UserError, match=r'put mmkd\.SeedTransforms first'):
            make_teacher_views([reading(config)], print)


def test_views_options_refuse_data_that_has_no_fixed_views(config):
    mixed = copy.deepcopy(config)
    mixed.train_dataloader.dataset.mix_until_sample = 100
    with pytest.raises(UserError, match='mix_until_sample: expected no mix of images with'):
        views_options(mixed, 3, Path('views'))
    config.train_dataloader.sampler = dict(type='InfiniteSampler')
    message = 'sampler.type=InfiniteSampler: expected mmkd.SeededInfiniteSampler with --teacher'
    with pytest.raises(UserError, match=message):
        views_options(config, 3, Path('views'))
