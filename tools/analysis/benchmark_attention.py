"""Memory and time of an attention map, against the formula written out.

Memory is in units of the map, (B, H, W); a temporary as large as the feature counts C times. The
feature itself does not count.
"""

# Before PyTorch: mmkd sets how OpenMP's threads wait.
import mmkd  # noqa: F401  # isort: skip

import argparse
from collections.abc import Callable
from functools import partial

import torch
from mmengine.device import get_device
from torch import Tensor

from mmkd.analysis.memory import peak_bytes
from mmkd.analysis.timing import median_ms
from mmkd.cli.arguments import positive
from mmkd.cli.run_tool import run_tool
from mmkd.ops.attention import attention_map

MAPS = {'sum, p=1': ('sum', 1), 'sum, p=2': ('sum', 2), 'max, p=2': ('max', 2)}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument('--shape', type=positive, nargs=4, default=[8, 256, 48, 64])
    parser.add_argument('--repeats', type=positive, default=31)
    parser.add_argument('--threads', type=positive, help="PyTorch's CPU threads")
    return parser.parse_args()


def written_out(x: Tensor, mapping: str, p: float) -> Tensor:
    powers = x.abs().pow(p)
    return powers.sum(dim=1) if mapping == 'sum' else powers.amax(dim=1)


def both_passes(forward: Callable[[], Tensor], x: Tensor, grad: Tensor) -> None:
    torch.autograd.grad(forward(), x, grad)


def main() -> None:
    args = parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(*args.shape, generator=generator).to(get_device())
    print(
        f'{tuple(args.shape)}, {get_device()}, {torch.get_num_threads()} threads, '
        f'PyTorch {torch.__version__}, median of {args.repeats}\n'
    )
    print(
        '| map | memory layout | written out, forward | mmkd, forward | written out, both passes '
        '| mmkd, both passes | time, ratio |\n| --- | --- | --- | --- | --- | --- | --- |'
    )
    for name, mapping in MAPS.items():
        for layout in ('contiguous_format', 'channels_last'):
            x = feature.to(memory_format=getattr(torch, layout)).requires_grad_()
            grad = torch.ones_like(attention_map(feature))
            calls = {}
            for kind, function in (('usual', written_out), ('mmkd', attention_map)):
                calls[kind] = partial(function, x, *mapping)
                calls[f'{kind}, both'] = partial(both_passes, calls[kind], x, grad)
            peak = {kind: peak_bytes(call) / grad.nbytes for kind, call in calls.items()}
            times = median_ms(calls, args.repeats)
            print(
                f'| {name} | {layout.removesuffix("_format")} | {peak["usual"]:.2f} '
                f'| {peak["mmkd"]:.2f} | {peak["usual, both"]:.0f} | {peak["mmkd, both"]:.0f} '
                f'| {times["usual, both"] / times["mmkd, both"]:.2f} |',
                flush=True,
            )


if __name__ == '__main__':
    run_tool(main)
