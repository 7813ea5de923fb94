"""Print how far mmkd's operators are from mmcv's compiled ones, on the CPU.

Needs compiled operators: run it in .venv-compiled, which 'make test-operators' makes.
"""

# Before PyTorch: mmkd sets how OpenMP's threads wait.
import mmkd  # noqa: F401  # isort: skip

import argparse
from importlib import import_module

import torch

from mmkd.analysis.operator_parity import largest_differences, parity_cases, use_operators
from mmkd.cli.arguments import positive
from mmkd.cli.run_tool import run_tool
from mmkd.errors import UserError
from mmkd.openmmlab.operators import extension
from mmkd.openmmlab.operators.install import uses_mmkd_operators


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument('--seeds', type=positive, default=10, help='random inputs of each layer')
    args = parser.parse_args()
    if uses_mmkd_operators():
        raise UserError('mmcv has no compiled operators here; run this in .venv-compiled')
    compiled = import_module('mmcv._ext')
    worst: dict[str, tuple[float, float]] = {}
    for name, compute in parity_cases().items():
        for seed in range(args.seeds):
            results = []
            for operators in (extension, compiled):
                torch.manual_seed(seed)
                with use_operators(operators):
                    results.append(compute())
            operator = name.split(',')[0]
            found = zip(worst.get(operator, (0.0, 0.0)), largest_differences(*results), strict=True)
            worst[operator] = tuple(map(max, found))
    print('| operator | output | gradients |\n| --- | --- | --- |')
    for operator, (output, gradients) in worst.items():
        print(f'| `{operator}` | {output:.1e} | {gradients:.1e} |')


if __name__ == '__main__':
    run_tool(main)
