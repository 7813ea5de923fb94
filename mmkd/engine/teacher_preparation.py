"""A teacher whose checkpoint is not there yet is trained first, by its own config."""

import tempfile
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import broadcast_object_list
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmkd.configs import is_distillation, load_config, model_config
from mmkd.engine.hooks.class_count_hook import check_class_count
from mmkd.engine.launch import set_launcher
from mmkd.errors import UserError
from mmkd.registry import DATASETS, MODELS


def prepare_teacher(config: Config, *, train: bool = True) -> None:
    """Make sure that the checkpoint of a distillation config's teacher exists.

    The teacher trains into the checkpoint's folder, on the processes that will distil, and
    resumes there if an earlier preparation was cut short.

    Args:
        config: the distillation config; other configs are left alone.
        train: whether a missing teacher may be trained.

    Raises:
        UserError: the checkpoint is missing and ``train`` is false, or the teacher's own
            training does not yield it.
    """
    if not is_distillation(config):
        return
    teacher = config.model.teacher
    for key in ('config', 'checkpoint'):
        if not teacher.get(key):
            raise UserError(f'model.teacher.{key} is missing; a teacher needs it')
    checkpoint = teacher.checkpoint
    if checkpoint.startswith(('http://', 'https://')) or _exists(checkpoint):
        return
    if not train:
        raise UserError(
            f'model.teacher.checkpoint={checkpoint} does not exist; train it by '
            f'tools/train.py {teacher.config}, or leave out --require-teacher'
        )
    if Path(checkpoint).name != 'best.pth':
        raise UserError(
            f'model.teacher.checkpoint={checkpoint} does not exist, and training '
            f'{teacher.config} would yield best.pth; allowed: an existing file or .../best.pth'
        )
    _try_out(config)
    print_log(f'teacher {checkpoint} does not exist: training {teacher.config} first')
    own = load_config(teacher.config)
    prepare_teacher(own, train=train)
    own.work_dir = str(Path(checkpoint).parent)
    own.resume = True
    set_launcher(own, config.get('launcher', 'none'))
    Runner.from_cfg(own).train()
    if not _exists(checkpoint):
        raise UserError(
            f'training {teacher.config} left no {checkpoint}; '
            'its config needs validation and mmkd.BestCheckpointHook'
        )


def _try_out(config: Config) -> None:
    """Build what will follow the teacher's training, so that its errors come before it."""
    own = load_config(config.model.teacher.config)
    with tempfile.TemporaryDirectory() as folder:
        random = str(Path(folder) / 'random.pth')
        with DefaultScope.overwrite_default_scope(own.get('default_scope')):
            torch.save(MODELS.build(model_config(own)).state_dict(), random)
        model = config.model.copy()
        model.teacher = dict(config=config.model.teacher.config, checkpoint=random)
        with DefaultScope.overwrite_default_scope(config.get('default_scope')):
            distiller = MODELS.build(model)
            for key in ('train_dataloader', 'val_dataloader'):
                dataset = DATASETS.build(config[key].dataset)
                check_class_count(distiller, dataset.metainfo.get('classes'))


def _exists(path: str) -> bool:
    # The first process decides for all: they must agree on whether to train together.
    found = [Path(path).is_file()]
    broadcast_object_list(found)
    return found[0]
