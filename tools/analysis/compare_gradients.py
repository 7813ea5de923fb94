"""Compare each term's gradient with the task's: how strong it is, and in which direction."""

# Before PyTorch: mmkd sets how OpenMP's threads wait.
import mmkd  # noqa: F401  # isort: skip

import argparse
from itertools import islice

import torch
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmkd.analysis.term_gradients import mean_gradients, term_gradients
from mmkd.cli.arguments import ConfigOptions, add_trust_argument, merge_options, positive
from mmkd.cli.run_tool import run_tool
from mmkd.config.checks.data import check_dataloaders
from mmkd.config.load import load_distillation
from mmkd.distillation.load import load_distiller
from mmkd.distillation.sample_batch import lend_batch
from mmkd.engine.first_batch import load_first_batch


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument('config', help='distillation config; terms count with their full weight')
    parser.add_argument('--checkpoint', help="the student's; random weights without it")
    parser.add_argument('--batches', type=positive, default=4, help='batches of training data')
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
    config.train_dataloader.update(num_workers=0, persistent_workers=False)
    init_default_scope(config.get('default_scope') or 'mmengine')
    batches = Runner.build_dataloader(config.train_dataloader, seed=0)
    with lend_batch(lambda: load_first_batch(batches)):
        distiller = load_distiller(config, args.checkpoint).train().to(get_device())
    for term in distiller.distill.values():
        term.schedule_factor = 1.0  # independent of its schedule
    steps = []
    for batch in islice(batches, args.batches):
        data = distiller.data_preprocessor(batch, training=True)
        steps.append(term_gradients(distiller, data['inputs'], data['data_samples']))
    print(f'{args.config}, {args.checkpoint or "random weights"}, mean over {len(steps)} batches\n')
    print("| term | value | gradient, of the task's | cosine with it |\n| --- | --- | --- | --- |")
    for name, term in mean_gradients(steps).items():
        print(f'| `{name}` | {term.value:.3g} | {term.ratio:.3f} | {term.cosine:+.2f} |')


if __name__ == '__main__':
    run_tool(main)
