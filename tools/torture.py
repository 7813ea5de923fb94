"""Kill trainings at random moments, resume them, and compare their weights with an undisturbed run.

It prints a table. The exit status is 2 if a training lost more than the iterations since its last
checkpoint.
"""

# Before PyTorch: mmkd sets how OpenMP's threads wait.
import mmkd  # noqa: F401  # isort: skip

import argparse
import multiprocessing
import os
import random
import runpy
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.sharedctypes import SynchronizedArray
from pathlib import Path

import mmengine.config.config
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.cli.arguments import positive
from mmkd.cli.run_tool import run_tool
from mmkd.config.load import ROOT
from mmkd.config.student import is_distillation
from mmkd.errors import UserError
from mmkd.registry import HOOKS

DATA = """
pipeline = [
    dict(type='mmkd.SeedTransforms'), dict(type='mmkd.RenderStreet'),
    dict(type='RandomFlip', prob=0.5), dict(type='PackSegInputs')]
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False,
    dataset=dict(length=20, size=(64, 96), pipeline=pipeline))
val_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(length=4, size=(64, 96)))
train_cfg = dict(max_iters=6, val_interval=3)
default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))
custom_hooks = [dict(type='mmkd.PhaseHook')]
"""
TEACHER = """
_base_ = '{root}/configs/teachers/segformer_b0_streets.py'
model = dict(
    backbone=dict(embed_dims=8), decode_head=dict(in_channels=[8, 16, 40, 64], channels=32))
"""
STUDENT = """
_base_ = '{root}/configs/segformer_fastscnn_freq.py'
model = dict(
    teacher=dict(config='{folder}/teacher.py', checkpoint='teacher/best.pth'),
    distill=dict(feature=dict(
        student='backbone[1]', teacher='backbone[3]',
        adapter=dict(type='Conv2d', kernel_size=1), loss=dict(type='FeatureMSELoss'))))
"""
PHASES = ['starting'] + [
    f'{network}: {doing}'
    for network in ('teacher', 'student')
    for doing in ('in a step', 'in a validation', 'writing a checkpoint')
]
FINAL = ('student/iter_6.pth', 'student/best.pth', 'teacher/iter_6.pth', 'teacher/best.pth')


@HOOKS.register_module(force=True)  # a second run of this file registers it again
class PhaseHook(Hook):
    """Tell the parent process what the training is doing, in memory that survives a kill."""

    # Last before a step, a validation or the writing of a checkpoint, and first to see them end.
    priority = 'LOWEST'
    shared: SynchronizedArray
    """[index into PHASES, steps so far, those of killed processes included]"""

    def _enter(self, runner: Runner, doing: int) -> None:
        self.shared[0] = 3 * is_distillation(runner.cfg) + doing

    def before_train_iter(self, runner: Runner, *_: object, **__: object) -> None:
        self.shared[1] += 1
        self._enter(runner, 1)

    def after_train_iter(self, runner: Runner, *_: object, **__: object) -> None:
        self._enter(runner, 1)

    def before_val_epoch(self, runner: Runner) -> None:
        self._enter(runner, 2)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self._enter(runner, 3)

    def after_train(self, runner: Runner) -> None:
        self.shared[0] = 0  # after the teacher the student starts


class Training:
    """A training in a folder, run by one process after another."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.context = multiprocessing.get_context('forkserver')
        self.shared = self.context.Array('i', [0, 0], lock=False)
        self.kills: list[int] = []
        """The phase of each."""
        self.start()

    def start(self) -> None:
        self.shared[0] = 0
        self.process = self.context.Process(target=train, args=(self.folder, self.shared))
        self.process.start()

    def phases(self) -> Iterator[int]:
        """Yield its current phase again and again until it ends."""
        while self.process.is_alive():
            yield self.shared[0]
            time.sleep(0.001)

    def kill_in(self, target: int, visit: int, delay: float) -> None:
        """Kill it ``delay`` seconds after its ``visit``-th entry into a phase, and resume it.

        Nothing happens if it ends before, or if the phase belongs to a teacher that is already
        trained.
        """
        last = None
        for phase in self.phases():
            if target <= 3 < phase:
                return
            visit -= phase == target and phase != last
            last = phase
            if visit == 0:
                time.sleep(delay)
                self.process.kill()
                self.process.join()
                if self.process.exitcode == -signal.SIGKILL:
                    self.kills.append(self.shared[0])
                    check_files(self.folder)
                    self.start()
                return

    def finish(self) -> None:
        self.process.join()
        if self.process.exitcode:
            log = (self.folder / 'log.txt').read_text().strip().splitlines()
            raise UserError(f'{self.folder}: exit status {self.process.exitcode}: {log[-1]}')


def train(folder: Path, shared: SynchronizedArray) -> None:
    """Run the command line of tools/train.py in ``folder``."""
    os.chdir(folder)
    with open('log.txt', 'ab') as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    torch.set_num_threads(1)
    # Formatting the text of the configs would take longer than the training.
    mmengine.config.config.FormatCode = lambda text, **_: (text, True)
    PhaseHook.shared = shared
    sys.argv = ['train.py', '../recipe.py', '--resume', '--work-dir', 'student']
    runpy.run_path(str(ROOT / 'tools/train.py'), run_name='__main__')


def longest_stays(training: Training) -> Counter[int]:
    """Return the most seconds that an undisturbed training stays in each phase."""
    longest, last, since = Counter(), 0, time.perf_counter()
    for phase in training.phases():
        now = time.perf_counter()
        if phase != last:
            last, since = phase, now
        longest[phase] = max(longest[phase], now - since)
    return longest


def check_files(folder: Path) -> None:
    """Check that every file with the name of a checkpoint is a complete checkpoint."""
    for path in folder.glob('*/[!.]*.pth'):
        load_checkpoint_file(path)


def check_weights(folder: Path, expected: Path) -> None:
    """Check that a training left the same bits as the undisturbed one, and no other files.

    Raises:
        UserError: It did not.
    """
    for name in FINAL:
        ours, theirs = (load_checkpoint_file(f / name) for f in (folder, expected))
        for key in ('state_dict', 'distill'):
            a, b = ours.get(key, {}), theirs.get(key, {})
            if a.keys() != b.keys() or not all(torch.equal(a[k], b[k]) for k in a):
                raise UserError(f'{folder}/{name}: {key} differs from the undisturbed training')
    for path in folder.glob('*/.*.*'):
        raise UserError(f'{path} was left behind')


def torture(folder: Path, kills: int, seed: int) -> None:
    """Kill and resume trainings in ``folder`` and print the result.

    Raises:
        UserError: A training did not survive.
    """
    rng = random.Random(seed)
    for name, text in (('teacher', TEACHER), ('recipe', STUDENT)):
        (folder / f'{name}.py').write_text(text.format(root=ROOT, folder=folder) + DATA)
    whole = Training(folder / 'undisturbed')
    longest = longest_stays(whole)
    whole.finish()

    killed, survived, runs, repeated, failures = Counter(), Counter(), 0, 0, []
    while (missing := kills - killed.total()) > 0:
        runs += 1
        training = Training(folder / f'run_{runs}')
        try:
            for target in sorted(rng.sample(range(len(PHASES)), min(missing, len(PHASES)))):
                visit = rng.randint(1, 2) if target else 1
                training.kill_in(target, visit, rng.uniform(0, longest[target]))
            training.finish()
            check_weights(training.folder, whole.folder)
            survived.update(training.kills)
        except UserError as error:
            failures.append(str(error))
        killed.update(training.kills)
        repeated += training.shared[1] - whole.shared[1]
        phases = ', '.join(PHASES[phase] for phase in training.kills)
        print(f'{survived.total()} of {killed.total()} survived; killed {phases}', file=sys.stderr)

    print('| killed | times | survived |\n| --- | --- | --- |')
    for phase, name in enumerate(PHASES):
        print(f'| {name} | {killed[phase]} | {survived[phase]} |')
    print(f'| in all, in {runs} trainings | {killed.total()} | {survived.total()} |')
    print(f'\niterations repeated after a kill: {repeated / killed.total():.1f} on average')
    if failures:
        raise UserError('; '.join(failures))


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument('--kills', type=positive, default=50)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['__main__', 'mmkd'])
    first = context.Process(target=time.sleep, args=(0,))
    first.start()
    first.join()  # the libraries are imported
    with tempfile.TemporaryDirectory() as folder:
        torture(Path(folder), args.kills, args.seed)


if __name__ == '__main__':
    run_tool(main)
