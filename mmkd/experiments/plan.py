"""Plan the runs of an ablation, and find those of a work dir."""

import glob
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mmengine.config import Config

from mmkd.config.checks.checkpoints import checkpoint_hook, has_best_checkpoint_hook, metric_rule
from mmkd.config.fingerprint import fingerprint
from mmkd.config.load import ROOT, load_config, load_work_dir_config
from mmkd.config.options import merge_options, parse_options
from mmkd.config.student import is_distillation, model_config
from mmkd.datasets.scheduled_mix_dataset import MIXING_KEYS
from mmkd.errors import UserError
from mmkd.experiments.equal_time import stretch_training
from mmkd.experiments.record import load_record
from mmkd.experiments.run import NOTE, Run, find_runs, load_run
from mmkd.experiments.teacher_views import views_options
from mmkd.teachers import (
    check_teacher_keys,
    check_weights_exist,
    teacher_kind,
    teacher_weights,
)
from mmkd.version import __version__

_DISTILLATION_KEYS = ('model.teacher.', 'model.distill.')


def plan_runs(
    patterns: Sequence[str],
    seeds: Sequence[int],
    options: Sequence[str],
    work_dir: str | Path,
    equal_time: float | None = None,
    teacher_views: int | None = None,
) -> list[Run]:
    """Return the runs of an ablation, seed by seed, so that a first table is ready early.

    Args:
        patterns: Config files, or patterns of them, relative to the working directory or to mmkd.
        seeds: Each config gets one run per seed.
        options: Overrides of every config, as ``key=value``. Those of ``model.teacher`` and
            ``model.distill`` apply only to configs that distil.
        work_dir: The ablation's folder.
        equal_time: Each baseline gets one more run, which trains this many times as long.
        teacher_views: Number of fixed views of each image; None for new augmentations.

    Raises:
        UserError: A pattern matches nothing; two configs have the same name; an override does not
            fit or sets the seed; or a config does not give the metric of its best checkpoint, or
            does not have the hook that marks the end of a run.
    """
    for option in options:
        if option.startswith('randomness.seed='):
            raise UserError(f'--cfg-options {option}: expected the seeds in --seeds')
    paths = [path for pattern in patterns for path in _matches(pattern)]
    paths = list(dict.fromkeys(paths))
    names = [Path(path).stem for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f'two configs are named {name}: expected different names; rename one')
    seeds, work_dir = dict.fromkeys(seeds), Path(work_dir)
    if equal_time is None:
        return [
            _plan(path, seed, options, work_dir, views=teacher_views)
            for seed in seeds
            for path in paths
        ]
    runs = []
    for seed in seeds:
        planned = [_plan(path, seed, options, work_dir, views=teacher_views) for path in paths]
        runs += planned
        runs += [
            _plan(run.config, seed, options, work_dir, equal_time)
            for run in planned
            if not run.distilled
        ]
    if all(run.distilled for run in runs):
        raise UserError(
            f'--equal-time={equal_time:g}: expected a baseline, a config without a teacher; add it'
        )
    return runs


def runs_in(folder: str | Path) -> list[Run]:
    """Return the runs of a work dir: of an ablation, of one of its runs, or of a single training.

    Raises:
        UserError: The folder does not hold a training.
    """
    folder = Path(folder).resolve()
    if (folder / NOTE).is_file():
        return [load_run(folder)]
    runs = find_runs(folder)
    if runs:
        return runs
    record = load_record(folder)
    if not record.train and not record.val:
        raise UserError(f'{folder}: expected the work dir of a training or an ablation')
    config = load_work_dir_config(folder)
    if config.get('resume'):
        config.load_from = _first_load_from(folder)
    seed = config.get('randomness', {}).get('seed', 0)
    # The commit that trained it is unknown.
    return [replace(_of_config(config, config.filename, folder, seed, ()), commit='')]


def _plan(
    path: str,
    seed: int,
    options: Sequence[str],
    work_dir: Path,
    longer: float | None = None,
    views: int | None = None,
) -> Run:
    config, name = load_config(path), Path(path).stem
    if not is_distillation(config):
        options = [option for option in options if not option.startswith(_DISTILLATION_KEYS)]
    merge_options(config, parse_options([*options, f'randomness.seed={seed}']))
    if longer is not None:
        options, name = [*options, *stretch_training(config, longer)], f'{name}_x{longer:g}'
        merge_options(config, parse_options(options))
    if views is not None and is_distillation(config):
        _of_config(config, path, work_dir, seed, options)  # which checks what the views need
        added = views_options(config, views)
        options = [*options, *added]
        merge_options(config, parse_options(added))
    if not has_best_checkpoint_hook(config):
        raise UserError(
            f'{path}: default_hooks: expected mmkd.BestCheckpointHook, which marks the end of a run'
        )
    run = _of_config(config, path, work_dir / name / f'seed_{seed}', seed, options)
    if run.teacher is None:
        return run
    if teacher_kind(config.model.teacher) != 'config':
        check_weights_exist(config.model.teacher)
        return run
    # A teacher with another training makes another run, even at the same path.
    both = [_but_seed(config), load_config(run.teacher[0]).to_dict()]
    return replace(run, fingerprint=fingerprint(both))


def _of_config(config: Config, path: str, folder: Path, seed: int, options: Sequence[str]) -> Run:
    teacher = None
    if is_distillation(config):
        teacher = config.model.get('teacher')
        check_teacher_keys(teacher)
    loop = config.get('train_cfg') or {}
    length = loop.get('max_iters') or loop.get('max_epochs')
    if not isinstance(length, int | float) or length < 1:
        raise UserError(
            f'{path}: train_cfg={loop!r}: expected a dict with max_iters or max_epochs >= 1'
        )
    for key in ('train_dataloader', 'val_dataloader'):
        if not config.get(key):
            raise UserError(f'{path}: expected {key}; runs are compared by their last validation')
    hook = checkpoint_hook(config)
    metric = _only(hook.get('save_best'))
    if not isinstance(metric, str) or metric == 'auto':
        raise UserError(
            f'{path}: default_hooks.checkpoint.save_best={metric!r}: expected the name of the '
            'metric that runs are compared by'
        )
    by_epoch = not loop.get('max_iters')
    start = [config.load_from] if config.get('load_from') else []
    training, validation = config.train_dataloader.to_dict(), config.val_dataloader.to_dict()
    optimizer = config.get('optim_wrapper') or {}
    batch_size = training.get('batch_size')
    images = _with_shares(training.get('dataset') or {}, length * (batch_size or 1))
    setup = {
        'student': fingerprint(model_config(config).to_dict()),
        'start': ''.join(start),
        'metric': metric,
        'length': f'{length} {"epochs" if by_epoch else "iterations"}',
        'batch size': str(batch_size),
        'accumulated batches': str(optimizer.get('accumulative_counts', 1)),
        'training data': fingerprint(images),
        'validation data': fingerprint(validation.get('dataset') or {}),
        'validation scores': fingerprint(config.get('val_evaluator') or {}),
    }
    return Run(
        folder=folder,
        config=path,
        seed=seed,
        options=tuple(options),
        fingerprint=fingerprint(_but_seed(config)),
        comparable=fingerprint(setup),
        teacher=teacher and (str(teacher[teacher_kind(teacher)]), teacher_weights(teacher)),
        metric=metric,
        length=length,
        by_epoch=by_epoch,
        commit=_own_commit(),
        setup=setup,
        rule=_checked_rule(path, metric, hook.get('rule')),
    )


def _with_shares(node: object, samples: int) -> object:
    """Return a dataset's config in which mixes of images end at a share of all ``samples``.

    A mix that ends with training moves with its length.
    """
    if isinstance(node, list | tuple):
        return [_with_shares(part, samples) for part in node]
    if not isinstance(node, Mapping):
        return node
    return {
        key: round(part / samples, 2)
        if key in MIXING_KEYS and part
        else _with_shares(part, samples)
        for key, part in node.items()
    }


def _own_commit() -> str:
    """Return the commit of mmkd itself, its version where it is not a checkout."""
    try:
        top, commit = subprocess.run(
            ['git', '-C', str(ROOT), 'rev-parse', '--show-toplevel', '--short=7', 'HEAD'],
            check=True, capture_output=True, text=True,
        ).stdout.split('\n')[:2]  # fmt: skip
    except (OSError, subprocess.CalledProcessError, ValueError):
        return f'v{__version__}'
    # An installed mmkd may lie in the repository of its user.
    return commit if Path(top).resolve() == ROOT else f'v{__version__}'


def _only(value: object) -> object:
    """Return the item of a list of one, which MMEngine takes for the item itself."""
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


def _checked_rule(path: str, metric: str, rule: object) -> str:
    found = metric_rule(metric, _only(rule))
    if found not in ('greater', 'less'):
        raise UserError(
            f"{path}: default_hooks.checkpoint.rule={rule!r}: expected 'greater' or 'less'; "
            'give one of them, or none'
        )
    return found


def _first_load_from(folder: Path) -> str | None:
    """Return the initial weights of a resumed training, which its config does not name."""
    starts = sorted(folder.glob('*/vis_data/config.py'), reverse=True)
    configs = (load_config(str(path)) for path in starts)
    return next((c.get('load_from') for c in configs if not c.get('resume')), None)


def _matches(pattern: str) -> list[str]:
    for root in (Path(), ROOT):
        path = root / pattern
        files = [str(path)] if path.is_file() else sorted(glob.glob(str(path)))
        found = [file for file in files if Path(file).is_file()]
        if found:
            return found
    raise UserError(f'{pattern}: expected a config file or a pattern that matches one')


def _but_seed(config: Config) -> dict:
    facts = config.to_dict()
    facts.get('randomness', {}).pop('seed', None)
    return facts
