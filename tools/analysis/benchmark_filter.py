"""Time of the frequency filter against fft2, fftshift, mask, ifft2, in one run."""

# Before PyTorch: mmkd sets how OpenMP's threads wait.
import mmkd  # noqa: F401  # isort: skip

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from mmkd.analysis.timing import median_ms
from mmkd.cli.arguments import positive
from mmkd.cli.run_tool import run_tool
from mmkd.ops.fourier import frequency_filter, frequency_mask


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument(
        '--shape', type=positive, nargs=4, default=[8, 256, 48, 64], metavar=('N', 'C', 'H', 'W')
    )
    parser.add_argument('--threads', type=positive, nargs='+', default=[1, 2])
    parser.add_argument('--repeats', type=positive, default=30)
    return parser.parse_args()


def shifted_mask(height: int, width: int, cutoff: float) -> Tensor:
    """Return the Gaussian low-pass over the full, shifted spectrum."""
    rows = torch.fft.fftshift(torch.fft.fftfreq(height, d=0.5))[:, None]
    columns = torch.fft.fftshift(torch.fft.fftfreq(width, d=0.5))[None, :]
    return torch.exp(-0.5 * (rows.square() + columns.square()) / cutoff**2)


def usual_filter(x: Tensor, mask: Tensor) -> Tensor:
    spectrum = torch.fft.fftshift(torch.fft.fft2(x), dim=(-2, -1)) * mask
    return torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1))).real


def main() -> None:
    args = parse_args()
    height, width = args.shape[2:]
    x = torch.randn(args.shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
    full, half = shifted_mask(height, width, 0.25), frequency_mask((height, width), 1, 0, 0.25)
    error = (usual_filter(x, full) - frequency_filter(x, half)).abs().max().item()
    upstream = torch.randn_like(x)

    def forward(call: Callable, mask: Tensor) -> Callable[[], None]:
        def run() -> None:
            with torch.no_grad():
                call(x, mask)

        return run

    def both(call: Callable, mask: Tensor) -> Callable[[], None]:
        def run() -> None:
            x.grad = None
            call(x, mask).backward(upstream)

        return run

    print(f'{tuple(args.shape)}, PyTorch {torch.__version__}, largest difference {error:.1e}\n')
    print('| threads | pass | usual, ms | mmkd, ms | ratio |\n| --- | --- | --- | --- | --- |')
    for threads in args.threads:
        torch.set_num_threads(threads)
        for name, make in (('forward', forward), ('forward and backward', both)):
            kinds = dict(usual=make(usual_filter, full), mmkd=make(frequency_filter, half))
            t = median_ms(kinds, args.repeats)
            print(
                f'| {threads} | {name} | {t["usual"]:.1f} | {t["mmkd"]:.1f} '
                f'| {t["usual"] / t["mmkd"]:.1f} |',
                flush=True,
            )


if __name__ == '__main__':
    run_tool(main)
