"""Trainings that read the teacher from the disk, beside trainings that run it."""

import copy
import json
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmkd.config.load import load_config
from mmkd.distillation.distiller import Distiller
from mmkd.distillation.tap import parse_tap
from mmkd.distillation.teacher_views import TeacherViews, ViewsWriter
from mmkd.engine.distill_runner import DistillRunner
from mmkd.engine.hooks.teacher_views_hook import TeacherViewsHook
from mmkd.errors import UserError
from mmkd.experiments.plan import plan_runs
from mmkd.experiments.teacher_views import make_teacher_views, views_options
from mmkd.losses.activation_at_loss import ActivationATLoss
from mmkd.openmmlab.preprocessing import pad_batches_to
from mmkd.registry import MODELS

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
    if detects:
        resize = dict(type='RandomChoiceResize', scales=[(96, 64), (48, 32)], keep_ratio=True)
        images.pipeline[3] = resize
    else:
        images.size = (64, 96)
        images.pipeline = SMALL
    config.default_hooks.unlabelled = dict(
        type='mmkd.UnlabelledImagesHook', dataset=copy.deepcopy(config.train_dataloader.dataset)
    )
    config.default_hooks.unlabelled.dataset.length = 3
    if detects:
        config.model.distill.attention = dict(
            student='neck[0]', teacher='neck[0]', loss=dict(type='ActivationATLoss')
        )
    else:
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
    options = dict(option.split('=', 1) for option in views_options(config, views))
    read = copy.deepcopy(config)
    read.merge_from_dict(options | {'train_dataloader.sampler.views': views})
    return read


def make(configs: list[Config], echo: Callable[[str], None] = print) -> None:
    make_teacher_views(configs, Path('runs'), echo)


def folder_of(config: Config) -> Path:
    return Path('runs/teacher_views', Path(config.default_hooks.teacher_views.folder).name)


def train(config: Config, work_dir: str) -> list[dict[str, float]]:
    """Train two iterations, in batches of one size, and return the losses of each."""
    config = copy.deepcopy(config)
    config.work_dir = f'runs/{work_dir}/seed_0'
    config.train_cfg.max_iters = 2
    runner = DistillRunner.from_cfg(config)
    if 'teacher_views' not in config.default_hooks:
        pad_batches_to((64, 96), runner.model.data_preprocessor)
    runner.train()
    (log,) = Path(config.work_dir).glob('*/vis_data/scalars.json')
    lines = map(json.loads, log.read_text().splitlines())
    return [{k: v for k, v in line.items() if 'loss' in k or 'distill' in k} for line in lines]


def never(*_, **__):
    raise AssertionError('the teacher ran')


both = pytest.mark.parametrize('detects', [False, True], ids=['segmentation', 'detection'])


@both
def test_views_give_the_losses_of_a_teacher_that_runs(config, monkeypatch):
    read = reading(config)
    said = []
    make([read], said.append)
    assert said[0] == 'teacher views: reading 7 images, 3 times'
    assert '3 of each of 7 images, ' in said[1] and said[2].startswith('teacher views: done')
    live = copy.deepcopy(read)
    del live.default_hooks['teacher_views']
    expected = train(live, 'live')
    monkeypatch.setattr(Distiller, 'run_teacher', never)
    losses = train(read, 'read')
    assert len(losses) == 2 and sum(k.startswith('distill.') for k in losses[0]) >= 2
    for found, wanted in zip(losses, expected, strict=True):
        assert found == pytest.approx(wanted, rel=1e-4)
    read.randomness.seed = 34  # with which the two images that are read first can be small
    assert len(train(read, 'other')) == 2


@both
def test_views_are_made_once_and_grow_by_what_a_variant_adds(config, monkeypatch):
    read = reading(config)
    first, *rest = read.model.distill
    small = copy.deepcopy(read)
    small.model.distill = {first: read.model.distill[first]}
    said = []
    make([small, small], said.append)
    before = TeacherViews(folder_of(read))
    assert len(before.files) == 1
    make([read, small], said.append)
    after = TeacherViews(folder_of(read))
    assert len(after.files) > 1 and after.files.items() >= before.files.items()
    assert len(after.pixels) == 3 * 7 and after.pixels == before.pixels
    assert len(said) == 5
    monkeypatch.setattr('mmkd.experiments.teacher_views.Teacher', never)
    make([small], said.append)
    assert said[-1] == f'teacher views: all are in {folder_of(read)}'


def test_views_of_another_training_are_refused(config):
    read = reading(config)
    make([read])
    folder = folder_of(read)
    read.work_dir = 'runs/read/seed_0'
    runner = DistillRunner.from_cfg(read)
    hook = TeacherViewsHook(read.default_hooks.teacher_views.folder)
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
        'model.teacher.checkpoint': ('other.pth', 'model.teacher, weights of the teacher'),
    }
    Path('other.pth').write_bytes(b'another file')
    for key, (value, part) in changes.items():
        runner.cfg = copy.deepcopy(read)
        runner.cfg.merge_from_dict({key: value})
        refused(f'holds what another training read: expected the same {part}; remove the folder,')
    runner.cfg = read
    batch = next(iter(runner.build_dataloader(read.train_dataloader, seed=0)))
    hook.before_train_iter(runner, 0, batch)
    model = runner.model
    data = model.data_preprocessor(batch, training=True)
    model.train()
    model.loss(**data)
    taps = model.distill['feature'].compared_taps
    model.distill['feature'].compared_taps = [parse_tap('backbone[1]')]
    refused(r'expected backbone\[1\], which a term reads; run mmkd ablate --teacher-views again')
    model.distill['feature'].compared_taps = taps

    pixels = folder / 'pixels.npy'
    kept = pixels.read_bytes()
    np.save(pixels, np.zeros_like(np.load(pixels)))  # as if every image had changed since
    hook.before_train(runner)
    with pytest.raises(UserError, match='an image of this training is not among its 21 views'):
        hook.before_train_iter(runner, 0, batch)
    read.model.distill.attention.loss.p = 4
    hook.before_train(runner)
    with pytest.raises(UserError, match='holds views of other images: expected the same'):
        make([read])
    pixels.write_bytes(kept[:-8])
    refused('is damaged: .*; remove the folder')
    np.save(pixels, np.zeros((20, 8), np.uint8))
    refused('has 21 rows: expected 20; remove the folder')
    (folder / 'views.json').write_text('[]')
    refused('is damaged: .*; remove the folder')
    (folder / 'views.json').unlink()
    refused('expected a folder of mmkd ablate --teacher-views: views.json is missing')


def test_views_maps_have_the_size_of_a_whole_batch(config):
    """However small the images are on which the terms are first tried."""
    del config.model.distill['feature']
    config.train_dataloader.dataset.pipeline[2].ratio_range = (0.4, 1.8)
    read = reading(config, views=8)
    make([read])
    views = TeacherViews(folder_of(read))
    assert views.size == (64, 96)
    sizes = {name: np.load(folder_of(read) / file).shape[1:] for name, file in views.files.items()}
    assert sorted(sizes.values()) == [(2, 3), (2, 3), (8, 12), (8, 12)]
    assert len(train(read, 'read')) == 2


def test_views_of_a_loss_with_other_arguments_are_missed(config):
    read = reading(config)
    make([read])
    read.model.distill.attention.loss.p = 4
    message = r'distill.attention: .*: expected backbone\[3\], .*p.: 4.*, which a term reads; run'
    with pytest.raises(UserError, match=message):
        train(read, 'read')


def test_views_keep_a_tap_whole_that_serves_at_two_sizes(config, monkeypatch):
    student = ['backbone[0]', 'backbone[1]']
    config.model.distill = dict(twice=AT | dict(student=student, teacher=['backbone[0]'] * 2))
    read = reading(config)
    make([read])
    assert list(TeacherViews(folder_of(read)).files) == ['backbone[0]']
    live = copy.deepcopy(read)
    del live.default_hooks['teacher_views']
    for found, wanted in zip(train(read, 'read'), train(live, 'live'), strict=True):
        assert found == pytest.approx(wanted, rel=1e-4)


class Doubled(ActivationATLoss):
    """Compares another thing than its base class, which it does not say in ``teacher_map``."""

    def forward(self, student, teacher):
        return 2 * super().forward(student, teacher)


def test_views_keep_the_features_of_a_subclass(config):
    MODELS.register_module(module=Doubled, force=True)
    config.model.distill = dict(own=AT | dict(loss=dict(type='Doubled')))
    read = reading(config)
    make([read])
    assert list(TeacherViews(folder_of(read)).files) == AT['teacher']


@pytest.mark.parametrize('detects', [True])
def test_views_refuse_augmentations_of_a_batch(config):
    config.model.student.data_preprocessor.batch_augments = [
        dict(type='BatchFixedSizePad', size=(64, 96))
    ]
    config.train_dataloader.dataset.pipeline[3]['scales'] = [(96, 64)]  # images of one size too
    message = 'batch_augments: expected none with teacher views, because they are drawn anew'
    with pytest.raises(UserError, match=message):
        make([reading(config)])


def test_views_of_two_checkpoints_have_two_folders(config):
    other = copy.deepcopy(config)
    other.model.teacher.checkpoint = 'other.pth'
    assert folder_of(reading(config)) != folder_of(reading(other))


def test_views_folder_stays_whole_when_making_is_interrupted(config, monkeypatch):
    read = reading(config)
    written = []

    def interrupt(*arguments):
        written.append(arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr('mmkd.distillation.teacher_views.ViewsWriter.add', interrupt)
        make([read])
    assert written and not (folder_of(read) / 'views.json').exists()
    make([read])
    assert len(TeacherViews(folder_of(read)).files) == 5
    assert not list(folder_of(read).glob('.*.npy'))

    before = TeacherViews(folder_of(read))
    read.model.distill.feature.loss = dict(type='FeatureMSELoss')
    read.model.distill.attention.loss.p = 4
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr('mmkd.distillation.teacher_views.write_atomically', interrupt)
        make([read])
    after = TeacherViews(folder_of(read))
    assert (after.files, after.pixels) == (before.files, before.pixels)


# The header of a file is 128 bytes, the maps are 25,600, the hashes 51,200.
@pytest.mark.parametrize('limit', [100, 20_000, 40_000], ids=['header', 'maps', 'hashes'])
def test_views_that_do_not_fit_on_the_disk_are_an_error_of_one_line(limit, tmp_path):
    folder, before = tmp_path / 'views', resource.getrlimit(resource.RLIMIT_FSIZE)
    maps = dict(a=torch.zeros(6400, 1))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        with pytest.raises(UserError, match='^.*/views: .*File too large.*; free some space$'):
            writer = ViewsWriter(folder, {}, [bytes(8)] * 6400, None, {}, maps)
            writer.add(maps)
            writer.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (folder / 'views.json').exists()


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
        make([reading(config)])


def test_views_need_a_pipeline_that_gives_the_same_view_again(config):
    del config.train_dataloader.dataset.pipeline[0]
    for _ in range(2):
        with pytest.raises(UserError, match=r'put mmkd\.SeedTransforms first'):
            make([reading(config)])


def test_views_options_refuse_data_that_has_no_fixed_views(config):
    mixed = copy.deepcopy(config)
    mixed.train_dataloader.dataset.mix_until_sample = 100
    mixed.train_dataloader.dataset = dict(
        type='RepeatDataset', dataset=mixed.train_dataloader.dataset
    )
    with pytest.raises(UserError, match='mix_until_sample: expected no mix of images with'):
        views_options(mixed, 3)
    config.train_dataloader.sampler = dict(type='InfiniteSampler')
    message = 'sampler.type=InfiniteSampler: expected mmkd.SeededInfiniteSampler with --teacher'
    with pytest.raises(UserError, match=message):
        views_options(config, 3)


@pytest.mark.parametrize(
    'key, message',
    [
        ('train_dataloader.sampler', 'train_dataloader.sampler.type=None: expected mmkd.Seeded'),
        ('train_dataloader.dataset', 'train_dataloader.dataset=None: expected a dict'),
    ],
)
def test_views_options_name_the_part_that_is_missing(config, key, message):
    config.merge_from_dict({key: None})
    with pytest.raises(UserError, match=message):
        views_options(config, 3)


def test_views_of_a_config_without_a_teacher_are_refused(recipe_file, tmp_path):
    with pytest.raises(UserError, match=r'model\.teacher=None: expected dict\(config=\.\.\., '):
        plan_runs([str(recipe_file)], [0], ['model.teacher=None'], tmp_path, teacher_views=3)
