"""What the selective scan costs in time and memory, against loops over the positions, in one run.

Two loops, by autograd: ``loop`` is well written (inputs unbound once, states stacked at the end);
``indexing loop`` indexes its inputs at each step, as the fallbacks do that are published beside
compiled kernels. Forward and backward, of four groups of 96 channels with one state. With a config,
also the training step of what it describes, with the scan and with the loop in its place.
"""

# Before PyTorch: mmkd sets how OpenMP's threads wait.
import mmkd  # noqa: F401  # isort: skip

import argparse
import os
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from torch import Tensor
from torch.nn import functional

from mmkd.analysis.memory import peak_bytes
from mmkd.analysis.timing import median_ms
from mmkd.analysis.training_step import (
    build_distiller,
    full_weight_terms,
    noise_labels,
    training_steps,
)
from mmkd.cli.arguments import positive
from mmkd.cli.run_tool import run_tool
from mmkd.config.load import config_name, load_distillation
from mmkd.ops.selective_scan import choose_backend, selective_scan, selective_scan_reference

GROUPS, CHANNELS, STATES = 4, 96, 1


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument('--lengths', type=positive, nargs='*', default=[1024, 4096])
    parser.add_argument('--config', help='a distillation config, to time its training step')
    parser.add_argument('--batch', type=positive, default=2, help='images of a training step')
    parser.add_argument('--repeats', type=positive, default=7)
    parser.add_argument('--threads', type=positive, help="PyTorch's CPU threads")
    return parser.parse_args()


def indexing_loop(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, delta_bias: Tensor
) -> Tensor:
    """The scan with ``[:, :, i]`` at each position."""
    step = functional.softplus(delta + delta_bias[:, None])
    B, C = (x.repeat_interleave(CHANNELS, dim=1) for x in (B, C))
    decay = torch.einsum('mkl,kn->mkln', step, A).exp()
    drive = torch.einsum('mkl,mknl,mkl->mkln', step, B, u)
    state, outputs = torch.zeros_like(drive[:, :, 0]), []
    for i in range(u.shape[2]):
        state = decay[:, :, i] * state + drive[:, :, i]
        outputs.append((state * C[..., i]).sum(-1))
    return torch.stack(outputs, dim=2) + D[:, None] * u


def make_inputs(length: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    total = GROUPS * CHANNELS
    shapes = [(1, total, length)] * 2 + [(total, STATES)] + [(1, GROUPS, STATES, length)] * 2
    inputs = [torch.randn(*s, generator=generator) for s in (*shapes, (total,), (total,))]
    inputs[2] = -inputs[2].abs() - 0.1
    return [x.to(get_device()).requires_grad_() for x in inputs]


def both_passes(scan: Callable[..., Tensor], inputs: list[Tensor], y_grad: Tensor) -> None:
    torch.autograd.grad(scan(*inputs), inputs, y_grad)


def print_scans(lengths: list[int], repeats: int) -> None:
    scans = dict(loop=selective_scan_reference, mmkd=selective_scan)
    print(
        '| L | indexing loop, ms | loop, ms | mmkd, ms | indexing loop / mmkd | loop / mmkd '
        '| loop, MiB | mmkd, MiB | mmkd / loop |\n' + '| --- ' * 9 + '|'
    )
    for length in lengths:
        inputs = make_inputs(length)
        y_grad = torch.ones_like(inputs[0])
        calls = {name: partial(both_passes, scan, inputs, y_grad) for name, scan in scans.items()}
        # Minutes long: once among fewer of the others.
        slow = calls | {'indexing': partial(both_passes, indexing_loop, inputs, y_grad)}
        slow = median_ms(slow, 1)
        times = median_ms(calls, repeats)
        peak = {name: peak_bytes(call) / 2**20 for name, call in calls.items()}
        print(
            f'| {length} | {slow["indexing"]:.0f} | {times["loop"]:.1f} | {times["mmkd"]:.1f} '
            f'| {slow["indexing"] / slow["mmkd"]:.0f} | {times["loop"] / times["mmkd"]:.1f} '
            f'| {peak["loop"]:.0f} | {peak["mmkd"]:.0f} | {peak["mmkd"] / peak["loop"]:.2f} |',
            flush=True,
        )


@contextmanager
def scan_backend(name: str):
    before = os.environ.get('MMKD_SCAN_BACKEND')
    os.environ['MMKD_SCAN_BACKEND'] = name
    yield
    if before is None:
        del os.environ['MMKD_SCAN_BACKEND']
    else:
        os.environ['MMKD_SCAN_BACKEND'] = before


def print_step(name: str, config: Config, batch: int, repeats: int) -> None:
    init_default_scope(config.default_scope)
    generator = torch.Generator().manual_seed(0)
    size = config.crop_size
    inputs = torch.randn(batch, 3, *size, generator=generator).to(get_device())
    samples = noise_labels(config.model.student, batch, size, generator)
    step = training_steps(
        build_distiller(config, full_weight_terms(config)), config.optim_wrapper, inputs, samples
    )['distil']

    def with_backend(name: str) -> None:
        with scan_backend(name):
            step()

    backend = choose_backend(torch.device(get_device()))
    calls = {name: partial(with_backend, name) for name in ('reference', backend)}
    times = median_ms(calls, repeats)
    peak = {name: peak_bytes(call) / 2**20 for name, call in calls.items()}
    loop, scan = calls
    print(
        '\n| training step | loop, ms | mmkd, ms | loop / mmkd | loop, MiB | mmkd, MiB |\n'
        + '| --- ' * 6
        + '|\n'
        f'| {name}, {batch}x{size[0]}x{size[1]} | {times[loop]:.0f} '
        f'| {times[scan]:.0f} | {times[loop] / times[scan]:.1f} | {peak[loop]:.0f} '
        f'| {peak[scan]:.0f} |'
    )


def main() -> None:
    args = parse_args()
    config = load_distillation(args.config) if args.config else None
    if args.threads:
        torch.set_num_threads(args.threads)
    print(
        f'{GROUPS} groups of {CHANNELS} channels, {STATES} state, {get_device()}, '
        f'{torch.get_num_threads()} threads, PyTorch {torch.__version__}, '
        f'median of {args.repeats}\n'
    )
    print_scans(args.lengths, args.repeats)
    if config:
        print_step(config_name(args.config), config, args.batch, args.repeats)


if __name__ == '__main__':
    run_tool(main)
