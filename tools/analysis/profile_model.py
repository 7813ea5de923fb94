"""Parameters, multiply-adds, latency and throughput of a config's student and teacher.

A multiply-add counts once: those of convolutions, matrix products, attention, scans, normalisation
and resampling, without biases and activations. Counters differ: see docs/benchmarks.md.

Weights are random and images black. Networks and batches are timed in turn, so that other load
hits all of them, and medians are shown.
"""

# Before PyTorch: mmkd sets how OpenMP's threads wait.
import mmkd  # noqa: F401  # isort: skip

import argparse

import torch
from mmengine.config import Config
from mmengine.device import get_device
from torch import nn

from mmkd.analysis.complexity import ImagePass, flop_count, parameter_count
from mmkd.analysis.timing import median_ms
from mmkd.cli.arguments import positive
from mmkd.cli.run_tool import run_tool
from mmkd.config.load import load_config
from mmkd.config.student import is_distillation, model_config
from mmkd.errors import UserError
from mmkd.openmmlab.inference import build_network
from mmkd.openmmlab.preprocessing import Preprocessing
from mmkd.teachers import teacher_kind


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config of a distillation or of one network')
    parser.add_argument('--sizes', nargs='+', default=['512x512'], help='image sizes, HEIGHTxWIDTH')
    parser.add_argument('--batch', type=positive, default=8, help='images at once, for images/s')
    parser.add_argument('--repeats', type=positive, default=10, help='timed passes of each kind')
    parser.add_argument('--threads', type=positive, help="PyTorch's CPU threads")
    return parser.parse_args()


def parse_size(text: str) -> tuple[int, int]:
    """Return (height, width) of ``'192x256'``."""
    parts = text.split('x')
    if len(parts) != 2 or not all(p.isdecimal() and int(p) for p in parts):
        raise UserError(f'--sizes {text}: expected HEIGHTxWIDTH in pixels, such as 512x1024')
    return int(parts[0]), int(parts[1])


def flops_at(network: nn.Module, size: tuple[int, int]) -> int:
    """Return :func:`flop_count`.

    Raises:
        UserError: A layer fails at this size.
    """
    try:
        return flop_count(network, size)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f'--sizes {size[0]}x{size[1]}: a layer fails, {reason}') from None


def networks_of(config: Config) -> dict[str, Config]:
    """Return the configs of a distillation's student and teacher, or of a single network.

    A teacher without a config is left out.
    """
    if not is_distillation(config):
        return {'network': config}
    if teacher_kind(config.model.teacher) != 'config':
        return {'student': config}
    return {'student': config, 'teacher': load_config(config.model.teacher.config)}


def main() -> None:
    args = parse_args()
    sizes = [parse_size(text) for text in args.sizes]
    if args.threads:
        torch.set_num_threads(args.threads)
    configs = networks_of(load_config(args.config))
    for config in configs.values():
        preprocessing = Preprocessing.from_config(model_config(config).get('data_preprocessor'))
        for size in sizes:
            preprocessing.check_size(size, f'--sizes {size[0]}x{size[1]}')
    networks = {name: build_network(config) for name, config in configs.items()}
    flops = {(n, size): flops_at(net, size) for n, net in networks.items() for size in sizes}
    networks = {name: network.to(get_device()) for name, network in networks.items()}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
    print(
        f'{args.config}, {device}, {torch.get_num_threads()} threads, '
        f'PyTorch {torch.__version__}, median of {args.repeats}\n'
    )
    print(
        f'| network | size | parameters, M | multiply-adds, G | ms, batch 1 '
        f'| images/s, batch {args.batch} |\n| --- | --- | --- | --- | --- | --- |'
    )
    batches = dict.fromkeys((1, args.batch))
    for size in sizes:
        calls = {
            (name, batch): ImagePass(network, size, batch).run
            for name, network in networks.items()
            for batch in batches
        }
        times = median_ms(calls, args.repeats)
        for name, network in networks.items():
            rate = 1e3 * args.batch / times[name, args.batch]
            print(
                f'| {name} | {size[0]}x{size[1]} | {parameter_count(network) / 1e6:.2f} '
                f'| {flops[name, size] / 1e9:.2f} | {times[name, 1]:.1f} | {rate:.1f} |',
                flush=True,
            )


if __name__ == '__main__':
    run_tool(main)
