"""What distillation terms cost: the training step against its floor, in one run.

The floor is what any distillation must do: the teacher's pass that the terms read (up to its last
tap; through its loss and back for `input_gradient`) and the student's own training step. That step
alone, the floor, and the step with terms are timed in turn, so that other work on the machine
meets all of them, and compared by their medians. Weights are random; the data are noise.

Of one config every term is timed, and all of them together; of several, each with all its terms.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData, PixelData
from mmseg.structures import SegDataSample

from mmkd.configs import is_distillation, load_config, model_config
from mmkd.distiller import Distiller
from mmkd.engine.launch import run_tool
from mmkd.engine.timing import median_ms
from mmkd.errors import UserError
from mmkd.registry import MODELS


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='+', help='distillation configs of one student')
    parser.add_argument('--size', type=int, nargs=2, default=[192, 256], metavar=('H', 'W'))
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--repeats', type=int, default=15, help='timed steps of each kind')
    parser.add_argument('--threads', type=int, help="PyTorch's CPU threads")
    return parser.parse_args()


def noise_labels(
    student: dict, count: int, size: tuple[int, int], generator: torch.Generator
) -> list[SegDataSample] | list[DetDataSample]:
    """Annotations of ``count`` images of ``size`` for the student that a config describes.

    A segmentor gets a class for every pixel, a detector twenty boxes of its first class.
    """
    if 'decode_head' in student:
        classes = student.decode_head.num_classes
        labels = torch.randint(classes, (count, 1, *size), generator=generator)
        return [SegDataSample(gt_sem_seg=PixelData(data=x)).to(get_device()) for x in labels]
    scale = torch.tensor([size[1], size[0], size[1], size[0]])
    corners = torch.rand(count, 20, 2, 2, generator=generator).sort(dim=2).values
    info = dict(
        img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size, scale_factor=(1, 1)
    )
    instances = [
        InstanceData(bboxes=boxes, labels=torch.zeros(20, dtype=torch.long))
        for boxes in corners.flatten(2) * scale
    ]
    return [
        DetDataSample(gt_instances=i, ignored_instances=i[:0], metainfo=info).to(get_device())
        for i in instances
    ]


def terms_of(config: Config) -> dict:
    """The config's terms, at their full weight."""
    terms = config.model.distill.items()
    return {name: dict(term, schedule=None) for name, term in terms if term is not None}


def rows_of(configs: dict[str, Config]) -> dict[str, tuple[Config, dict]]:
    """Config and terms of every row to time, by its name."""
    rows = {name: (config, terms_of(config)) for name, config in configs.items()}
    if len(rows) > 1:
        return rows
    ((config, terms),) = rows.values()
    rows = {name: (config, {name: term}) for name, term in terms.items()}
    return rows if len(rows) == 1 else rows | {'all': (config, terms)}


def build(config: Config, terms: dict) -> Distiller:
    model = config.model.copy()
    with tempfile.NamedTemporaryFile(suffix='.pth') as file:
        teacher = MODELS.build(model_config(load_config(model.teacher.config)))
        torch.save(teacher.state_dict(), file.name)
        model.teacher = dict(config=model.teacher.config, checkpoint=file.name)
        model.distill = terms
        return MODELS.build(model).train().to(get_device())


def steps(distiller: Distiller, optim_config: dict, inputs: torch.Tensor, samples: list) -> dict:
    """The three kinds of step of one Distiller, each a callable."""
    optimizer = build_optim_wrapper(distiller, optim_config)

    def plain() -> None:
        losses = distiller.student(inputs, samples, mode='loss')
        optimizer.update_params(distiller.student.parse_losses(losses)[0])

    def floor() -> None:
        distiller.read_teacher(inputs, samples)
        plain()

    def distil() -> None:
        losses = distiller.loss(inputs, samples)
        optimizer.update_params(distiller.parse_losses(losses)[0])

    return dict(plain=plain, floor=floor, distil=distil)


def main() -> None:
    args = parse_args()
    configs = {Path(path).stem: load_config(path) for path in args.configs}
    for name, config in configs.items():
        if not is_distillation(config):
            raise UserError(f'{name} does not distil: model.type={config.model.type}')
    if args.threads:
        torch.set_num_threads(args.threads)
    height, width = args.size
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(args.batch, 3, height, width, generator=generator).to(get_device())

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
    print(
        f'{", ".join(configs)}, batch {args.batch}, {height}x{width}, {device}, '
        f'{torch.get_num_threads()} threads, PyTorch {torch.__version__}, '
        f'median of {args.repeats}\n'
    )
    print(
        '| terms | student alone, ms | floor, ms | with terms, ms | over the floor '
        '| of the student alone |\n| --- | --- | --- | --- | --- | --- |'
    )
    for name, (config, terms) in rows_of(configs).items():
        init_default_scope(config.default_scope)
        samples = noise_labels(config.model.student, args.batch, (height, width), generator)
        distiller = build(config, terms)
        times = median_ms(steps(distiller, config.optim_wrapper, inputs, samples), args.repeats)
        plain, floor, distil = times['plain'], times['floor'], times['distil']
        print(
            f'| {name} | {plain:.0f} | {floor:.0f} | {distil:.0f} | {distil / floor - 1:+.1%} '
            f'| {distil / plain:.2f} |',
            flush=True,
        )


if __name__ == '__main__':
    run_tool(main)
