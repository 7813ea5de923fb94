"""Run an ablation: several trainings at a time, each in its own process, resumed if interrupted."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from mmkd.checkpoints.safe_load import trusts_pickles
from mmkd.config.load import ROOT
from mmkd.engine.folder_lock import LOCKED_BY_PARENT, lock_folder
from mmkd.engine.hooks.unfinished_training_hook import unfinished_mark
from mmkd.engine.teacher_preparation import check_trainable, teacher_is_ready
from mmkd.errors import UserError
from mmkd.experiments.record import load_record
from mmkd.experiments.run import Run

_LOG = 'train.log'
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def is_finished(run: Run) -> bool:
    """Return whether the run's training is finished."""
    done = bool(load_record(run.folder).scores(run.metric))
    return done and not unfinished_mark(run.folder).exists()


def progress(run: Run) -> float:
    """Return the finished part of the run's training, in [0, 1]."""
    train = load_record(run.folder).train
    done = train[-1].get('epoch' if run.by_epoch else 'iter', 0) if train else 0
    return min(1.0, done / run.length)


def prepare_teachers(runs: Sequence[Run], launcher: str, echo: Callable[[str], None]) -> None:
    """Train the missing teachers, once for all runs.

    Raises:
        UserError: A teacher's config would not produce its checkpoint, or its training failed.
    """
    teachers = dict.fromkeys(run.teacher for run in runs if run.teacher)
    for config, checkpoint in teachers:
        if not teacher_is_ready(checkpoint):
            check_trainable(config, checkpoint)
    for config, checkpoint in teachers:
        _train_teacher(config, checkpoint, launcher, echo)


def run_all(
    runs: Sequence[Run], *, jobs: int, launcher: str, echo: Callable[[str], None]
) -> dict[Run, str]:
    """Train the runs that are not finished.

    A run that fails is reported and does not stop the others. If a run of an earlier command is
    still training, this call waits for it. When this process ends, its trainings end too; the same
    call resumes them.

    Args:
        runs: In the order in which they start.
        jobs: Number of trainings at a time, each on the GPU with the fewest trainings.
        launcher: ``none`` or ``slurm``.
        echo: Prints a line of progress.

    Returns:
        The last line of every run that failed.
    """
    waiting = deque(run for run in runs if not is_finished(run))
    total, failures, active, elsewhere = len(runs), {}, {}, set()
    if total > len(waiting):
        echo(f'{total - len(waiting)} of {total} runs are finished already')
    clock = _Clock(waiting)
    last_echo = time.monotonic()
    with _stop_signals() as stop, _ended_together(active):
        while (waiting or active) and not stop.number:
            for _ in range(len(waiting)):
                if len(active) >= jobs or stop.number:
                    break
                run = waiting.popleft()
                if is_finished(run):
                    echo(f'{run.name} seed {run.seed}: finished by another process')
                    continue
                training = _start(run, launcher, _free_device(active.values()))
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
                echo(f'{run.name} seed {run.seed}: training in {run.folder}')
            for run, training in list(active.items()):
                if training.process.poll() is None:
                    continue
                training.lock.close()
                del active[run]
                ended = training.process.returncode == 0
                scores = load_record(run.folder).scores(run.metric)
                if ended and is_finished(run):
                    result = f'{run.metric} {scores[-1][1]:.4g}'
                else:
                    failures[run] = (
                        failure(run.folder)
                        if scores or not ended
                        else f'no validation reported {run.metric} ({run.folder / _LOG})'
                    )
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
    return failures


@dataclass
class _Stop:
    """The signal that asked the ablation to end, 0 as long as none did."""

    number: int = 0


@contextmanager
def _stop_signals() -> Iterator[_Stop]:
    """Note the signals that end a process, and obey them when the body has ended its trainings.

    A signal that raised an exception at once could hit while a training starts, or a second one
    while the trainings end, and leave some of them behind.

    Raises:
        KeyboardInterrupt: it was Ctrl-C.
        SystemExit: it was another signal.
    """
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # Python lets the main thread alone handle signals
        return

    def note(number: int, _: object) -> None:
        stop.number = stop.number or number

    # nohup and a shell's background jobs ignore some: so do their ablations.
    heard = [n for n in _ENDING if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stop.number == signal.SIGINT:
        raise KeyboardInterrupt
    if stop.number:
        sys.exit(128 + stop.number)


@contextmanager
def _ended_together(active: Mapping[object, '_Training']) -> Iterator[None]:
    """End the trainings that ``active`` holds in the end, also if a line cannot be printed."""
    try:
        yield
    finally:
        end_trainings(active.values())


def end_trainings(trainings: Iterable['_Training'], patience: float = 10) -> None:
    """End trainings with their data loaders: signal all of them, then wait for all.

    Args:
        trainings: some may have ended already.
        patience: seconds after which one that still runs is killed.
    """
    trainings = list(trainings)
    running = [t for t in trainings if t.process.poll() is None]
    for training in running:
        training.signal(signal.SIGTERM)
    limit = time.monotonic() + patience
    while time.monotonic() < limit and any(t.process.poll() is None for t in running):
        time.sleep(0.1)
    for training in running:
        if training.process.poll() is None:
            training.signal(signal.SIGKILL)
    for training in trainings:
        training.process.wait()
        training.lock.close()


def failure(folder: Path) -> str:
    """Return the line of a training's log that says why it ended, and the path of the log."""
    log = folder / _LOG
    lines = log.read_text(errors='replace').strip().splitlines() if log.is_file() else []
    errors = [line for line in lines if line.startswith('error: ')]
    return f'{(errors or lines or ["no output"])[-1].strip()} ({log})'


def _free_device(active: Iterable['_Training']) -> str | None:
    """Return the GPU with the fewest trainings, in the form of CUDA_VISIBLE_DEVICES, or None."""
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    devices = range(torch.cuda.device_count()) if visible is None else visible.split(',')
    used = Counter(training.device for training in active)
    return min(
        (str(device) for device in devices if device != ''), key=lambda d: used[d], default=None
    )


def _start(run: Run, launcher: str, device: str | None) -> '_Training | None':
    options = (*run.options, f'randomness.seed={run.seed}')
    try:
        # Noted before it starts: a note that cannot be written leaves nothing that trains.
        return _Training(run.config, run.folder, launcher, options, device, run.note_commit)
    except BlockingIOError:
        return None


def _train_teacher(
    config: str, checkpoint: str, launcher: str, echo: Callable[[str], None]
) -> None:
    """Train a missing teacher, or wait for another process that trains it."""
    folder, active, waits = Path(checkpoint).parent, {}, False
    with _stop_signals() as stop, _ended_together(active):
        while not stop.number:
            if active:
                if active[config].process.poll() is not None:
                    break
            elif teacher_is_ready(checkpoint):
                return
            else:
                try:
                    active[config] = _Training(config, folder, launcher)
                    line = f'training the teacher {config} first'
                except BlockingIOError:
                    line = f'waiting for the teacher {config}, which another process trains'
                if active or not waits:
                    echo(line)
                waits = True
            time.sleep(0.2)
    if active[config].process.returncode != 0:
        raise UserError(f'the teacher {config}: {failure(folder)}')


class _Training:
    """A process of tools/train.py, with its log and a lock on its folder.

    The process itself holds the lock. If the ablation is killed, the lock stays as long as the
    training does, so a second training cannot start in the same folder.
    """

    def __init__(
        self,
        config: str,
        folder: Path,
        launcher: str,
        options: Sequence[str] = (),
        device: str | None = None,
        note: Callable[[], None] = lambda: None,
    ) -> None:
        self.lock = lock_folder(folder)
        try:
            note()
            self.process = self._begin(config, folder, launcher, options, device)
        except BaseException:
            self.lock.close()
            raise

    def _begin(
        self,
        config: str,
        folder: Path,
        launcher: str,
        options: Sequence[str],
        device: str | None,
    ) -> subprocess.Popen:
        # Slurm gives each job its GPUs.
        self.device = device if launcher == 'none' else None
        command = _command(config, folder, launcher)
        if options:
            command += ['--cfg-options', *options]
        environment = os.environ | {LOCKED_BY_PARENT: str(folder.resolve())}
        if self.device:
            environment['CUDA_VISIBLE_DEVICES'] = self.device
        with open(folder / _LOG, 'w') as log:
            return subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                pass_fds=[self.lock.fileno()],
                env=environment,
                start_new_session=True,
            )

    def signal(self, number: int) -> None:
        """Send a signal to the process and its data loaders."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


def _command(config: str, folder: Path, launcher: str) -> list[str]:
    options = ['--resume', '--trust-pickles'] if trusts_pickles() else ['--resume']
    if launcher == 'none':
        tool = [sys.executable, str(ROOT / 'tools/train.py'), config, '--work-dir', str(folder)]
        return [*tool, *options]
    partition = os.environ.get('PARTITION')
    if not partition:
        raise UserError('PARTITION: expected this environment variable with --launcher slurm')
    script = str(ROOT / 'tools/slurm_train.sh')
    return [script, partition, folder.parent.name, config, str(folder), *options]


class _Clock:
    """Estimate the remaining time from the pace so far."""

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
