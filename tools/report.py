"""Compare finished runs on one HTML page that needs no network: scores, curves, pictures."""

import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmkd.ablation.class_scores import class_scores
from mmkd.ablation.report import summarise
from mmkd.ablation.runs import runs_in
from mmkd.complexity import parameter_count
from mmkd.configs import load_work_dir_config
from mmkd.engine.files import write_atomically
from mmkd.engine.launch import add_trust_argument, run_tool
from mmkd.errors import UserError
from mmkd.inference import build_network
from mmkd.registry import DATASETS
from mmkd.report.differences import describe
from mmkd.report.page import render
from mmkd.report.pictures import scenes_of


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument('work_dirs', nargs='+', help='of trainings, or of an ablation')
    parser.add_argument('--out', default='work_dirs/report.html', help='HTML file to write')
    parser.add_argument('--title', default='Distilled students', help='heading of the page')
    parser.add_argument('--images', type=int, default=4, help='validation images to show')
    add_trust_argument(parser)
    args = parser.parse_args()
    if args.images < 0:
        parser.error(f'--images {args.images} must be 0 or more')
    return args


def words_of(configs: dict[str, Config]) -> dict[str, tuple[str, list[str]]]:
    """By run, what it is and how it differs from those before it."""
    before, words = {}, {}
    for name, config in configs.items():
        words[name] = describe(config, before)
        before[name] = config
    return words


def classes_of(config: Config) -> tuple[str, ...]:
    """What a run's validation data tell apart."""
    with DefaultScope.overwrite_default_scope(config.get('default_scope')):
        dataset = DATASETS.build(dict(config.val_dataloader.dataset, lazy_init=True))
    return tuple(dataset.metainfo['classes'])


def check_classes(configs: dict[str, Config]) -> None:
    """Refuse to compare what cannot be compared.

    Raises:
        UserError: two runs are of different classes.
    """
    classes = {name: classes_of(config) for name, config in configs.items()}
    first, *others = classes
    for other in others:
        if classes[other] != classes[first]:
            raise UserError(
                f'{first} and {other} are of different classes; allowed: runs of the same classes'
            )


def main() -> None:
    args = parse_args()
    runs = list({r.folder: r for folder in args.work_dirs for r in runs_in(folder)}.values())
    started = [run for run in runs if any(run.folder.glob('*.py'))]
    if not started:
        raise UserError(f'{", ".join(args.work_dirs)}: no run has started yet')
    summaries = summarise(started)
    configs = {s.name: load_work_dir_config(s.runs[0].folder) for s in summaries}
    check_classes(configs)
    firsts = {s.name: s.finished[0] for s in summaries if s.finished}
    segments = all(run.metric == 'mIoU' for run in firsts.values())
    page = render(
        args.title,
        summaries,
        {name: parameter_count(build_network(config)) for name, config in configs.items()},
        class_scores(summaries) if segments else {},
        scenes_of(firsts, args.images) if firsts and args.images else [],
        words_of(configs),
    )
    write_atomically(args.out, page.encode())
    print(f'{args.out}: {len(started)} runs, {Path(args.out).stat().st_size / 2**20:.1f} MiB')


if __name__ == '__main__':
    run_tool(main)
