"""Train the flagship for thousands of iterations with a kill in the middle; print what it uses.

Images are noise, 32x64, two a process. The teacher is a small SegFormer, trained for 20 iterations.
After each tenth of the run, a process outside reads memory, open files, threads and processor time
of the training and of all its children from the operating system. The same command continues a run
that was interrupted.

The exit status is 2 if the training fails, or if after five tenths, before the kill, it uses more
than 1.1 times the memory, files or threads that it used after two.
"""

# Before PyTorch: mmkd sets how OpenMP's threads wait.
import mmkd  # noqa: F401  # isort: skip

import argparse
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from mmkd.cli.arguments import positive
from mmkd.cli.run_tool import run_tool
from mmkd.config.load import ROOT
from mmkd.errors import UserError

# In the child of a CamVid config.
SMALL = """
labels = dict(type='mmkd.LoadCheckedAnnotations')
train_dataloader = dict(batch_size=2, num_workers=1, dataset=dict(data_root='data', pipeline=[
    dict(type='mmkd.SeedTransforms'), dict(type='LoadImageFromFile'), labels,
    dict(type='RandomResize', scale=(64, 32), ratio_range=(1.0, 1.8), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(32, 64)), dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'), dict(type='PackSegInputs')]))
val_dataloader = dict(num_workers=0, dataset=dict(data_root='data', pipeline=[
    dict(type='LoadImageFromFile'), labels, dict(type='PackSegInputs')]))
default_hooks = dict(logger=dict(interval={log_interval}), checkpoint=dict(interval={interval}))
train_cfg = dict(max_iters={iterations}, val_interval={interval})
"""
TEACHER = """_base_ = '{root}/configs/teachers/segformer_b0_camvid.py'
model = dict(
    backbone=dict(embed_dims=8, num_layers=[1, 1, 1, 1]),
    decode_head=dict(in_channels=[8, 16, 40, 64], channels=32))"""
STUDENT = """_base_ = '{root}/configs/segformer_fastscnn_freq_camvid.py'
model = dict(teacher=dict(config='teacher.py', checkpoint='teacher/best.pth'))
optim_wrapper = dict(optimizer=dict(fused=True))"""


@dataclass
class Usage:
    """What a training and its children use together after ``iteration``."""

    iteration: int
    memory: int
    """Bytes in RAM; pages that processes share count once."""
    files: int
    threads: int
    seconds: float
    """Processor time since the training started."""


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    pids = [pid]
    for parent in pids:  # It grows meanwhile.
        for path in Path(f'/proc/{parent}/task').glob('*/children'):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                pids += map(int, path.read_text().split())
    return pids


def measure(pid: int, iteration: int) -> Usage:
    """Return the usage of a process and all its descendants, as Linux states it."""
    usage = Usage(iteration, 0, 0, 0, 0.0)
    for process in family(pid):
        folder = Path(f'/proc/{process}')
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # It may end meanwhile.
            shared = re.search(r'^Pss: +(\d+) kB', (folder / 'smaps_rollup').read_text(), re.M)
            ticks = (folder / 'stat').read_text().rpartition(')')[2].split()[11:13]
            usage.memory += 1024 * int(shared[1])
            usage.files += len(os.listdir(folder / 'fd'))
            usage.threads += len(os.listdir(folder / 'task'))
            usage.seconds += sum(map(int, ticks)) / os.sysconf('SC_CLK_TCK')
    return usage


def last_iteration(work_dir: Path) -> int:
    """Return the last iteration that the newest log of a training states; 0 without one."""
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))
    lines = logs[-1].read_text().splitlines() if logs else []
    # Those of validation do not state it, and the last may be half written.
    steps = (json.loads(line).get('iter') for line in reversed(lines) if line.endswith('}'))
    return next(filter(None, steps), 0)


def write_images(folder: Path) -> None:
    """Write 16 images of noise for training and four for validation, in CamVid's layout."""
    generator = np.random.default_rng(0)
    for split, count in (('train', 16), ('val', 4)):
        images, labels = folder / split, folder / f'{split}annot'
        images.mkdir(parents=True)
        labels.mkdir()
        for index in range(count):
            image = generator.integers(256, size=(32, 64, 3), dtype=np.uint8)
            cv2.imwrite(str(images / f'{index}.jpg'), image)
            label = generator.integers(11, size=(32, 64), dtype=np.uint8)
            cv2.imwrite(str(labels / f'{index}.png'), label)


def start(folder: Path, processes: int) -> subprocess.Popen:
    """Start the training in ``folder``, or resume it."""
    options = ['--work-dir', 'student', '--resume']
    if processes == 1:
        command = [sys.executable, ROOT / 'tools/train.py', 'student.py', *options]
    else:
        command = [ROOT / 'tools/dist_train.sh', 'student.py', str(processes), *options]
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    with open(folder / 'log.txt', 'ab') as log:
        return subprocess.Popen(
            [str(part) for part in command],
            env=os.environ | dict(PYTHON=sys.executable, PYTHONPATH=str(ROOT), PORT=port),
            cwd=folder, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip


def kill(training: subprocess.Popen) -> None:
    """Kill a process and all its descendants at once, as a machine that loses power does."""
    for pid in family(training.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    training.wait()


def last_line(folder: Path) -> str:
    """Return the last line that a training printed."""
    return (folder / 'log.txt').read_text().strip().splitlines()[-1]


def wait_for(training: subprocess.Popen, folder: Path, iteration: int) -> None:
    """Wait until a training's log states ``iteration`` or a later one.

    Raises:
        UserError: It ended before.
    """
    while last_iteration(folder / 'student') < iteration:
        if training.poll() is not None:
            raise UserError(f'the training failed: {last_line(folder)}')
        time.sleep(0.2)


def print_usage(now: Usage, before: Usage) -> None:
    """Print a row of the table; the time is the mean since ``before``."""
    each = (now.seconds - before.seconds) / (now.iteration - before.iteration)
    print(
        f'| {now.iteration} | {now.memory / 2**20:.0f} | {now.files} | {now.threads} '
        f'| {each * 1e3:.1f} |',
        flush=True,
    )


def soak(folder: Path, iterations: int, processes: int) -> list[Usage]:
    """Train in ``folder``, kill and resume the training after 5.5 tenths, and print a table.

    Returns:
        The usage after one tenth of the run, after two, and so on up to nine.

    Raises:
        UserError: The training failed.
    """
    tenth = iterations // 10
    middle = 5 * tenth + tenth // 2  # Halfway between two checkpoints.
    if not (folder / 'data').exists():
        write_images(folder / 'data')
    for name, text, length in (('teacher', TEACHER, 20), ('student', STUDENT, iterations)):
        small = SMALL.format(
            iterations=length, interval=min(length, tenth), log_interval=max(1, tenth // 20)
        )
        (folder / f'{name}.py').write_text(text.format(root=ROOT) + small)
    record = folder / 'usage.jsonl'
    lines = record.read_text().splitlines() if record.exists() else []
    rows, before = [], None
    for now, since in (map(lambda usage: Usage(**usage), json.loads(line)) for line in lines):
        print_usage(now, since)
        rows.append(now)
    reached = last_iteration(folder / 'student')
    training = start(folder, processes)
    try:
        while len(rows) < 9:
            if len(rows) == 5 and reached < middle:
                wait_for(training, folder, middle)
                kill(training)
                reached, before = last_iteration(folder / 'student'), None
                print(f'| {reached} | killed and resumed | | | |', flush=True)
                training = start(folder, processes)
            if before is None:  # The processor time of the start is not that of an iteration.
                wait_for(training, folder, reached + 1)
                before = measure(training.pid, last_iteration(folder / 'student'))
            wait_for(training, folder, max((len(rows) + 1) * tenth, before.iteration + 1))
            now = measure(training.pid, last_iteration(folder / 'student'))
            print_usage(now, before)
            with open(record, 'a') as file:
                file.write(json.dumps([asdict(now), asdict(before)]) + '\n')
            rows.append(now)
            before = now
        training.wait()
    finally:
        kill(training)
    if not (folder / f'student/iter_{iterations}.pth').exists():
        raise UserError(f'the training failed: {last_line(folder)}')
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path, help='keeps the trainings and the figures')
    parser.add_argument('--iterations', type=positive, default=10_000, help='at least 100')
    parser.add_argument('--processes', type=positive, default=1)
    args = parser.parse_args()
    if args.iterations < 100:
        raise UserError(f'--iterations {args.iterations}: expected at least 100')
    print(
        f'{args.processes} process(es) of two images 32x64\n\n'
        '| iteration | memory, MiB | open files | threads | processor time, ms an iteration |\n'
        '| --- | --- | --- | --- | --- |'
    )
    folder = args.folder / f'{args.iterations}_iterations_{args.processes}_processes'
    rows = soak(folder, args.iterations, args.processes)
    early, late = rows[1], rows[4]
    print(f'\nmemory after five tenths, of that after two: {late.memory / early.memory:.3f}')
    for name in ('memory', 'files', 'threads'):
        if getattr(late, name) > 1.1 * getattr(early, name):
            raise UserError(
                f'{name}: {getattr(early, name)} after {early.iteration} iterations, '
                f'{getattr(late, name)} after {late.iteration}'
            )


if __name__ == '__main__':
    run_tool(main)
