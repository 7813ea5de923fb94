"""What distillation terms cost: the training step against its floor, in one run.

The floor is what any distillation must do: the teacher's pass that the terms read (up to its last
tap; through its loss and back for `input_gradient`) and the student's own training step. That step
alone, the floor, and the step with terms are timed in turn, so that other work on the machine
meets all of them, and compared by their medians. Weights are random; the data are noise.

Of one config every term is timed, and all of them together; of several, each with all its terms.
"""

import argparse
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope

from mmkd.benchmark.timing import median_ms
from mmkd.benchmark.training_step import build_distiller, noise_labels, terms_of, training_steps
from mmkd.configs import load_distillation
from mmkd.engine.launch import positive, run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='+', help='distillation configs of one student')
    parser.add_argument('--size', type=positive, nargs=2, default=[192, 256], metavar=('H', 'W'))
    parser.add_argument('--batch', type=positive, default=8)
    parser.add_argument('--repeats', type=positive, default=15, help='timed steps of each kind')
    parser.add_argument('--threads', type=positive, help="PyTorch's CPU threads")
    return parser.parse_args()


def rows_of(configs: dict[str, Config]) -> dict[str, tuple[Config, dict]]:
    """Config and terms of every row to time, by its name."""
    rows = {name: (config, terms_of(config)) for name, config in configs.items()}
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
        '| terms | student alone, ms | floor, ms | with terms, ms | over the floor '
        '| of the student alone |\n| --- | --- | --- | --- | --- | --- |'
    )
    for name, (config, terms) in rows_of(configs).items():
        init_default_scope(config.default_scope)
        samples = noise_labels(config.model.student, args.batch, (height, width), generator)
        distiller = build_distiller(config, terms)
        times = median_ms(
            training_steps(distiller, config.optim_wrapper, inputs, samples), args.repeats
        )
        plain, floor, distil = times['plain'], times['floor'], times['distil']
        print(
            f'| {name} | {plain:.0f} | {floor:.0f} | {distil:.0f} | {distil / floor - 1:+.1%} '
            f'| {distil / plain:.2f} |',
            flush=True,
        )


if __name__ == '__main__':
    run_tool(main)
