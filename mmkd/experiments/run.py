"""One run of an ablation: a config and a seed, in a folder that holds what it was."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from mmengine.config import Config

from mmkd.checkpoints.atomic_files import find_last_checkpoint, write_atomically
from mmkd.config.checks.checkpoints import metric_rule
from mmkd.config.load import load_config
from mmkd.config.options import merge_options, parse_options
from mmkd.errors import UserError

NOTE = 'run.json'
_EXPECTED = dict(
    folder='text', config='text', fingerprint='text', comparable='text', metric='text',
    commit='text', seed='an integer', length='a number above 0', by_epoch='true or false',
    options='a list of texts', teacher='null, or a config and a checkpoint',
    rule='greater or less', setup='texts by name',
)  # fmt: skip


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


_FITS = dict.fromkeys(
    ('folder', 'config', 'fingerprint', 'comparable', 'metric', 'commit'), _is_text
) | dict(
    seed=lambda value: type(value) is int,
    length=lambda value: type(value) in (int, float) and 0 < value < math.inf,
    by_epoch=lambda value: isinstance(value, bool),
    options=_are_texts,
    teacher=lambda value: value is None or _are_texts(value) and len(value) == 2,
    rule=lambda value: value in ('greater', 'less'),
    setup=lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
)


@dataclass(frozen=True)
class Run:
    """One training, and the keys by which its results are compared.

    It is saved in its folder before it starts, so a report needs nothing else.
    """

    folder: Path
    config: str
    seed: int
    options: tuple[str, ...]
    fingerprint: str
    """Hash of the config without the seed, and of the teacher's; all seeds of a run share it."""
    comparable: str
    """Hash of ``setup``, which two runs must share to be compared."""
    teacher: tuple[str, str] | None
    """Config, or other name, and weights of the teacher; None for a training without one."""
    metric: str
    length: int
    by_epoch: bool
    """Whether ``length`` counts epochs instead of iters."""
    commit: str
    """mmkd's commit that trains it; several, separated by spaces, if a later one resumed it."""
    setup: dict[str, str] = field(default_factory=dict, compare=False)
    """Student, start, data, length and so on, by name; empty in files of earlier versions."""
    rule: str = 'greater'
    """Whether a ``greater`` or a ``less`` value of the metric is the better one."""

    @property
    def distilled(self) -> bool:
        return self.teacher is not None

    @property
    def sign(self) -> int:
        """1 if a greater value of the metric is the better one, -1 if a smaller one is."""
        return -1 if self.rule == 'less' else 1

    def best(self, scores: Iterable[float]) -> float:
        """Return the best finite value of the run's metric, NaN if there is none."""
        known = [score for score in scores if math.isfinite(score)]
        return (min if self.rule == 'less' else max)(known, default=float('nan'))

    def load_config(self) -> Config:
        """Return the config with the run's overrides, without its seed."""
        config = load_config(self.config)
        if self.options:
            merge_options(config, parse_options(self.options))
        return config

    @property
    def family(self) -> Path:
        """The folder that holds its seeds; outside an ablation, its own folder."""
        of_seed = self.folder.name == f'seed_{self.seed}'
        return self.folder.parent if of_seed else self.folder

    @property
    def name(self) -> str:
        """The config's name, which its seeds share; outside an ablation, the folder's name."""
        return self.family.name

    @property
    def last_checkpoint(self) -> str:
        """Return the path of the last checkpoint.

        Raises:
            UserError: A checkpoint does not exist.
        """
        path = find_last_checkpoint(self.folder)
        if path is None:
            raise UserError(f'{self.folder}: expected a checkpoint of its run; train it')
        return path

    def note(self) -> None:
        """Save the run in its folder.

        Raises:
            UserError: The folder, or that of another seed, holds a run of another config.
        """
        for note in sorted(self.family.glob(f'seed_*/{NOTE}')):
            earlier = _load_seed(note.parent)
            if earlier.fingerprint != self.fingerprint:
                raise UserError(
                    f'{earlier.folder} holds a run of {earlier.config} before a change: expected '
                    'an unchanged config; remove the folder, or choose another --work-dir'
                )
        if not (self.folder / NOTE).is_file():
            self._write()

    def note_commit(self) -> None:
        """Add this run's commit to the saved ones that have left a checkpoint."""
        kept = load_run(self.folder).commit.split() if find_last_checkpoint(self.folder) else []
        replace(self, commit=' '.join(dict.fromkeys([*kept, self.commit])))._write()

    def _write(self) -> None:
        facts = asdict(self) | dict(folder=self.folder.name)
        write_atomically(self.folder / NOTE, (json.dumps(facts, indent=1) + '\n').encode())


def load_run(folder: Path) -> Run:
    """Load the run that is saved in ``folder``.

    Raises:
        UserError: The file was written by another version of mmkd, or holds what no run has.
    """
    path = folder / NOTE
    try:
        facts = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path} cannot be read: {error}; remove the folder') from None
    names = {key.name for key in fields(Run)}
    if not isinstance(facts, dict) or not names - {'rule', 'setup'} <= facts.keys() <= names:
        raise UserError(
            f'{path} is of another version of mmkd: expected this one; remove the folder '
            'or choose another'
        )
    facts = dict(setup={}, rule=metric_rule(facts['metric'])) | facts
    for key, fits in _FITS.items():
        if not fits(facts[key]):
            raise UserError(
                f'{path}: {key}={str(facts[key])[:80]!r}: expected {_EXPECTED[key]}; '
                'remove the folder, or restore the file'
            )
    lists = ('options', 'teacher')
    tuples = {key: tuple(facts[key]) for key in lists if facts[key] is not None}
    return Run(**facts | dict(folder=folder, **tuples))


def find_runs(work_dir: str | Path) -> list[Run]:
    """Return all saved runs under an ablation's work dir, by name and seed."""
    notes = Path(work_dir).glob(f'*/seed_*/{NOTE}')
    return sorted((_load_seed(note.parent) for note in notes), key=lambda r: (r.name, r.seed))


def _load_seed(folder: Path) -> Run:
    run = load_run(folder)
    if folder.name != f'seed_{run.seed}':
        raise UserError(
            f'{folder}: expected a run of the seed in the name, but it is a copy of a run of seed '
            f'{run.seed}; remove the folder'
        )
    return run


def by_config(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Return the runs of each config by its name; equal names get their folder as a prefix."""
    families: dict[Path, list[Run]] = {}
    for run in runs:
        families.setdefault(run.family, []).append(run)
    return {_short(family, families): seeds for family, seeds in families.items()}


def _short(path: Path, paths: Iterable[Path]) -> str:
    """Return the shortest end of ``path`` that differs from the others."""
    others = [other for other in paths if other != path]
    for parts in range(1, len(path.parts)):
        end = path.parts[-parts:]
        if all(other.parts[-parts:] != end for other in others):
            return '/'.join(end)
    return str(path)
