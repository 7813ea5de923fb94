"""Short runs with a second source of images, whose labels nobody sees."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image

from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.engine.distill_runner import DistillRunner
from mmkd.engine.hooks.unlabelled_images_hook import UnlabelledImagesHook
from mmkd.engine.teacher_preparation import prepare_teacher
from mmkd.errors import UserError

HOOK = 'mmkd.UnlabelledImagesHook'


@pytest.fixture(params=['segmentation', 'detection'])
def config(request, tmp_path, recipe_file, detection_files) -> Config:
    """A recipe in which each of two labelled images comes with an unlabelled one."""
    detects = request.param == 'detection'
    init_default_scope('mmdet' if detects else 'mmseg')
    config = Config.fromfile(detection_files['recipe'] if detects else recipe_file)
    dataset = copy.deepcopy(config.train_dataloader.dataset)
    dataset.length = 5
    config.default_hooks.unlabelled = dict(type=HOOK, dataset=dataset)
    config.work_dir = str(tmp_path / 'work')
    config.val_dataloader = config.val_evaluator = config.val_cfg = None
    return config


def train(config: Config, work_dir: Path, **changes) -> dict[str, torch.Tensor]:
    config = copy.deepcopy(config)
    config.merge_from_dict(dict(changes, work_dir=str(work_dir)))
    runner = Runner.from_cfg(config)
    runner.train()
    return load_checkpoint_file(str(work_dir / f'iter_{runner.iter}.pth'))['state_dict']


def test_unlabelled_images_resume_exactly(config, tmp_path):
    config.train_dataloader.num_workers = 1  # the whole run loads ahead, the others by themselves
    whole = train(config, tmp_path / 'whole')
    config.train_dataloader.num_workers = 0
    train(config, tmp_path / 'cut', train_cfg=dict(max_iters=2))
    resumed = train(config, tmp_path / 'cut', resume=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    config.default_hooks.unlabelled.dataset.length = 4  # other images
    other = train(config, tmp_path / 'other')
    assert not all(torch.equal(whole[name], other[name]) for name in whole)


def test_unlabelled_images_leave_the_labelled_ones_as_they_are(recipe):
    dataset = copy.deepcopy(recipe.train_dataloader.dataset)
    runner = Runner.from_cfg(recipe)
    hook = UnlabelledImagesHook(dataset, ratio=1.5)
    expected = next(iter(runner.build_dataloader(recipe.train_dataloader, seed=runner.seed)))
    batch = next(iter(runner.train_dataloader))
    hook.before_train(runner)
    hook.before_train_iter(runner, 0, batch)
    assert len(batch['inputs']) == 2
    for image, other in zip(batch['inputs'], expected['inputs'], strict=True):
        assert torch.equal(image, other)
    unlabelled = runner.model.unlabelled
    assert len(unlabelled['inputs']) == len(unlabelled['data_samples']) == 3
    assert not any('gt_sem_seg' in sample for sample in unlabelled['data_samples'])
    assert not any(torch.equal(batch['inputs'][0], image) for image in unlabelled['inputs'])


def task_loss(config: Config, **hooks: dict) -> torch.Tensor:
    """The student's own losses in the first step of a training."""
    config = copy.deepcopy(config)
    config.train_cfg.max_iters = 1
    config.default_hooks.pop('unlabelled')
    config.default_hooks.update(hooks)
    runner = Runner.from_cfg(config)
    losses, loss = [], runner.model.loss
    runner.model.loss = lambda *args: losses.append(loss(*args)) or losses[-1]
    runner.train()
    values = [v for name, v in losses[0].items() if name.startswith('student.') and 'loss' in name]
    return torch.stack([torch.as_tensor(sum(v) if isinstance(v, list) else v) for v in values])


def test_larger_unlabelled_images_leave_the_tasks_loss_as_it_is(config, tmp_path):
    for i in range(3):
        pixels = torch.randint(0, 256, (200, 300, 3), dtype=torch.uint8).numpy()
        Image.fromarray(pixels).save(tmp_path / f'{i}.jpg')
    pack = 'PackDetInputs' if config.default_scope == 'mmdet' else 'PackSegInputs'
    pipeline = [dict(type='LoadImageFromFile'), dict(type=pack, meta_keys=('img_shape',))]
    photographs = dict(
        type='mmkd.ImageFolder', data_prefix=dict(img_path=str(tmp_path)), pipeline=pipeline
    )
    loss = task_loss(config, unlabelled=dict(type=HOOK, dataset=photographs))
    assert torch.equal(loss, task_loss(config))


@pytest.mark.parametrize('ratio', [0, -1, True, '1', None, float('nan'), float('inf')])
def test_unlabelled_images_hook_rejects_bad_ratio(ratio):
    message = f'UnlabelledImagesHook.ratio={ratio!r}: expected a number > 0; set 1'
    with pytest.raises(UserError, match=message):
        UnlabelledImagesHook(dict(type='mmkd.StreetScenes'), ratio)


def test_unlabelled_images_hook_rejects_part_of_an_image(recipe):
    dataset = recipe.train_dataloader.dataset
    recipe.default_hooks.unlabelled = dict(type=HOOK, dataset=dataset, ratio=0.75)
    message = 'ratio=0.75: expected a whole number of images for train_dataloader.batch_size=2, got'
    with pytest.raises(UserError, match=message):
        Runner.from_cfg(recipe).train()


def test_one_unlabelled_image_that_is_pooled_to_one_pixel_is_one_line(recipe):
    recipe.default_hooks.unlabelled = dict(
        type=HOOK, dataset=recipe.train_dataloader.dataset, ratio=0.5
    )
    message = 'ratio: expected at least two unlabelled images in a batch, got 1, .*; raise it'
    with pytest.raises(UserError, match=message):
        Runner.from_cfg(recipe).train()


def test_unlabelled_images_hook_takes_a_ratio_that_binary_rounds(recipe):
    recipe.train_dataloader.batch_size = 25
    assert 0.28 * 25 != 7
    UnlabelledImagesHook(recipe.train_dataloader.dataset, 0.28).before_train(
        Runner.from_cfg(recipe)
    )


def test_unlabelled_folder_is_checked_before_the_teacher_trains(recipe, tmp_path):
    recipe.model.teacher.checkpoint = str(tmp_path / 'teacher/best.pth')
    folder = dict(type='mmkd.ImageFolder', data_prefix=dict(img_path=str(tmp_path)), pipeline=[])
    recipe.default_hooks.unlabelled = dict(type=HOOK, dataset=folder)
    Path(recipe.work_dir).mkdir()
    with pytest.raises(UserError, match='expected images .*, but it holds none'):
        prepare_teacher(recipe)
    assert not (tmp_path / 'teacher').exists()


@pytest.mark.parametrize(
    'pipeline, message',
    [
        (
            [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')],
            r"need no labels, but .* fails \(KeyError: 'seg_map_path'\); remove LoadAnnotations",
        ),
        ([dict(type='LoadImageFromFile')], 'expected PackSegInputs, or PackDetInputs'),
    ],
)
def test_unlabelled_pipeline_is_tried_before_training(recipe, tmp_path, pipeline, message):
    Image.new('RGB', (30, 20)).save(tmp_path / 'a.jpg')
    folder = dict(type='mmkd.ImageFolder', data_prefix=dict(img_path=str(tmp_path)))
    runner = Runner.from_cfg(recipe)
    before = torch.get_rng_state()
    with pytest.raises(UserError, match=rf'^UnlabelledImagesHook.dataset.pipeline: .*{message}'):
        UnlabelledImagesHook(dict(folder, pipeline=pipeline)).before_train(runner)
    assert torch.get_rng_state().equal(before)


def test_unlabelled_images_larger_than_the_preprocessors_size_are_one_line(recipe):
    recipe.model.student.data_preprocessor.update(size=(48, 96), size_divisor=None)
    runner = Runner.from_cfg(recipe)
    hook = UnlabelledImagesHook(recipe.train_dataloader.dataset)
    hook.before_train(runner)
    message = 'pipeline: expected images of at most 48x96, .* got 192x256; end it'
    with pytest.raises(UserError, match=message):
        hook.before_train_iter(runner, 0, {})


@pytest.mark.parametrize('runner', [Runner, DistillRunner])
def test_unlabelled_dataset_of_another_type_without_images_is_one_line(recipe, tmp_path, runner):
    dataset = dict(type='BaseSegDataset', data_prefix=dict(img_path=str(tmp_path)), pipeline=[])
    with pytest.raises(
        UserError, match='^UnlabelledImagesHook.dataset=BaseSegDataset: expected im'
    ):
        UnlabelledImagesHook(dataset).before_train(runner.from_cfg(recipe))
