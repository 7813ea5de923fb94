"""A teacher whose checkpoint is not there yet is trained first, by its own config."""

import copy
import gc
import inspect
import tempfile
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import broadcast_object_list
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmkd.configs import (
    check_checkpoint_hook,
    is_distillation,
    keeps_its_best,
    load_config,
    model_config,
)
from mmkd.engine.folder_lock import alone_in
from mmkd.engine.hooks.best_checkpoint_hook import unfinished_mark
from mmkd.engine.hooks.class_count_hook import check_class_count
from mmkd.engine.launch import resume_from_work_dir, set_launcher, show_progress
from mmkd.engine.randomness import random_state_kept
from mmkd.engine.starting_weights import check_starting_weights
from mmkd.engine.wrapping import unwrapped
from mmkd.errors import UserError
from mmkd.registry import MODELS
from mmkd.teacher import check_teacher_keys


def prepare_teacher(config: Config, *, train: bool = True) -> None:
    """Make sure that the checkpoint of a distillation config's teacher exists.

    The teacher trains into the checkpoint's folder, on the processes that will distil, and
    resumes there if an earlier preparation was cut short. Of several jobs that want it, one trains
    it and the others wait.

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
    check_teacher_keys(teacher)
    checkpoint = teacher.checkpoint
    if teacher_is_ready(checkpoint):
        return
    if not train:
        raise UserError(
            f'model.teacher.checkpoint={checkpoint} is missing or half trained; train it by '
            f'tools/train.py {teacher.config}, or leave out --require-teacher'
        )
    check_trainable(teacher.config, checkpoint)
    _try_out(config)
    with alone_in(Path(checkpoint).parent):
        if not teacher_is_ready(checkpoint):
            _train(config)


def check_trainable(config: str, checkpoint: str) -> None:
    """Check that training a teacher's config would yield its checkpoint.

    Raises:
        UserError: it would yield another file, or none.
    """
    if Path(checkpoint).name != 'best.pth':
        raise UserError(
            f'model.teacher.checkpoint={checkpoint} does not exist, and training '
            f'{config} would yield best.pth; allowed: an existing file or .../best.pth'
        )
    own = load_config(config)
    hook = (own.get('default_hooks') or {}).get('checkpoint') or {}
    if not own.get('val_cfg') or not keeps_its_best(own) or not hook.get('save_best'):
        raise UserError(
            f'{config} cannot be trained as a teacher: it needs val_cfg and default_hooks with '
            'checkpoint.save_best and mmkd.BestCheckpointHook'
        )
    check_checkpoint_hook(own)


def _train(config: Config) -> None:
    teacher = config.model.teacher
    checkpoint = teacher.checkpoint
    print_log(f'teacher {checkpoint} is missing or half trained: training {teacher.config} first')
    own = load_config(teacher.config)
    own.work_dir = str(Path(checkpoint).parent)
    prepare_teacher(own)
    resume_from_work_dir(own)
    check_starting_weights(own, resumed_by='model.teacher, half trained')
    # A visualizer of another name: the student's run must not write into the teacher's.
    visualizer = own.setdefault('visualizer', dict(type='Visualizer'))
    visualizer.name = str(Path(checkpoint).parent.resolve())
    set_launcher(own, config.get('launcher', 'none'))
    show_progress(own)
    Runner.from_cfg(own).train()
    gc.collect()  # the runner lies in reference cycles, with its optimiser and data loaders
    if not teacher_is_ready(checkpoint):
        raise UserError(
            f'training {teacher.config} left no {checkpoint}; '
            f'delete {own.work_dir} to train it from the start'
        )


def _try_out(config: Config) -> None:
    """Build what will follow the teacher's training, so that its errors come before it."""
    own = load_config(config.model.teacher.config)
    with tempfile.TemporaryDirectory() as folder, random_state_kept():
        random = str(Path(folder) / 'random.pth')
        with DefaultScope.overwrite_default_scope(own.get('default_scope')):
            torch.save(MODELS.build(model_config(own)).state_dict(), random)
        trial = copy.deepcopy(config)
        trial.model.teacher = dict(config=config.model.teacher.config, checkpoint=random)
        with DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmengine')):
            _build_for_training(trial, folder)
    gc.collect()  # the trial's runner lies in reference cycles, and its networks may be on the GPU
    Path(config.work_dir).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=config.work_dir):
        pass


def _build_for_training(config: Config, folder: str) -> None:
    """Build all that ``Runner.train`` would, under names and in a folder of the trial's own."""
    loaders = {
        key: Runner.build_dataloader(config[key], seed=0)
        for key in ('train_dataloader', 'val_dataloader')
        if config.get(key)
    }
    for loader in loaders.values():  # a loop may begin to iterate, which is not to start processes
        loader.num_workers = loader.timeout = 0
    parts = {key: config[key] for key in inspect.signature(Runner).parameters if key in config}
    # What the process would keep is left out: flags of cuDNN, and backends that report elsewhere.
    parts.pop('env_cfg', None)
    visualizer = dict(parts.get('visualizer') or dict(type='Visualizer'))
    parts |= loaders | dict(
        work_dir=folder,
        experiment_name=folder,
        visualizer=visualizer | dict(name=folder, vis_backends=None),
        log_level='CRITICAL',
        launcher='none',
        randomness=dict(seed=0),
        cfg=config,
    )
    runner = Runner(**parts)
    for loader in loaders.values():
        check_class_count(unwrapped(runner.model), loader.dataset.metainfo.get('classes'))
    _ = runner.train_loop, runner.val_loop
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    if runner.param_schedulers is not None:
        runner.build_param_scheduler(runner.param_schedulers)


def teacher_is_ready(path: str) -> bool:
    """Whether a teacher's checkpoint is there and its training has ended; one on the web is."""
    if path.startswith(('http://', 'https://')):
        return True
    # The first process decides for all: they must agree on whether to train together.
    ready = [Path(path).is_file() and not unfinished_mark(Path(path).parent).exists()]
    broadcast_object_list(ready)
    return ready[0]
