"""Compare the time of MMSegmentation's IoUMetric with that of mmkd's exact one, side by side."""

# Before PyTorch: mmkd sets how OpenMP's threads wait.
import mmkd  # noqa: F401  # isort: skip

import argparse
import statistics
import time

import torch
from mmseg.evaluation import IoUMetric

from mmkd.metrics import ExactIoUMetric


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument('--size', type=int, nargs=2, default=(1024, 2048), metavar=('H', 'W'))
    parser.add_argument('--classes', type=int, nargs='+', default=[2, 19, 150])
    parser.add_argument('--repeats', type=int, default=15)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    print(f'{torch.get_num_threads()} threads, {args.size[0]} x {args.size[1]} pixels')
    for classes in args.classes:
        generator = torch.Generator().manual_seed(0)
        label = torch.randint(0, classes, tuple(args.size), generator=generator)
        predicted = torch.where(torch.rand(label.shape, generator=generator) < 0.8, label, 0)
        label[torch.rand(label.shape, generator=generator) < 0.1] = 255
        times = {IoUMetric: [], ExactIoUMetric: []}
        for _ in range(args.repeats):  # in turn, so that a busy machine hits both
            for metric, taken in times.items():
                begin = time.process_time()
                metric.intersect_and_union(predicted, label, classes, 255)
                taken.append(time.process_time() - begin)
        ratios = [b / a for a, b in zip(*times.values(), strict=True)]
        print(f'{classes} classes: {statistics.median(ratios):.2f} of the time')


if __name__ == '__main__':
    main()
