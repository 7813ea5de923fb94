"""Running an ablation: a few trainings at a time, each its own process, resumed when cut short."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from mmkd.ablation.runs import Run
from mmkd.configs import ROOT
from mmkd.engine.folder_lock import HELD_FOR_ME, lock_folder
from mmkd.engine.hooks.best_checkpoint_hook import unfinished_mark
from mmkd.engine.teacher_preparation import check_trainable, teacher_is_ready
from mmkd.errors import UserError
from mmkd.run_record import read_record

_LOG = 'train.log'


def is_finished(run: Run) -> bool:
    """Whether the run's training has come to its end."""
    done = bool(read_record(run.folder).scores(run.metric))
    return done and not unfinished_mark(run.folder).exists()


def progress(run: Run) -> float:
    """The part of the run's training that is done, in [0, 1]."""
    train = read_record(run.folder).train
    done = train[-1].get('epoch' if run.by_epoch else 'iter', 0) if train else 0
    return min(1.0, done / run.length)


def prepare_teachers(runs: Sequence[Run], launcher: str, echo: Callable[[str], None]) -> None:
    """Train the teachers that are missing, once for all runs.

    Raises:
        UserError: a teacher's config would not yield its checkpoint, or its training failed.
    """
    teachers = dict.fromkeys(run.teacher for run in runs if run.teacher)
    for config, checkpoint in teachers:
        if not teacher_is_ready(checkpoint):
            check_trainable(config, checkpoint)
    for config, checkpoint in teachers:
        training = _start_teacher(config, checkpoint, launcher, echo)
        if training is None:
            continue
        folder = Path(checkpoint).parent
        with training:
            while training.process.poll() is None:
                time.sleep(0.2)
        if training.process.returncode != 0:
            raise UserError(f'the teacher {config}: {failure(folder)}')


def run_all(
    runs: Sequence[Run], *, jobs: int, launcher: str, echo: Callable[[str], None]
) -> dict[Run, str]:
    """Train what has not been trained yet.

    A run that fails is reported and does not stop the rest. A run of an earlier command that
    still goes on is waited for. When this process ends, its trainings end with it; the same call
    resumes them.

    Args:
        runs: in the order in which they start.
        jobs: how many train at a time, each on the GPU that fewest use.
        launcher: ``none`` or ``slurm``.
        echo: prints a line of progress.

    Returns:
        The last line of every run that failed.
    """
    waiting = deque(run for run in runs if not is_finished(run))
    total, failures, active, elsewhere = len(runs), {}, {}, set()
    if total > len(waiting):
        echo(f'{total - len(waiting)} of {total} runs are finished already')
    clock = _Clock(waiting)
    last_echo = time.monotonic()
    try:
        while waiting or active:
            for _ in range(len(waiting)):
                if len(active) >= jobs:
                    break
                run = waiting.popleft()
                if is_finished(run):
                    echo(f'{run.name} seed {run.seed}: finished by another process')
                    continue
                training = _start(run, launcher, _free_device(active.values()), echo)
                if training is None:
                    waiting.append(run)
                    if run not in elsewhere:
                        echo(
                            f'{run.name} seed {run.seed}: waiting for {run.folder}, '
                            'which another process trains'
                        )
                    elsewhere.add(run)
                    continue
                active[run] = training
            for run, training in list(active.items()):
                if training.process.poll() is None:
                    continue
                training.close()
                del active[run]
                if training.process.returncode == 0 and is_finished(run):
                    record = read_record(run.folder)
                    result = f'{run.metric} {record.scores(run.metric)[-1][1]:.4g}'
                else:
                    failures[run] = failure(run.folder)
                    clock.forget(run)
                    result = f'FAILED: {failures[run]}'
                left = len(waiting) + len(active)
                echo(
                    f'[{total - left}/{total}] {run.name} seed {run.seed}: {result}; {clock.eta()}'
                )
                last_echo = time.monotonic()
            if active and time.monotonic() - last_echo > 60:
                state = ', '.join(f'{r.name} seed {r.seed} {progress(r):.0%}' for r in active)
                echo(f'{state}; {clock.eta()}')
                last_echo = time.monotonic()
            time.sleep(0.2)
    finally:
        for training in active.values():
            training.close()
    return failures


def failure(folder: Path) -> str:
    """The line of a training's log that says why it ended, and where the log is."""
    log = folder / _LOG
    lines = log.read_text(errors='replace').strip().splitlines() if log.is_file() else []
    errors = [line for line in lines if line.startswith('error: ')]
    return f'{(errors or lines or ["no output"])[-1].strip()} ({log})'


def _free_device(active: Iterable['_Training']) -> str | None:
    """The GPU with the fewest trainings, as CUDA_VISIBLE_DEVICES names it; None without any."""
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    devices = range(torch.cuda.device_count()) if visible is None else visible.split(',')
    used = Counter(training.device for training in active)
    return min(
        (str(device) for device in devices if device != ''), key=lambda d: used[d], default=None
    )


def _start(
    run: Run, launcher: str, device: str | None, echo: Callable[[str], None]
) -> '_Training | None':
    options = (*run.options, f'randomness.seed={run.seed}')
    try:
        training = _Training(run.config, run.folder, launcher, options, device)
    except BlockingIOError:
        return None
    run.note_commit()
    echo(f'{run.name} seed {run.seed}: training in {run.folder}')
    return training


def _start_teacher(
    config: str, checkpoint: str, launcher: str, echo: Callable[[str], None]
) -> '_Training | None':
    """The training of a teacher that is missing; another process's is waited for."""
    waits = False
    while not teacher_is_ready(checkpoint):
        try:
            training = _Training(config, Path(checkpoint).parent, launcher)
        except BlockingIOError:
            if not waits:
                echo(f'waiting for the teacher {config}, which another process trains')
            waits = True
            time.sleep(0.5)
            continue
        echo(f'training the teacher {config} first')
        return training
    return None


class _Training:
    """A process of tools/train.py, with its log and a lock on its folder.

    The lock belongs to the process itself: it outlives a killed ablation as long as the
    training does, and no second one starts beside it.
    """

    def __init__(
        self,
        config: str,
        folder: Path,
        launcher: str,
        options: Sequence[str] = (),
        device: str | None = None,
    ) -> None:
        self.lock = lock_folder(folder)
        # A Slurm job is given GPUs of its own.
        self.device = device if launcher == 'none' else None
        command = _command(config, folder, launcher)
        if options:
            command += ['--cfg-options', *options]
        environment = os.environ | {HELD_FOR_ME: str(folder.resolve())}
        if self.device:
            environment['CUDA_VISIBLE_DEVICES'] = self.device
        with open(folder / _LOG, 'w') as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                pass_fds=[self.lock.fileno()],
                env=environment,
                start_new_session=True,
            )

    def close(self) -> None:
        """End the process, with its data loaders, if it still runs."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.lock.close()

    def __enter__(self) -> '_Training':
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _command(config: str, folder: Path, launcher: str) -> list[str]:
    if launcher == 'none':
        tool = [sys.executable, str(ROOT / 'tools/train.py'), config, '--work-dir', str(folder)]
        return [*tool, '--resume']
    partition = os.environ.get('PARTITION')
    if not partition:
        raise UserError('--launcher slurm needs the environment variable PARTITION')
    script = str(ROOT / 'tools/slurm_train.sh')
    return [script, partition, folder.parent.name, config, str(folder), '--resume']


class _Clock:
    """How long the rest will take at the pace so far."""

    def __init__(self, runs: Sequence[Run]) -> None:
        self.begin = time.monotonic()
        self.before = {run: progress(run) for run in runs}

    def eta(self) -> str:
        now = {run: progress(run) for run in self.before}
        elapsed = time.monotonic() - self.begin
        rate = (sum(now.values()) - sum(self.before.values())) / elapsed
        if rate <= 0:
            return 'eta unknown'
        left = round((len(now) - sum(now.values())) / rate)
        return f'eta {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}'

    def forget(self, run: Run) -> None:
        """Leave out a run that failed."""
        del self.before[run]
