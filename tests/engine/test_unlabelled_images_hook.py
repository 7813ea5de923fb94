"""Short runs with a second source of images, whose labels nobody sees."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmkd.checkpoints.safe_load import load_checkpoint_file
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
    assert len(batch['inputs']) == len(batch['data_samples']) == 5
    for image, other in zip(batch['inputs'], expected['inputs'], strict=False):
        assert torch.equal(image, other)
    marked = ['gt_sem_seg' not in sample for sample in batch['data_samples']]
    assert marked == [False, False, True, True, True]
    assert not any(torch.equal(batch['inputs'][0], image) for image in batch['inputs'][2:])


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


def test_unlabelled_folder_is_checked_before_the_teacher_trains(recipe, tmp_path):
    recipe.model.teacher.checkpoint = str(tmp_path / 'teacher/best.pth')
    folder = dict(type='mmkd.ImageFolder', data_prefix=dict(img_path=str(tmp_path)), pipeline=[])
    recipe.default_hooks.unlabelled = dict(type=HOOK, dataset=folder)
    Path(recipe.work_dir).mkdir()
    with pytest.raises(UserError, match='expected images .*, but it holds none'):
        prepare_teacher(recipe)
    assert not (tmp_path / 'teacher').exists()
