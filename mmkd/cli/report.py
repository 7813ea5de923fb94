"""Compare finished runs on one self-contained HTML page: scores, curves, pictures."""

import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmkd.analysis.complexity import parameter_count
from mmkd.checkpoints.atomic_files import write_atomically
from mmkd.cli.arguments import add_trust_argument
from mmkd.config.load import load_work_dir_config
from mmkd.datasets.class_order import classes_of
from mmkd.errors import UserError
from mmkd.experiments.class_scores import class_scores, has_class_scores
from mmkd.experiments.plan import runs_in
from mmkd.experiments.report.differences import describe
from mmkd.experiments.report.page import render
from mmkd.experiments.report.pictures import draw_scenes
from mmkd.experiments.summary import summarise
from mmkd.openmmlab.inference import build_network
from mmkd.registry import DATASETS


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument('work_dirs', nargs='+', help='work dirs of trainings or of an ablation')
    parser.add_argument('--out', default='work_dirs/report.html', help='HTML file to write')
    parser.add_argument('--title', default='Distilled students', help='heading of the page')
    parser.add_argument('--images', type=int, default=4, help='number of validation images to show')
    add_trust_argument(parser)
    args = parser.parse_args()
    if args.images < 0:
        parser.error(f'--images {args.images}: expected an integer >= 0')
    return args


def describe_configs(configs: dict[str, Config]) -> dict[str, tuple[str, list[str]]]:
    """Return by run what it is and how it differs from the runs before it."""
    before, words = {}, {}
    for name, config in configs.items():
        words[name] = describe(config, before)
        before[name] = config
    return words


def dataset_classes(config: Config) -> tuple[str, ...]:
    """Return the classes of a run's validation data."""
    with DefaultScope.overwrite_default_scope(config.get('default_scope')):
        dataset = DATASETS.build(dict(config.val_dataloader.dataset, lazy_init=True))
    return tuple(classes_of(dataset))


def check_classes(configs: dict[str, Config]) -> None:
    """Check that the runs have the same classes.

    Raises:
        UserError: Two runs have different classes.
    """
    classes = {name: dataset_classes(config) for name, config in configs.items()}
    first, *others = classes
    for other in others:
        if classes[other] != classes[first]:
            raise UserError(
                f'{first} and {other} have different classes: expected runs with the same classes'
            )


def main() -> None:
    args = parse_args()
    runs = list({r.folder: r for folder in args.work_dirs for r in runs_in(folder)}.values())
    started = [run for run in runs if any(run.folder.glob('*.py'))]
    if not started:
        raise UserError(
            f'{", ".join(args.work_dirs)}: expected the work dir of a training that has started'
        )
    summaries = summarise(started)
    configs = {s.name: load_work_dir_config(s.runs[0].folder) for s in summaries}
    check_classes(configs)
    firsts = {s.name: s.finished[0] for s in summaries if s.finished}
    segments = all(map(has_class_scores, firsts.values()))
    page = render(
        args.title,
        summaries,
        {name: parameter_count(build_network(config)) for name, config in configs.items()},
        class_scores(summaries) if segments else {},
        draw_scenes(firsts, args.images) if firsts and args.images else [],
        describe_configs(configs),
    )
    write_atomically(args.out, page.encode())
    print(f'{args.out}: {len(started)} runs, {Path(args.out).stat().st_size / 2**20:.1f} MiB')
