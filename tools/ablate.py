"""Train several configs with several seeds, what is not trained yet, and compare them."""

import argparse
import signal
import sys
from pathlib import Path

from mmkd.ablation.class_scores import check_class_scores, class_scores
from mmkd.ablation.queue import is_finished, prepare_teachers, run_all
from mmkd.ablation.report import summarise, to_csv, to_markdown
from mmkd.ablation.runs import find_runs, plan_runs
from mmkd.engine.files import write_atomically
from mmkd.engine.launch import positive, run_tool
from mmkd.errors import UserError
from mmkd.visualization.ablation_plots import curves, score_bars, to_png


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument('configs', nargs='*', help="configs or patterns, quoted: 'configs/*.py'")
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--cfg-options', nargs='+', default=[], help='overrides of every config')
    parser.add_argument('--work-dir', default='work_dirs/ablation', help='runs and results')
    parser.add_argument('--jobs', type=positive, default=1, help='trainings at a time')
    parser.add_argument('--launcher', choices=['none', 'slurm'], default='none')
    parser.add_argument('--per-class', action='store_true', help='evaluate IoU by class too')
    parser.add_argument('--report-only', action='store_true', help='train nothing; redraw')
    args = parser.parse_args()
    if bool(args.configs) == args.report_only:
        parser.error('give configs to train, or --report-only')
    return args


def main() -> None:
    args = parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that trainings end as well
    failures = {}
    if not args.report_only:
        runs = plan_runs(args.configs, args.seeds, args.cfg_options, args.work_dir)
        if args.per_class:
            check_class_scores(runs)
        for run in runs:
            run.note()
        waiting = [run for run in runs if not is_finished(run)]
        prepare_teachers(waiting, args.launcher, _echo)
        failures = run_all(runs, jobs=args.jobs, launcher=args.launcher, echo=_echo)
    runs = find_runs(args.work_dir)
    if not runs:
        raise UserError(f'--work-dir {args.work_dir} holds no runs')
    if args.per_class:
        check_class_scores(runs)
    summaries = summarise(runs)
    scores = class_scores(summaries) if args.per_class else None
    table = to_markdown(summaries, scores)
    out = Path(args.work_dir)
    write_atomically(out / 'ablation.csv', to_csv(runs).encode())
    write_atomically(out / 'ablation.md', table.encode())
    write_atomically(out / 'scores.png', to_png(score_bars(summaries)))
    write_atomically(out / 'curves.png', to_png(curves(summaries)))
    print(f'\n{table}\n{out}: ablation.csv, ablation.md, scores.png, curves.png')
    if failures:
        raise UserError(
            f'{len(failures)} runs failed: '
            + '; '.join(f'{run.name} seed {run.seed}: {why}' for run, why in failures.items())
        )


def _echo(line: str) -> None:
    print(line, flush=True)


if __name__ == '__main__':
    run_tool(main)
