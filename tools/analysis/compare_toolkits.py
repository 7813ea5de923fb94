"""Compare mmkd's losses with those of other distillation toolkits, on noise and on features.

Their loss with weight w has the gradient of mmkd's with weight f w. This measures f in float64 and
compares it with its formula; the exit status is 2 if they differ. A toolkit that is not installed
is left out: `pip install -e '.[toolkits]'`.
"""

# Before PyTorch: mmkd sets how OpenMP's threads wait.
import mmkd  # noqa: F401  # isort: skip

import argparse
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module

import torch
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from torch.nn import functional

from mmkd.analysis.mmrazor import import_mmrazor
from mmkd.cli.run_tool import run_tool
from mmkd.config.load import load_config
from mmkd.errors import UserError
from mmkd.losses import (
    ActivationATLoss,
    CWDLoss,
    FeatureMSELoss,
    FRSFeatureLoss,
    LogitKDLoss,
)
from mmkd.openmmlab.inference import build_network
from mmkd.registry import DATASETS

TEACHER = 'configs/teachers/segformer_b0_streets.py'
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Row:
    """Two losses that differ by a factor."""

    theirs: str
    ours: str
    formula: str
    """The factor, in B, C, H and W of the compared maps."""
    factor: Callable[[int, int, int, int], float]
    their_loss: Loss
    our_loss: Loss


def mmrazor_rows() -> Iterator[Row]:
    import_mmrazor()
    losses = import_module('mmrazor.models.losses')
    at, cwd = losses.ATLoss(), losses.ChannelWiseDivergence(tau=4)
    kl, kl_mean = (losses.KLDivergence(tau=4, reduction=r) for r in ('batchmean', 'mean'))
    squares = losses.L2Loss(normalize=False)
    mean = losses.L2Loss(normalize=False, div_element=True)
    yield Row(
        'ATLoss()',
        "ActivationATLoss(distance='mse')",
        '1',
        lambda b, c, h, w: 1,
        at,
        ActivationATLoss(distance='mse'),
    )
    yield Row(
        'ChannelWiseDivergence(tau)', 'CWDLoss(tau)', '1', lambda b, c, h, w: 1, cwd, CWDLoss(tau=4)
    )
    yield Row(
        'KLDivergence(tau)',
        'LogitKDLoss(tau)',
        'H W',
        lambda b, c, h, w: h * w,
        kl,
        LogitKDLoss(tau=4),
    )
    yield Row(
        "KLDivergence(tau, reduction='mean')",
        'LogitKDLoss(tau)',
        '1 / C',
        lambda b, c, h, w: 1 / c,
        kl_mean,
        LogitKDLoss(tau=4),
    )
    yield Row(
        'L2Loss(normalize=False)',
        'FeatureMSELoss()',
        'C H W',
        lambda b, c, h, w: c * h * w,
        squares,
        FeatureMSELoss(),
    )
    yield Row(
        'L2Loss(normalize=False, div_element=True)',
        'FeatureMSELoss()',
        '1',
        lambda b, c, h, w: 1,
        mean,
        FeatureMSELoss(),
    )


def torchdistill_rows() -> Iterator[Row]:
    from torchdistill.losses import mid_level

    where = dict(
        student_module_path='x', student_module_io='output',
        teacher_module_path='x', teacher_module_io='output',
    )  # fmt: skip
    pair = dict(student=dict(path='x', io='output'), teacher=dict(path='x', io='output'))

    def call(loss: nn.Module, *args: Tensor) -> Loss:
        return lambda s, t: loss({'x': {'output': s}}, {'x': {'output': t}}, *args)

    soft = mid_level.KDLoss(temperature=4, alpha=0, **where)
    both = mid_level.KDLoss(temperature=4, alpha=0.5, **where)

    def soft_part(student: Tensor, teacher: Tensor) -> Tensor:
        labels = teacher.argmax(dim=1)
        hard = 0.5 * functional.cross_entropy(student, labels)
        return call(both, labels)(student, teacher) - hard

    yield Row(
        'KDLoss(T, alpha=0), or without targets',
        'LogitKDLoss(tau=T)',
        'H W / T^2',
        lambda b, c, h, w: h * w / 16,
        call(soft),
        LogitKDLoss(tau=4),
    )
    yield Row(
        'KDLoss(T, alpha) with targets',
        'LogitKDLoss(tau=T)',
        '(1 - alpha) H W',
        lambda b, c, h, w: 0.5 * h * w,
        soft_part,
        LogitKDLoss(tau=4),
    )
    for mode, distance in (('code', 'mse'), ('paper', 'l2')):
        loss = mid_level.ATLoss(dict(pair=pair), mode=mode)
        yield Row(
            f'ATLoss(mode={mode!r})',
            f'ActivationATLoss(distance={distance!r})',
            '1',
            lambda b, c, h, w: 1,
            call(loss),
            ActivationATLoss(distance=distance),
        )


def kornia_rows() -> Iterator[Row]:
    from kornia.losses import kl_div_loss_2d

    def spread(x: Tensor, tau: float) -> Tensor:
        return (x.flatten(2) / tau).softmax(dim=2).view_as(x)

    for reduction, formula, factor in (
        ('mean', '1 / T^2', lambda b, c, h, w: 1 / 16),
        ('sum', 'B C / T^2', lambda b, c, h, w: b * c / 16),
    ):
        yield Row(
            f'kl_div_loss_2d(reduction={reduction!r}) of softmaxes over H W of x / T',
            'CWDLoss(tau=T)', formula, factor,
            lambda s, t, r=reduction: kl_div_loss_2d(spread(s, 4), spread(t, 4), reduction=r),
            CWDLoss(tau=4),
        )  # fmt: skip


def ultralytics_rows() -> Iterator[Row]:
    from ultralytics.nn.distill_model import DistillationModel

    def theirs(student: Tensor, teacher: Tensor) -> Tensor:
        scores = teacher.flatten(2).sigmoid().amax(dim=1, keepdim=True)
        return DistillationModel.loss_sl2(None, student, teacher, 0, (scores,))

    # Any class scores do for a comparison: here the teacher's feature itself.
    ours = FRSFeatureLoss()
    yield Row(
        'DistillationModel.loss_sl2, a level',
        'FRSFeatureLoss()',
        '1 / C',
        lambda b, c, h, w: 1 / c,
        theirs,
        lambda s, t: ours(s, t, t),
    )


TOOLKITS = dict(
    mmrazor=mmrazor_rows, torchdistill=torchdistill_rows, kornia=kornia_rows,
    ultralytics=ultralytics_rows,
)  # fmt: skip


def features() -> tuple[Tensor, Tensor]:
    """Return what the heads of two SegFormer-B0 make of four StreetScenes images, in float64.

    Weights are random. The maps (4, 256, 48, 64) leave the head's fusion convolution.
    """
    config = load_config(TEACHER)
    init_default_scope(config.default_scope)
    dataset = DATASETS.build(config.val_dataloader.dataset)
    items = [dataset[index] for index in range(4)]
    maps = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = build_network(config)
        data = dict(
            inputs=[x['inputs'] for x in items], data_samples=[x['data_samples'] for x in items]
        )
        handle = network.decode_head.fusion_conv.register_forward_hook(
            lambda module, args, output: maps.append(output.double().contiguous())
        )
        with torch.no_grad():
            network(network.data_preprocessor(data)['inputs'], mode='tensor')
        handle.remove()
    return maps[0], maps[1]


def measure_factor(row: Row, student: Tensor, teacher: Tensor) -> tuple[float, float]:
    """Return the factor that fits the two gradients best, and what it leaves, of theirs."""
    gradients = []
    for loss in (row.their_loss, row.our_loss):
        x = student.clone().requires_grad_()
        gradients.append(torch.autograd.grad(loss(x, teacher), x)[0])
    theirs, ours = gradients
    factor = (theirs * ours).sum() / ours.square().sum()
    return factor.item(), ((theirs - factor * ours).norm() / theirs.norm()).item()


def print_losses() -> None:
    torch.manual_seed(0)
    pairs = dict(
        noise=(torch.randn(4, 16, 24, 32).double(), torch.randn(4, 16, 24, 32).double()),
        large=(torch.randn(2, 11, 48, 64).double(), torch.randn(2, 11, 48, 64).double()),
        features=features(),
    )
    sizes = ' | '.join(f'{name} {tuple(pair[0].shape)}' for name, pair in pairs.items())
    print(f'| theirs | ours | f | {sizes} | largest rest |\n' + '| --- ' * 7 + '|')
    wrong = []
    for toolkit, rows in TOOLKITS.items():
        if importlib.util.find_spec(toolkit) is None:
            print(f'{toolkit} is not installed', file=sys.stderr)
            continue
        for row in rows():
            cells, rests = [], []
            for student, teacher in pairs.values():
                factor, rest = measure_factor(row, student, teacher)
                expected = row.factor(*student.shape)
                cells.append(f'{factor:.6g}')
                rests.append(max(rest, abs(factor / expected - 1)))
            name = f'{toolkit} `{row.theirs}`'
            print(
                f'| {name} | `{row.ours}` | {row.formula} | {" | ".join(cells)} '
                f'| {max(rests):.0e} |',
                flush=True,
            )
            if max(rests) > 1e-4:
                wrong.append(name)
    if wrong:
        raise UserError(f'{", ".join(wrong)}: the factor is not its formula')


def main() -> None:
    argparse.ArgumentParser(
        allow_abbrev=False,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    torch.set_num_threads(1)
    print_losses()


if __name__ == '__main__':
    run_tool(main)
