"""The cost of distillation terms: the training step against its floor, in one run.

The floor is the minimum of any distillation: the teacher's pass up to the last tap (with
`input_gradient` through its loss and back), and the student's own training step. The baseline's
step, the floor and the step with terms are timed in turn, so that other load hits all of them.
Medians are compared. Weights are random; the data are noise.

The last column is the cost of `weight=dict(type='gradient_share')` for all these terms, with its
default of one measurement every 50 iterations.

For one config every term is timed, and all together; for several, each with all its terms.
"""

# Before PyTorch: mmkd sets how OpenMP's threads wait.
import mmkd  # noqa: F401  # isort: skip

import argparse
import inspect
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope

from mmkd.analysis.timing import median_ms
from mmkd.analysis.training_step import (
    build_distiller,
    full_weight_terms,
    noise_labels,
    training_steps,
)
from mmkd.cli.arguments import positive
from mmkd.cli.run_tool import run_tool
from mmkd.config.load import load_distillation
from mmkd.distillation.gradient_share import GradientShare


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='+', help='distillation configs of one student')
    parser.add_argument('--size', type=positive, nargs=2, default=[192, 256], metavar=('H', 'W'))
    parser.add_argument('--batch', type=positive, default=8)
    parser.add_argument('--repeats', type=positive, default=15, help='timed steps of each kind')
    parser.add_argument('--threads', type=positive, help="PyTorch's CPU threads")
    return parser.parse_args()


def benchmark_rows(configs: dict[str, Config]) -> dict[str, tuple[Config, dict]]:
    """Return the config and terms of every row to time, by its name."""
    rows = {name: (config, full_weight_terms(config)) for name, config in configs.items()}
    if len(rows) > 1:
        return rows
    ((config, terms),) = rows.values()
    rows = {name: (config, {name: term}) for name, term in terms.items()}
    return rows if len(rows) == 1 else rows | {'all': (config, terms)}


def main() -> None:
    args = parse_args()
    configs = {Path(path).stem: load_distillation(path) for path in args.configs}
    if args.threads:
        torch.set_num_threads(args.threads)
    height, width = args.size
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(args.batch, 3, height, width, generator=generator).to(get_device())

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
    print(
        f'{", ".join(configs)}, batch {args.batch}, {height}x{width}, {device}, '
        f'{torch.get_num_threads()} threads, PyTorch {torch.__version__}, '
        f'median of {args.repeats}\n'
    )
    print(
        '| terms | baseline, ms | floor, ms | with terms, ms | over the floor '
        '| of the baseline | gradient shares |\n| --- | --- | --- | --- | --- | --- | --- |'
    )
    every = inspect.signature(GradientShare).parameters['every'].default
    for name, (config, terms) in benchmark_rows(configs).items():
        init_default_scope(config.default_scope)
        samples = noise_labels(config.model.student, args.batch, (height, width), generator)
        distiller = build_distiller(config, terms)
        times = median_ms(
            training_steps(distiller, config.optim_wrapper, inputs, samples), args.repeats
        )
        plain, floor, distil = times['plain'], times['floor'], times['distil']
        print(
            f'| {name} | {plain:.0f} | {floor:.0f} | {distil:.0f} | {distil / floor - 1:+.1%} '
            f'| {distil / plain:.2f} | {(times["measure"] / distil - 1) / every:+.1%} |',
            flush=True,
        )


if __name__ == '__main__':
    run_tool(main)
