"""Check that two revisions train alike: the same losses, to the last bit, iteration by iteration.

    python tools/analysis/compare_losses.py main . configs/segformer_fastscnn_freq.py

trains 20 iterations of each config with each revision, from one seed and one teacher of random
weights, and compares everything that is logged but times. ``.`` is the working tree. Run it after
a refactoring that must change no number. The exit status is 1 where a number differs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmkd.cli.arguments import positive
from mmkd.cli.run_tool import run_tool
from mmkd.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
NOT_COMPARED = ('time', 'data_time', 'memory')

# Only names that every revision has: MMEngine's.
MAKE_TEACHER = """
import sys, torch, mmkd
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
torch.manual_seed(0)
teacher = Config.fromfile(sys.argv[1]).model.get('teacher')
if teacher:
    config = Config.fromfile(teacher.config)
    init_default_scope(config.default_scope)
    network = MODELS.build(config.model)
    network.init_weights()
    torch.save(dict(state_dict=network.state_dict()), sys.argv[2])
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('rev_a', help='a git revision, or . for the working tree')
    parser.add_argument('rev_b', help='the revision to compare with it')
    parser.add_argument('configs', nargs='+', help='configs that both revisions have')
    parser.add_argument('--iters', type=positive, default=20, help='iterations (default: 20)')
    return parser.parse_args()


@contextmanager
def checked_out(revision: str, folder: Path) -> Iterator[Path]:
    """Check out a revision for the time of the block and yield its folder."""
    if revision == '.':
        yield ROOT
        return
    tree = folder / 'tree'
    git = ['git', '-C', str(ROOT), 'worktree']
    done = subprocess.run([*git, 'add', '--detach', tree, revision], capture_output=True, text=True)
    if done.returncode:
        raise UserError(f'revision {revision}: {done.stderr.strip().splitlines()[-1]}')
    try:
        if (ROOT / 'data').is_dir():
            (tree / 'data').symlink_to((ROOT / 'data').resolve())
        yield tree
    finally:
        subprocess.run([*git, 'remove', '--force', tree], capture_output=True)


def run_in(tree: Path, *command: str | Path) -> None:
    """Run Python in a revision's folder, with that revision's mmkd."""
    environment = os.environ | dict(PYTHONPATH=str(tree), OMP_NUM_THREADS='1')
    done = subprocess.run(
        [sys.executable, *command], cwd=tree, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise UserError(f'{command[-1]} in {tree.name}: {done.stderr.strip()[-2000:]}')


def train(tree: Path, config: str, teacher: Path, work_dir: Path, iters: int) -> list[dict]:
    """Train a config in a revision's folder and return what it logged, a dict an iteration."""
    options = [f'train_cfg.max_iters={iters}', f'train_cfg.val_interval={iters + 1}']
    options += ['default_hooks.logger.interval=1', 'randomness.seed=0']
    if teacher.exists():
        options.append(f'model.teacher.checkpoint={teacher}')
    run_in(tree, 'tools/train.py', config, '--work-dir', work_dir, '--cfg-options', *options)
    lines = next(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()
    logged = [json.loads(line) for line in lines]
    return [
        {key: value for key, value in line.items() if key not in NOT_COMPARED}
        for line in logged
        if 'loss' in line
    ]


def compare(a: list[dict], b: list[dict]) -> str:
    """Say in words where two logs differ first, or how many numbers are equal."""
    for number, (left, right) in enumerate(zip(a, b, strict=True), 1):
        names = [name for name in left | right if left.get(name) != right.get(name)]
        if names:
            name = names[0]
            return f'{name} of iteration {number}: {left.get(name)} and {right.get(name)}'
    return f'equal ({sum(map(len, a))} numbers of {len(a)} iterations)'


def main() -> None:
    args = parse_args()
    print(f'| config | {args.rev_a} and {args.rev_b} |\n| --- | --- |')
    differ = False
    for config in args.configs:
        with tempfile.TemporaryDirectory() as name:
            folder, logs = Path(name), []
            teacher = folder / 'teacher.pth'
            for side, revision in (('a', args.rev_a), ('b', args.rev_b)):
                (folder / side).mkdir()
                with checked_out(revision, folder / side) as tree:
                    if side == 'a':
                        run_in(tree, '-c', MAKE_TEACHER, config, teacher)
                    logs.append(train(tree, config, teacher, folder / side / 'run', args.iters))
        words = compare(*logs)
        differ |= not words.startswith('equal')
        print(f'| {config} | {words} |', flush=True)
    sys.exit(int(differ))


if __name__ == '__main__':
    run_tool(main)
