"""Compare mmkd with other distillation toolkits: their losses, and the time of a step.

    losses  the factor between a loss of theirs and mmkd's, on noise and on features
    time    a training step of mmrazor beside mmkd's, with the same attention term

Their loss with weight w has the gradient of mmkd's with weight f w. `losses` measures f in float64
and compares it with its formula; the exit status is 2 if they differ. A toolkit that is not
installed is left out: `pip install '.[toolkits]'`.
"""

# Before PyTorch: mmkd sets how OpenMP's threads wait.
import mmkd  # noqa: F401  # isort: skip

import argparse
import copy
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from unittest import mock

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from torch.nn import functional

from mmkd.analysis.timing import median_ms
from mmkd.analysis.training_step import build_distiller, noise_labels
from mmkd.cli.arguments import positive
from mmkd.cli.run_tool import run_tool
from mmkd.config.load import load_config, load_distillation
from mmkd.distillation.distiller import Distiller
from mmkd.errors import UserError
from mmkd.losses import (
    ActivationATLoss,
    CWDLoss,
    FeatureMSELoss,
    FRSFeatureLoss,
    LogitKDLoss,
)
from mmkd.openmmlab.inference import build_network
from mmkd.openmmlab.lean_heads import report_accuracy
from mmkd.registry import DATASETS, MODELS

FLAGSHIP = 'configs/segformer_fastscnn_freq.py'
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


def import_mmrazor() -> type[nn.Module]:
    """Import mmrazor's losses and return its algorithm for one teacher.

    mmrazor 1.0 accepts mmcv up to 2.1 only. Its packages import all of their modules, some of
    which fail with this PyTorch: here each package is empty, and distillation alone is imported.
    """
    import mmcv

    with mock.patch.object(mmcv, '__version__', '2.1.0'):
        import mmrazor
    name = 'mmrazor.models.algorithms.distill.configurable.single_teacher_distill'
    if name not in sys.modules:
        packages = [name.rsplit('.', depth)[0] for depth in (4, 3, 2, 1)]
        packages += [f'mmrazor.models.{p}' for p in ('architectures', 'distillers', 'task_modules')]
        for package in packages:
            empty = ModuleType(package)
            empty.__path__ = [str(Path(mmrazor.__file__).parent.joinpath(*package.split('.')[1:]))]
            sys.modules[package] = empty
        tasks = sys.modules['mmrazor.models.task_modules']
        tasks.RecorderManager = import_module(f'{tasks.__name__}.recorder').RecorderManager
        delivery = import_module(f'{tasks.__name__}.delivery')
        tasks.DistillDeliveryManager = delivery.DistillDeliveryManager
        import_module('mmrazor.models.distillers.configurable_distiller')
        import_module('mmrazor.models.losses')  # into its registry
    for registry in (mmrazor.registry.MODELS, mmrazor.registry.TASK_UTILS):
        registry._imported = True  # A look-up would import everything else.
    return import_module(name).SingleTeacherDistill


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


def print_losses(args: argparse.Namespace) -> None:
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


def mmrazor_algorithm(
    distiller: Distiller, config: Config, taps: tuple[str, str], loss: dict
) -> nn.Module:
    """Return mmrazor's algorithm on copies of a Distiller's networks.

    Args:
        distiller: Its weights are taken.
        config: The config that it was built from.
        taps: The module whose output is compared, of the student and of the teacher.
        loss: mmrazor's, of two features.
    """
    networks = []
    for settings, network in (
        (config.model.student, distiller.student),
        (load_config(config.model.teacher.config).model, distiller.teacher.network),
    ):
        plain = MODELS.build(copy.deepcopy(settings))
        plain.load_state_dict(network.state_dict())
        networks.append(plain)
    student, teacher = (dict(x=dict(type='mmrazor.ModuleOutputs', source=tap)) for tap in taps)
    algorithm = import_mmrazor()(
        distiller=dict(
            type='mmrazor.ConfigurableDistiller',
            student_recorders=student,
            teacher_recorders=teacher,
            distill_losses=dict(loss_x=loss),
            loss_forward_mappings=dict(
                loss_x={
                    f'{side}_feature': dict(from_student=side == 's', recorder='x') for side in 'st'
                }
            ),
        ),
        architecture=networks[0],
        teacher=networks[1],
    )
    algorithm.train()
    algorithm.teacher.eval()  # mmrazor leaves its dropout on.
    return algorithm


def print_time(args: argparse.Namespace) -> None:
    config = load_distillation(FLAGSHIP)
    init_default_scope(config.default_scope)
    # The same module as the student's tap of the flagship's term, by the name that mmrazor needs.
    taps = ('backbone.global_feature_extractor', 'decode_head.convs.3')
    term = dict(
        student=taps[0],
        teacher=taps[1],
        loss=dict(type='ActivationATLoss', distance='mse'),
        weight=1e3,
    )
    distiller = build_distiller(config, dict(attention=term))
    report_accuracy(distiller, False)
    their_loss = dict(type='mmrazor.ATLoss', loss_weight=1e3)
    models = dict(mmrazor=mmrazor_algorithm(distiller, config, taps, their_loss), mmkd=distiller)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (8, 3, 192, 256), generator=generator).byte()
    samples = noise_labels(config.model.student, 8, (192, 256), generator)
    data = dict(inputs=list(images), data_samples=samples)
    optimizers = {
        name: build_optim_wrapper(model, copy.deepcopy(config.optim_wrapper))
        for name, model in models.items()
    }

    def step(name: str) -> None:
        models[name].train_step(data, optimizers[name])
        if name == 'mmkd':
            distiller.forget_terms()  # as a hook does in training

    times = median_ms({name: partial(step, name) for name in models}, args.repeats)
    print('| step | ms | times as long as mmkd |\n| --- | --- | --- |')
    for name, time in times.items():
        print(f'| {name} | {time:.0f} | {time / times["mmkd"]:.2f} |')


def main() -> None:
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('table', choices=['losses', 'time'])
    parser.add_argument('--repeats', type=positive, default=7, help='timed steps of each toolkit')
    args = parser.parse_args()
    torch.set_num_threads(1)
    tables = dict(losses=print_losses, time=print_time)
    tables[args.table](args)


if __name__ == '__main__':
    run_tool(main)
