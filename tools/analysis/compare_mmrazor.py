"""Train with mmrazor and with mmkd, from the same weights and the same images.

    gradients  twenty iterations of both, with the weights that docs/from_mmrazor.md translates
    time       a training step of both, with the same attention term

`gradients` works in float64, since float32's rounding grows from step to step. Its exit status is
2 if the gradients of the two students differ by more than 1e-4 of their norm.
Needs mmrazor: `pip install -e '.[toolkits]'`.
"""

# Before PyTorch: mmkd sets how OpenMP's threads wait.
import mmkd  # noqa: F401  # isort: skip

import argparse
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope

from mmkd.analysis.mmrazor import mmrazor_algorithm
from mmkd.analysis.timing import median_ms
from mmkd.analysis.training_step import build_distiller, noise_labels
from mmkd.cli.arguments import positive
from mmkd.cli.run_tool import run_tool
from mmkd.config.load import load_distillation
from mmkd.errors import UserError
from mmkd.openmmlab.lean_heads import report_accuracy
from mmkd.registry import DATASETS

FLAGSHIP = 'configs/segformer_fastscnn_freq.py'
TEACHER = 'configs/teachers/segformer_b0_streets.py'
STUDENT = 'configs/students/fast_scnn_streets.py'
# The same modules as those of the flagship's first term, by the names that mmrazor needs.
ENCODER_TAPS = ('backbone.global_feature_extractor', 'decode_head.convs.3')


@dataclass
class Row:
    """One loss in both toolkits, with translated weights."""

    teacher: str
    taps: tuple[str, str]
    theirs: dict
    arguments: tuple[str, str]
    """The parameters of their loss, of the student and of the teacher."""
    ours: dict
    weight: float


def training_rows() -> Iterator[Row]:
    yield Row(
        TEACHER,
        ENCODER_TAPS,
        dict(type='mmrazor.ATLoss', loss_weight=1e3),
        ('s_feature', 't_feature'),
        dict(type='ActivationATLoss', distance='mse'),
        weight=1e3,
    )
    # mmrazor's losses need maps of one size: logits have it under a teacher with equal strides.
    logits = ('decode_head.conv_seg', 'decode_head.conv_seg')
    yield Row(
        STUDENT,
        logits,
        dict(type='mmrazor.ChannelWiseDivergence', tau=4, loss_weight=3.0),
        ('preds_S', 'preds_T'),
        dict(type='CWDLoss', tau=4),
        weight=3.0,
    )
    yield Row(
        STUDENT,
        logits,
        dict(type='mmrazor.KLDivergence', tau=4, loss_weight=1e-3),
        ('preds_S', 'preds_T'),
        dict(type='LogitKDLoss', tau=4),
        weight=1e-3 * 24 * 32,  # the logits' pixels, for images of 192x256
    )


def batch(dataset: torch.utils.data.Dataset, iteration: int, student: BaseModel) -> dict:
    """Return four preprocessed images, without ignored pixels: mmrazor counts those too."""
    items = [dataset[4 * iteration + index] for index in range(4)]
    data = {key: [item[key] for item in items] for key in ('inputs', 'data_samples')}
    data = student.data_preprocessor(data, training=True)
    for sample in data['data_samples']:
        labels = sample.gt_sem_seg.data
        labels[labels == 255] = 0
    return data


def largest_difference(row: Row, config: Config, dataset: torch.utils.data.Dataset) -> float:
    """Train for twenty iterations in both; return the gradients' difference, of their norm."""
    config.model.teacher.config = row.teacher
    torch.manual_seed(0)
    term = dict(student=row.taps[0], teacher=row.taps[1], loss=row.ours, weight=row.weight)
    distiller = build_distiller(config, dict(x=term)).double()
    distiller.teacher.network.double()
    algorithm = mmrazor_algorithm(distiller, config, row.taps, row.theirs, row.arguments).double()
    students = [(distiller, distiller.student), (algorithm, algorithm.architecture)]
    # Small, since at larger rates the training itself makes a difference of rounding grow.
    optimizer = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1e-4, momentum=0.9))
    optimizers = [build_optim_wrapper(model, copy.deepcopy(optimizer)) for model, _ in students]
    largest = 0.0
    for iteration in range(20):
        data = batch(dataset, iteration, distiller.student)
        gradients = []
        for (model, student), optimizer in zip(students, optimizers, strict=True):
            torch.manual_seed(iteration)  # of dropout
            losses = model(data['inputs'].double(), data['data_samples'], mode='loss')
            total, _ = model.parse_losses(losses)
            total.backward()
            gradients.append(torch.cat([p.grad.flatten() for p in student.parameters()]))
            optimizer.step()
            optimizer.zero_grad()
        distiller.forget_terms()  # as a hook does in training
        ours, theirs = gradients
        largest = max(largest, ((ours - theirs).norm() / theirs.norm()).item())
    return largest


def print_gradients() -> None:
    config = load_distillation(FLAGSHIP)
    init_default_scope(config.default_scope)
    dataset = DATASETS.build(config.train_dataloader.dataset)
    print('| mmrazor, w | mmkd, w | largest difference |\n| --- | --- | --- |')
    wrong = []
    for row in training_rows():
        difference = largest_difference(row, config, dataset)
        kind, weight = row.theirs['type'], row.theirs['loss_weight']
        print(
            f'| `{kind}`, {weight:g} | `{row.ours["type"]}`, {row.weight:g} | {difference:.0e} |',
            flush=True,
        )
        if difference > 1e-4:
            wrong.append(kind)
    if wrong:
        raise UserError(f'{", ".join(wrong)}: the gradients of the two toolkits differ')


def print_time(repeats: int) -> None:
    config = load_distillation(FLAGSHIP)
    init_default_scope(config.default_scope)
    term = dict(
        student=ENCODER_TAPS[0],
        teacher=ENCODER_TAPS[1],
        loss=dict(type='ActivationATLoss', distance='mse'),
        weight=1e3,
    )
    distiller = build_distiller(config, dict(attention=term))
    report_accuracy(distiller, False)
    their_loss = dict(type='mmrazor.ATLoss', loss_weight=1e3)
    names = ('s_feature', 't_feature')
    algorithm = mmrazor_algorithm(distiller, config, ENCODER_TAPS, their_loss, names)
    models = dict(mmrazor=algorithm, mmkd=distiller)
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

    times = median_ms({name: partial(step, name) for name in models}, repeats)
    print('| step | ms | times as long as mmkd |\n| --- | --- | --- |')
    for name, time in times.items():
        print(f'| {name} | {time:.0f} | {time / times["mmkd"]:.2f} |')


def main() -> None:
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('table', choices=['gradients', 'time'])
    parser.add_argument('--repeats', type=positive, default=7, help='timed steps of each toolkit')
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.table == 'gradients':
        print_gradients()
    else:
        print_time(args.repeats)


if __name__ == '__main__':
    run_tool(main)
