"""Each term's gradient beside the task's: whether a weight is light or heavy, and what it asks."""

import argparse
from itertools import islice
from statistics import fmean

import torch
from mmengine.device import get_device
from mmengine.runner import Runner

from mmkd.configs import check_dataloaders, load_distillation
from mmkd.engine.launch import (
    ConfigOptions,
    add_trust_argument,
    merge_options,
    positive,
    run_tool,
)
from mmkd.term_gradients import term_gradients
from mmkd.visualization.reading import load_distiller


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument('config', help='distillation config; terms count with their full weight')
    parser.add_argument('--checkpoint', help="the student's; random weights without it")
    parser.add_argument('--batches', type=positive, default=4, help='of the training data')
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, default={}, help='overrides, as key=value'
    )
    add_trust_argument(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    config = load_distillation(args.config)
    merge_options(config, args.cfg_options)
    check_dataloaders(config, 'train_dataloader')
    torch.manual_seed(0)
    distiller = load_distiller(config, args.checkpoint).train().to(get_device())
    for term in distiller.distill.values():
        term.current_weight = term.weight  # whatever its schedule
    config.train_dataloader.update(num_workers=0, persistent_workers=False)
    batches = Runner.build_dataloader(config.train_dataloader, seed=0)
    steps = []
    for batch in islice(batches, args.batches):
        data = distiller.data_preprocessor(batch, training=True)
        steps.append(term_gradients(distiller, data['inputs'], data['data_samples']))
    print(f'{args.config}, {args.checkpoint or "random weights"}, mean over {len(steps)} batches\n')
    print("| term | value | gradient, of the task's | cosine with it |\n| --- | --- | --- | --- |")
    for name in steps[0]:
        terms = [step[name] for step in steps]
        value, ratio, cosine = (
            fmean(getattr(term, key) for term in terms) for key in ('value', 'ratio', 'cosine')
        )
        print(f'| `{name}` | {value:.3g} | {ratio:.3f} | {cosine:+.2f} |')


if __name__ == '__main__':
    run_tool(main)
