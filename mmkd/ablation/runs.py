"""The runs of an ablation: one for each config and seed, each in a folder of its own."""

import argparse
import glob
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from mmengine.config import Config
from mmengine.utils import get_git_hash

from mmkd.configs import (
    ROOT,
    is_distillation,
    keeps_its_best,
    load_config,
    load_work_dir_config,
    model_config,
)
from mmkd.engine.files import find_last_checkpoint, write_atomically
from mmkd.engine.launch import ConfigOptions, merge_options
from mmkd.errors import UserError
from mmkd.run_record import read_record
from mmkd.teacher import check_teacher_keys

_NOTE = 'run.json'
_DISTILLATION_KEYS = ('model.teacher.', 'model.distill.')


@dataclass(frozen=True)
class Run:
    """One training: what runs, and what its results are compared by.

    It is noted down in its folder before it starts, so a report needs nothing else.
    """

    folder: Path
    config: str
    seed: int
    options: tuple[str, ...]
    fingerprint: str
    """Of the whole config but the seed, and of the teacher's: all seeds of a run share it."""
    comparable: str
    """Fingerprint of what a gain is measured at: student, where it starts, data, length, metric."""
    teacher: tuple[str, str] | None
    """Config and checkpoint of the teacher; None of a student that trains alone."""
    metric: str
    length: int
    by_epoch: bool
    """Whether ``length``, the whole training, counts epochs instead of iterations."""
    commit: str
    """That which trains it; several, with spaces between, of a run that another one resumed."""

    @property
    def distilled(self) -> bool:
        return self.teacher is not None

    @property
    def family(self) -> Path:
        """The folder that holds its seeds; outside an ablation, its own."""
        of_seed = self.folder.name == f'seed_{self.seed}'
        return self.folder.parent if of_seed else self.folder

    @property
    def name(self) -> str:
        """That of the config, which its seeds share; outside an ablation, that of the folder."""
        return self.family.name

    @property
    def last_checkpoint(self) -> str:
        """The path of what it was last trained to.

        Raises:
            UserError: there is no checkpoint.
        """
        path = find_last_checkpoint(self.folder)
        if path is None:
            raise UserError(f'{self.folder} holds no checkpoint of its run')
        return path

    def note(self) -> None:
        """Write the run down in its folder.

        Raises:
            UserError: the folder, or that of another seed, holds a run of another config.
        """
        for note in sorted(self.family.glob(f'seed_*/{_NOTE}')):
            earlier = read_run(note.parent)
            if earlier.fingerprint != self.fingerprint:
                raise UserError(
                    f'{earlier.folder} holds a run of {earlier.config} as it was before a change; '
                    'remove the folder, or choose another --work-dir'
                )
        if not (self.folder / _NOTE).is_file():
            self._write()

    def note_commit(self) -> None:
        """Add this run's commit to those that are noted down and have left a checkpoint."""
        kept = read_run(self.folder).commit.split() if find_last_checkpoint(self.folder) else []
        replace(self, commit=' '.join(dict.fromkeys([*kept, self.commit])))._write()

    def _write(self) -> None:
        facts = asdict(self) | dict(folder=self.folder.name)
        write_atomically(self.folder / _NOTE, (json.dumps(facts, indent=1) + '\n').encode())


def read_run(folder: Path) -> Run:
    """The run that is noted down in ``folder``.

    Raises:
        UserError: the note is none of this version of mmkd.
    """
    facts = json.loads((folder / _NOTE).read_text())
    if facts.keys() != {field.name for field in fields(Run)}:
        raise UserError(
            f'{folder / _NOTE} is of another version of mmkd; remove the folder, or choose another'
        )
    lists = ('options', 'teacher')
    tuples = {key: tuple(facts[key]) for key in lists if facts[key] is not None}
    return Run(**facts | dict(folder=folder, **tuples))


def find_runs(work_dir: str | Path) -> list[Run]:
    """All runs noted down under an ablation's work dir, by name and seed."""
    notes = Path(work_dir).glob(f'*/seed_*/{_NOTE}')
    return sorted((read_run(note.parent) for note in notes), key=lambda r: (r.name, r.seed))


def runs_in(folder: str | Path) -> list[Run]:
    """The runs of a work dir: of an ablation, of one of its runs, or of a training by itself.

    Raises:
        UserError: nothing was trained there.
    """
    folder = Path(folder).resolve()
    if (folder / _NOTE).is_file():
        return [read_run(folder)]
    runs = find_runs(folder)
    if runs:
        return runs
    record = read_record(folder)
    if not record.train and not record.val:
        raise UserError(f'{folder} holds no run')
    config = load_work_dir_config(folder)
    if config.get('resume'):
        config.load_from = _first_load_from(folder)
    seed = config.get('randomness', {}).get('seed', 0)
    # Which commit trained it is not known.
    return [replace(_of_config(config, config.filename, folder, seed, ()), commit='')]


def plan_runs(
    patterns: Sequence[str], seeds: Sequence[int], options: Sequence[str], work_dir: str | Path
) -> list[Run]:
    """The runs that an ablation asks for, seed by seed, so that a first table comes early.

    Args:
        patterns: config files, or patterns of them, from the working directory or mmkd's folder.
        seeds: a run of every config for each.
        options: overrides of every config, as ``key=value``; those of ``model.teacher`` and
            ``model.distill`` concern only the configs that distil.
        work_dir: the ablation's folder.

    Raises:
        UserError: a pattern matches nothing, two configs share a name, an override does not fit
            or is of the seed, or a config does not name the metric by which it saves its best
            checkpoint, or lacks the hook that tells a run's end.
    """
    for option in options:
        if option.startswith('randomness.seed='):
            raise UserError(f"--cfg-options {option}: an ablation's seeds are those of --seeds")
    paths = [path for pattern in patterns for path in _matches(pattern)]
    paths = list(dict.fromkeys(paths))
    names = [Path(path).stem for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f'two configs are named {name}; a run folder is named after its config')
    seeds = dict.fromkeys(seeds)
    return [_plan(path, seed, options, Path(work_dir)) for seed in seeds for path in paths]


def by_config(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """The runs of each config by its name; what has a name in common has its folder's before it."""
    families: dict[Path, list[Run]] = {}
    for run in runs:
        families.setdefault(run.family, []).append(run)
    return {_short(family, families): seeds for family, seeds in families.items()}


def _short(path: Path, paths: Iterable[Path]) -> str:
    """The end of ``path`` that tells it from the others."""
    others = [other for other in paths if other != path]
    for parts in range(1, len(path.parts)):
        end = path.parts[-parts:]
        if all(other.parts[-parts:] != end for other in others):
            return '/'.join(end)
    return str(path)


def _plan(path: str, seed: int, options: Sequence[str], work_dir: Path) -> Run:
    config = load_config(path)
    if not is_distillation(config):
        options = [option for option in options if not option.startswith(_DISTILLATION_KEYS)]
    merge_options(config, _overrides([*options, f'randomness.seed={seed}']))
    if not keeps_its_best(config):
        raise UserError(
            f'{path}: default_hooks needs mmkd.BestCheckpointHook, which says when a run has ended'
        )
    run = _of_config(config, path, work_dir / Path(path).stem / f'seed_{seed}', seed, options)
    if run.teacher is None:
        return run
    # A teacher that is trained otherwise makes another run, at the same path.
    both = [_but_seed(config), load_config(run.teacher[0]).to_dict()]
    return replace(run, fingerprint=_fingerprint(both))


def _of_config(config: Config, path: str, folder: Path, seed: int, options: Sequence[str]) -> Run:
    teacher = None
    if is_distillation(config):
        teacher = config.model.get('teacher')
        check_teacher_keys(teacher)
    loop = config.get('train_cfg') or {}
    length = loop.get('max_iters') or loop.get('max_epochs')
    if not isinstance(length, int | float) or length < 1:
        raise UserError(
            f'{path}: train_cfg={loop!r}; allowed: a dict with max_iters or max_epochs, 1 or more'
        )
    for key in ('train_dataloader', 'val_dataloader'):
        if not config.get(key):
            raise UserError(f'{path} has no {key}; runs are compared by their last validation')
    hook = config.get('default_hooks', {}).get('checkpoint') or {}
    metric = hook.get('save_best')
    if not isinstance(metric, str) or metric == 'auto':
        raise UserError(
            f'{path}: default_hooks.checkpoint.save_best={metric!r}; allowed: the name of the '
            'metric that runs are compared by'
        )
    by_epoch = not loop.get('max_iters')
    start = [config.load_from] if config.get('load_from') else []
    same = [model_config(config).to_dict(), *_data(config), metric, (length, by_epoch), *start]
    return Run(
        folder=folder,
        config=path,
        seed=seed,
        options=tuple(options),
        fingerprint=_fingerprint(_but_seed(config)),
        comparable=_fingerprint(same),
        teacher=teacher and (teacher.config, teacher.checkpoint),
        metric=metric,
        length=length,
        by_epoch=by_epoch,
        commit=get_git_hash(digits=7),
    )


def _first_load_from(folder: Path) -> str | None:
    """The weights that a resumed training began with; its config names its own checkpoint."""
    starts = sorted(folder.glob('*/vis_data/config.py'), reverse=True)
    configs = (load_config(str(path)) for path in starts)
    return next((c.get('load_from') for c in configs if not c.get('resume')), None)


def _overrides(options: Sequence[str]) -> dict:
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
    return parser.parse_args(['--cfg-options', *options]).cfg_options


def _matches(pattern: str) -> list[str]:
    for root in (Path(), ROOT):
        path = root / pattern
        found = [str(path)] if path.is_file() else sorted(glob.glob(str(path)))
        if found:
            return found
    raise UserError(f'no config matches {pattern}')


def _but_seed(config: Config) -> dict:
    facts = config.to_dict()
    facts.get('randomness', {}).pop('seed', None)
    return facts


def _data(config: Config) -> list[dict]:
    """What a student is trained on and what it is scored on, however many processes load it."""
    loaders = [config.train_dataloader.to_dict(), config.val_dataloader.to_dict()]
    return [{key: loader.get(key) for key in ('dataset', 'batch_size')} for loader in loaders]


def _fingerprint(configs: dict | list) -> str:
    text = json.dumps(configs, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
