"""Train several configs with several seeds, except finished runs, and compare them."""

import argparse
import math
from collections.abc import Iterable
from pathlib import Path

from mmengine.config import Config

from mmkd.checkpoints.atomic_files import write_atomically
from mmkd.cli.arguments import add_trust_argument, positive
from mmkd.config.checks.data import settle_worker_options
from mmkd.config.checks.training import check_training
from mmkd.errors import UserError
from mmkd.experiments.class_scores import check_class_scores, class_scores
from mmkd.experiments.plan import plan_runs
from mmkd.experiments.plots import class_differences, curves, score_bars, to_png
from mmkd.experiments.queue import is_finished, prepare_teachers, run_all
from mmkd.experiments.run import Run, find_runs
from mmkd.experiments.summary import by_metric, summarise
from mmkd.experiments.tables import to_csv, to_markdown
from mmkd.experiments.teacher_views import make_teacher_views


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument('configs', nargs='*', help="configs or patterns, quoted: 'configs/*.py'")
    parser.add_argument(
        '--seeds', type=int, nargs='+', action='extend', help='one run per seed (default: 0)'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action='extend', default=[], metavar='KEY=VALUE',
        help='change every config, such as train_cfg.max_iters=40',
    )  # fmt: skip
    parser.add_argument(
        '--work-dir', default='work_dirs/ablation', help='folder of the runs and the results'
    )
    parser.add_argument(
        '--threshold', type=_points, default=0.0, metavar='GAIN',
        help="smallest mean gain for the verdict GO, in the metric's unit (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        '--equal-time', type=_factor, metavar='FACTOR',
        help='train each baseline again, FACTOR times as long; mmkd check prints FACTOR',
    )  # fmt: skip
    parser.add_argument(
        '--teacher-views', type=positive, metavar='K',
        help='run the teacher once, on K augmentations of each image, for all trainings',
    )  # fmt: skip
    parser.add_argument('--jobs', type=positive, default=1, help='number of trainings at a time')
    parser.add_argument(
        '--launcher', choices=['none', 'slurm'], default='none', help='slurm: one job per run'
    )
    parser.add_argument(
        '--per-class', action='store_true', help='also evaluate the IoU of each class'
    )
    parser.add_argument(
        '--report-only',
        action='store_true',
        help='train nothing, only write the tables and charts again',
    )
    add_trust_argument(parser)
    args = parser.parse_args()
    args.seeds = args.seeds or [0]
    if args.equal_time and args.report_only:
        parser.error('--report-only: expected it without --equal-time, which trains')
    if args.teacher_views and (args.report_only or args.launcher != 'none'):
        parser.error('--teacher-views: expected it without --report-only and --launcher slurm')
    if args.configs and args.report_only:
        parser.error(
            '--report-only: expected it without configs; it reports every run of --work-dir'
        )
    if not args.configs and not args.report_only:
        parser.error('expected configs to train, or --report-only')
    return args


def main() -> None:
    args = parse_args()
    failures = {}
    if not args.report_only:
        runs = plan_runs(
            args.configs,
            args.seeds,
            args.cfg_options,
            args.work_dir,
            args.equal_time,
            args.teacher_views,
        )
        earlier = find_runs(args.work_dir)  # the table has them too
        if args.per_class:
            check_class_scores([*runs, *earlier])
        if args.launcher == 'none':  # a cluster's first machine need not have its GPUs and data
            _check_configs(run for run in runs if not is_finished(run))
        for run in runs:
            run.note()
        waiting = [run for run in runs if not is_finished(run)]
        prepare_teachers(waiting, args.launcher, _echo)
        if args.teacher_views:
            make_teacher_views(_configs(waiting), Path(args.work_dir), _echo)
        failures = run_all(runs, jobs=args.jobs, launcher=args.launcher, echo=_echo)
    runs = find_runs(args.work_dir)
    if not runs:
        raise UserError(f'--work-dir {args.work_dir}: expected a folder with runs')
    if args.per_class:
        check_class_scores(runs)
    summaries = summarise(runs)
    scores = class_scores(summaries) if args.per_class else None
    tables = [to_markdown(summaries, scores, args.threshold)]
    for others in by_metric(runs)[1:]:
        tables.append(to_markdown(summarise(others), threshold=args.threshold))
    table = '\n'.join(tables)
    out = Path(args.work_dir)
    write_atomically(out / 'ablation.csv', to_csv(runs, args.threshold).encode())
    write_atomically(out / 'ablation.md', table.encode())
    write_atomically(out / 'scores.png', to_png(score_bars(summaries)))
    write_atomically(out / 'curves.png', to_png(curves(summaries)))
    written = 'ablation.csv, ablation.md, scores.png, curves.png'
    if scores is not None:
        write_atomically(out / 'classes.png', to_png(class_differences(summaries, scores)))
        written += ', classes.png'
    print(f'\n{table}\n{out}: {written}')
    if failures:
        raise UserError(
            f'{len(failures)} runs failed: '
            + '; '.join(f'{run.name} seed {run.seed}: {why}' for run, why in failures.items())
        )


def _check_configs(runs: Iterable[Run]) -> None:
    """Check what would end a training in its first second, before a missing teacher trains."""
    for config in _configs(runs):
        settle_worker_options(config)
        try:
            check_training(config)
        except UserError as error:
            raise UserError(f'{config.filename}: {error}') from None


def _configs(runs: Iterable[Run]) -> list[Config]:
    """Return the configs of runs, once for all seeds."""
    variants = {(run.config, run.options): run for run in runs}
    return [run.load_config() for run in variants.values()]


def _points(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f'{text!r}: expected a finite number')
    return value


def _factor(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 1 < value < math.inf:
        raise argparse.ArgumentTypeError(f'{text!r}: expected a number above 1')
    return value


def _echo(line: str) -> None:
    print(line, flush=True)
