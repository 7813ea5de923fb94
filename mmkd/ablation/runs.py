"""The runs of an ablation: one for each config and seed, each in a folder of its own."""

import argparse
import glob
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
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
from mmkd.engine.files import write_atomically
from mmkd.engine.launch import ConfigOptions, merge_options
from mmkd.errors import UserError
from mmkd.run_record import read_record

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
    """Of the whole config and the teacher's: a folder never holds results of two configs."""
    student: str
    """Fingerprint of the student's model; runs that share it may be compared."""
    teacher: tuple[str, str] | None
    """Config and checkpoint of the teacher; None of a student that trains alone."""
    metric: str
    length: int
    by_epoch: bool
    """Whether ``length``, the whole training, counts epochs instead of iterations."""
    commit: str

    @property
    def distilled(self) -> bool:
        return self.teacher is not None

    @property
    def name(self) -> str:
        """That of the config, which its seeds share; outside an ablation, that of the folder."""
        of_seed = self.folder.name == f'seed_{self.seed}'
        return (self.folder.parent if of_seed else self.folder).name

    def note(self) -> None:
        """Write the run down in its folder.

        Raises:
            UserError: the folder holds a run of another config.
        """
        path = self.folder / _NOTE
        if path.is_file():
            earlier = read_run(self.folder)
            if earlier.fingerprint != self.fingerprint:
                raise UserError(
                    f'{self.folder} holds a run of {earlier.config} as it was before a change; '
                    'remove the folder, or choose another --work-dir'
                )
            return
        facts = asdict(self) | dict(folder=self.folder.name)
        write_atomically(path, (json.dumps(facts, indent=1) + '\n').encode())


def read_run(folder: Path) -> Run:
    """The run that is noted down in ``folder``."""
    facts = json.loads((folder / _NOTE).read_text())
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
    if not read_record(folder).train:
        raise UserError(f'{folder} holds no run')
    config = load_work_dir_config(folder)
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
        UserError: a pattern matches nothing, two configs share a name, an override does not fit,
            or a config does not name the metric by which it saves its best checkpoint, or lacks
            the hook that tells a run's end.
    """
    paths = [path for pattern in patterns for path in _matches(pattern)]
    paths = list(dict.fromkeys(paths))
    names = [Path(path).stem for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f'two configs are named {name}; a run folder is named after its config')
    return [_plan(path, seed, options, Path(work_dir)) for seed in seeds for path in paths]


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
    both = [config.to_dict(), load_config(run.teacher[0]).to_dict()]
    return replace(run, fingerprint=_fingerprint(both))


def _of_config(config: Config, path: str, folder: Path, seed: int, options: Sequence[str]) -> Run:
    teacher = config.model.teacher if is_distillation(config) else None
    loop = config.train_cfg
    hook = config.get('default_hooks', {}).get('checkpoint') or {}
    metric = hook.get('save_best')
    if not isinstance(metric, str) or metric == 'auto':
        raise UserError(
            f'{path}: default_hooks.checkpoint.save_best={metric!r}; allowed: the name of the '
            'metric that runs are compared by'
        )
    return Run(
        folder=folder,
        config=path,
        seed=seed,
        options=tuple(options),
        fingerprint=_fingerprint(config.to_dict()),
        student=_fingerprint(model_config(config).to_dict()),
        teacher=teacher and (teacher.config, teacher.checkpoint),
        metric=metric,
        length=loop.get('max_iters') or loop.max_epochs,
        by_epoch=not loop.get('max_iters'),
        commit=get_git_hash(digits=7),
    )


def _overrides(options: Sequence[str]) -> dict:
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
    return parser.parse_args(['--cfg-options', *options]).cfg_options


def _matches(pattern: str) -> list[str]:
    for root in (Path(), ROOT):
        found = sorted(glob.glob(str(root / pattern)))
        if found:
            return found
    raise UserError(f'no config matches {pattern}')


def _fingerprint(configs: dict | list[dict]) -> str:
    text = json.dumps(configs, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
