"""Count the multiply-adds of networks by five counters: mmkd, fvcore, ptflops, thop, torchinfo.

A number of one counter cannot be compared with a number of another. The counters are installed by
`pip install -e '.[toolkits]'`.
"""

# Before PyTorch: mmkd sets how OpenMP's threads wait.
import mmkd  # noqa: F401  # isort: skip

import argparse
import copy
import io
import logging
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import version

import torch
from mmengine.registry import DefaultScope
from torch import nn

from mmkd.analysis.complexity import ImagePass, flop_count
from mmkd.cli.arguments import positive
from mmkd.cli.run_tool import run_tool
from mmkd.config.load import load_config
from mmkd.config.student import model_config
from mmkd.registry import MODELS

CONFIGS = (
    'configs/students/fast_scnn_streets.py',
    'configs/teachers/segformer_b0_streets.py',
    'configs/students/yolo11n_bccd.py',
    'configs/students/vmamba_nano_streets.py',
)


def count_fvcore(once: ImagePass) -> float:
    from fvcore.nn import FlopCountAnalysis

    logging.getLogger('fvcore').setLevel(logging.ERROR)
    analysis = FlopCountAnalysis(once, once.images)
    return analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()


def count_ptflops(once: ImagePass) -> float | None:
    from ptflops import get_model_complexity_info

    for backend in ('pytorch', 'aten'):  # The first fails on attention that is called by keywords.
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            count, _ = get_model_complexity_info(
                once,
                tuple(once.images.shape[1:]),
                input_constructor=lambda shape: dict(images=once.images),
                as_strings=False,
                print_per_layer_stat=False,
                backend=backend,
            )
        if count is not None:
            return count
    return None


def count_thop(once: ImagePass) -> float:
    from thop import profile

    return profile(once, inputs=(once.images,), verbose=False)[0]


def count_torchinfo(once: ImagePass) -> float:
    from torchinfo import summary

    return summary(once, input_data=[once.images], verbose=0).total_mult_adds


COUNTERS = {
    'fvcore': count_fvcore,
    'ptflops': count_ptflops,
    'ultralytics-thop': count_thop,
    'torchinfo': count_torchinfo,
}


@torch.no_grad()
def count(network: nn.Module, size: tuple[int, int]) -> dict[str, float | None]:
    """Return the multiply-adds of one image by the name of the counter; None where it fails."""
    counts = dict(mmkd=flop_count(network, size))
    for name, counter in COUNTERS.items():
        # Some counters leave hooks and buffers in the network.
        counts[name] = counter(ImagePass(copy.deepcopy(network), size).eval())
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='*', default=CONFIGS, help='default: %(default)s')
    parser.add_argument('--size', type=positive, nargs=2, default=[512, 512], metavar=('H', 'W'))
    args = parser.parse_args()
    print(', '.join(f'{name} {version(name)}' for name in COUNTERS), '\n')
    print(f'| G multiply-adds | mmkd | {" | ".join(COUNTERS)} |\n' + '| --- ' * 6 + '|', flush=True)
    for path in args.configs:
        config = load_config(path)
        with DefaultScope.overwrite_default_scope(config.default_scope):
            # As its library runs it: what mmkd does to its heads, not all counters understand.
            network = MODELS.build(model_config(config)).eval()
        counts = count(network, tuple(args.size))
        cells = ' | '.join(
            'fails' if value is None else f'{value / 1e9:.2f}' for value in counts.values()
        )
        print(f'| {path} | {cells} |', flush=True)


if __name__ == '__main__':
    run_tool(main)
