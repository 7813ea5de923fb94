"""Train a missing teacher first, by its own config."""

import copy
import gc
import inspect
import tempfile
from contextlib import redirect_stdout, suppress
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import broadcast_object_list
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmkd.checkpoints.atomic_files import find_last_checkpoint
from mmkd.config.checks.checkpoints import (
    check_metric_reported,
    checkpoint_hook,
    has_best_checkpoint_hook,
)
from mmkd.config.checks.data import settle_worker_options
from mmkd.config.checks.training import check_training
from mmkd.config.load import load_config
from mmkd.config.student import is_distillation, model_config
from mmkd.datasets.class_occurrence import report_absent_classes
from mmkd.datasets.class_order import check_class_order, classes_of
from mmkd.distillation.rng import preserve_rng_state
from mmkd.engine.check_load_from import check_load_from
from mmkd.engine.distill_runner import DistillRunner
from mmkd.engine.folder_lock import exclusive_folder
from mmkd.engine.hooks.check_num_classes_hook import check_num_classes
from mmkd.engine.hooks.loss_weight_hook import LossWeightHook
from mmkd.engine.hooks.unfinished_training_hook import unfinished_mark
from mmkd.engine.hooks.unlabelled_images_hook import UnlabelledImagesHook
from mmkd.engine.launch import resume_from_work_dir, set_launcher, show_progress
from mmkd.engine.wrapping import unwrapped
from mmkd.errors import UserError
from mmkd.openmmlab.tasks import is_detector
from mmkd.registry import MODELS
from mmkd.teachers import check_teacher_keys, check_weights_exist, teacher_kind
from mmkd.teachers.keys import missing_weights


def prepare_teacher(config: Config, *, train: bool = True) -> None:
    """Make sure that the checkpoint of a distillation config's teacher exists.

    Only a teacher with a ``config`` can be trained. It trains into the checkpoint's folder, on the
    processes that will distil. It resumes there if an earlier preparation was interrupted. If
    several jobs need it, one trains it and the others wait.

    Args:
        config: The distillation config; other configs are ignored.
        train: Whether to train a missing teacher.

    Raises:
        UserError: The checkpoint is missing and ``train`` is false, or the teacher's training does
            not produce it.
    """
    if not is_distillation(config):
        return
    teacher = config.model.teacher
    check_teacher_keys(teacher)
    if teacher_kind(teacher) != 'config':
        check_weights_exist(teacher)
        return
    checkpoint = teacher.checkpoint
    if teacher_is_ready(checkpoint):
        return
    if not train:
        raise UserError(f'{missing_weights(teacher)}, or leave out --require-teacher')
    _check_no_circle(config)
    check_trainable(teacher.config, checkpoint)
    _dry_run_training(config)
    with exclusive_folder(Path(checkpoint).parent):
        if not teacher_is_ready(checkpoint):
            _train(config)


def _check_no_circle(config: Config) -> None:
    """Check that no missing teacher needs its own training, by its teacher or that one's teacher.

    Raises:
        UserError: One does.
    """
    folders = []
    while is_distillation(config):
        teacher = config.model.teacher
        if teacher_kind(teacher) != 'config' or teacher_is_ready(teacher.checkpoint):
            return
        folder = Path(teacher.checkpoint).parent.resolve()
        if folder in folders:
            raise UserError(
                f'model.teacher.checkpoint={teacher.checkpoint}: expected a teacher that can be '
                f'trained, but {teacher.config} needs this checkpoint for its own teacher; change '
                'model.teacher.config'
            )
        folders.append(folder)
        config = load_config(teacher.config)


def check_trainable(config: str, checkpoint: str) -> None:
    """Check that training a teacher's config would produce its checkpoint.

    Raises:
        UserError: It would produce another file, or none; or the file is of a stopped training.
    """
    if Path(checkpoint).name != 'best.pth':
        if Path(checkpoint).is_file():
            raise UserError(
                f'model.teacher.checkpoint={checkpoint}: expected weights of a finished training, '
                f'but {unfinished_mark(Path(checkpoint).parent)} says that it was stopped; '
                f"finish it by 'mmkd train {config} --work-dir {Path(checkpoint).parent} "
                "--resume', or delete that file to use these weights"
            )
        raise UserError(
            f'model.teacher.checkpoint={checkpoint}: expected an existing file or .../best.pth, '
            f'which training {config} produces'
        )
    own = load_config(config)
    hook = checkpoint_hook(own)
    if not own.get('val_cfg') or not has_best_checkpoint_hook(own) or not hook.get('save_best'):
        raise UserError(
            f'{config}: expected val_cfg, and default_hooks with checkpoint.save_best and '
            'mmkd.BestCheckpointHook, to train it as a teacher'
        )
    settle_worker_options(own)
    try:
        check_training(own)
    except UserError as error:
        raise UserError(f'{config}: {error}') from error


def _train(config: Config) -> None:
    teacher = config.model.teacher
    checkpoint = teacher.checkpoint
    print_log(f'teacher {checkpoint} is missing or half trained: training {teacher.config} first')
    own = load_config(teacher.config)
    settle_worker_options(own)
    own.work_dir = str(Path(checkpoint).parent)
    prepare_teacher(own)
    resume_from_work_dir(own)
    check_load_from(own, resumed_by='model.teacher, half trained')
    # Use another name for the visualizer, so that the student does not write into the teacher's.
    visualizer = own.get('visualizer') or dict(type='Visualizer')
    own.visualizer = dict(visualizer, name=str(Path(checkpoint).parent.resolve()))
    set_launcher(own, config.get('launcher', 'none'))
    show_progress(own)
    DistillRunner.from_cfg(own).train()
    gc.collect()  # reference cycles hold the runner with its optimizer and data loaders
    if teacher_is_ready(checkpoint):
        return
    if find_last_checkpoint(own.work_dir):  # it trained to its end
        raise UserError(
            f'{teacher.config}: expected a validation with {checkpoint_hook(own)["save_best"]}, '
            f'which makes {checkpoint}, but none had a score; a detector that finds no object has '
            'none: train it longer, or lower model.test_cfg.score_thr'
        )
    raise UserError(
        f'{checkpoint}: expected this file from training {teacher.config}; delete '
        f'{own.work_dir} to train it again'
    )


def _dry_run_training(config: Config) -> None:
    """Build what follows the teacher's training and try a step, so that its errors come first.

    Raises:
        UserError: A step of training, or of validation, fails.
    """
    own = load_config(config.model.teacher.config)
    with tempfile.TemporaryDirectory() as folder, preserve_rng_state():
        random = str(Path(folder) / 'random.pth')
        with DefaultScope.overwrite_default_scope(own.get('default_scope')):
            torch.save(MODELS.build(model_config(own)).state_dict(), random)
        trial = copy.deepcopy(config)
        trial.model.teacher.checkpoint = random
        with DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmengine')):
            _try_step(_build_for_training(trial, folder))
    gc.collect()  # reference cycles hold the runner, and its networks can be on the GPU
    Path(config.work_dir).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=config.work_dir):
        pass


def _try_step(runner: Runner) -> None:
    """Train one batch and validate one, on networks that are thrown away."""
    batch = next(iter(runner.train_dataloader))
    try:
        for hook in runner.hooks:
            if isinstance(hook, UnlabelledImagesHook):
                hook.before_train(runner)
            if isinstance(hook, LossWeightHook | UnlabelledImagesHook):
                hook.before_train_iter(runner, 0, batch)
        runner.model.train()
        runner.model.train_step(batch, optim_wrapper=runner.optim_wrapper)
        if runner.val_loop is not None:
            _try_validation(runner)
    except UserError:
        raise
    except Exception as error:  # a layer, a loss or an optimiser may raise anything
        reason = ' '.join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f'one step of this training, tried before the teacher trains, fails: {reason}'
        ) from error


def _try_validation(runner: Runner) -> None:
    runner.model.eval()
    batch, evaluator = next(iter(runner.val_loop.dataloader)), runner.val_loop.evaluator
    with torch.no_grad():
        samples = runner.model.val_step(batch)
    evaluator.process(data_samples=samples, data_batch=batch)
    # One batch is not enough for several datasets, nor for a detector that finds nothing yet.
    one_metric = type(evaluator) is Evaluator and len(evaluator.metrics) == 1
    if one_metric and not is_detector(unwrapped(runner.model).student):
        reported = {}
        with suppress(Exception), redirect_stdout(None):
            reported = evaluator.evaluate(len(samples))
        check_metric_reported(runner.cfg, reported)


def _build_for_training(config: Config, folder: str) -> Runner:
    """Build all that ``Runner.train`` would, under separate names and in a separate folder."""
    loaders = {
        key: DistillRunner.build_dataloader(config[key], seed=0)
        for key in ('train_dataloader', 'val_dataloader')
        if config.get(key)
    }
    for loader in loaders.values():  # a loop can start to iterate, which must not start processes
        loader.num_workers = loader.timeout = 0
    parts = {key: config[key] for key in inspect.signature(Runner).parameters if key in config}
    # Leave out what the process would keep: cuDNN flags, and backends that report elsewhere.
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
    runner = DistillRunner(**parts)
    classes = {key: classes_of(loader.dataset) for key, loader in loaders.items()}
    check_class_order(
        'val_dataloader', classes.get('val_dataloader'), classes['train_dataloader'],
        'train_dataloader',
    )  # fmt: skip
    for loader in loaders.values():
        check_num_classes(unwrapped(runner.model), classes_of(loader.dataset))
    report_absent_classes(loaders['train_dataloader'].dataset)
    _ = runner.train_loop, runner.val_loop
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    if runner.param_schedulers is not None:
        runner.build_param_scheduler(runner.param_schedulers)
    return runner


def teacher_is_ready(path: str) -> bool:
    """Return whether a teacher's checkpoint exists and its training is finished; True for URLs."""
    if path.startswith(('http://', 'https://')):
        return True
    # The first process decides for all, because they must agree whether to train.
    ready = [Path(path).is_file() and not unfinished_mark(Path(path).parent).exists()]
    broadcast_object_list(ready)
    return ready[0]
