"""What distillation terms cost: the training step against its floor, in one run.

The floor is what any distillation must do: the teacher's forward up to its last tap and the
student's own training step. Both are timed in turn, so that other work on the machine meets both,
and compared by their medians. Weights are random; the data are noise.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmkd.configs import is_distillation, load_config, model_config
from mmkd.distiller import Distiller
from mmkd.engine.launch import run_tool
from mmkd.errors import UserError
from mmkd.registry import MODELS


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument('config', help='distillation config')
    parser.add_argument('--size', type=int, nargs=2, default=[192, 256], metavar=('H', 'W'))
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--repeats', type=int, default=15, help='timed steps of each kind')
    parser.add_argument('--threads', type=int, help="PyTorch's CPU threads")
    return parser.parse_args()


def build(config: Config, terms: dict) -> Distiller:
    model = config.model.copy()
    with tempfile.NamedTemporaryFile(suffix='.pth') as file:
        teacher = MODELS.build(model_config(load_config(model.teacher.config)))
        torch.save(teacher.state_dict(), file.name)
        model.teacher = dict(config=model.teacher.config, checkpoint=file.name)
        model.distill = terms
        return MODELS.build(model).train().to(get_device())


def steps(distiller: Distiller, optim_config: dict, inputs: torch.Tensor, samples: list) -> dict:
    """The two kinds of step of one Distiller, each a callable."""
    optimizer = build_optim_wrapper(distiller, optim_config)

    def floor() -> None:
        distiller.read_teacher(inputs, samples)
        losses = distiller.student(inputs, samples, mode='loss')
        optimizer.update_params(distiller.student.parse_losses(losses)[0])

    def distil() -> None:
        losses = distiller.loss(inputs, samples)
        optimizer.update_params(distiller.parse_losses(losses)[0])

    return dict(floor=floor, distil=distil)


def median_ms(kinds: dict, repeats: int) -> dict[str, float]:
    """Median time of each callable, run in turn."""
    times = {kind: [] for kind in kinds}
    for repeat in range(repeats + 2):
        for kind, step in kinds.items():
            start = time.perf_counter()
            step()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if repeat >= 2:  # the first ones warm caches up
                times[kind].append((time.perf_counter() - start) * 1e3)
    return {kind: statistics.median(values) for kind, values in times.items()}


def main() -> None:
    args = parse_args()
    config = load_config(args.config)
    if not is_distillation(config):
        raise UserError(f'{args.config} does not distil: model.type={config.model.type}')
    init_default_scope(config.default_scope)
    if args.threads:
        torch.set_num_threads(args.threads)
    height, width = args.size
    classes = config.model.student.decode_head.num_classes
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(args.batch, 3, height, width, generator=generator).to(get_device())
    labels = torch.randint(classes, (args.batch, 1, height, width), generator=generator)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=x.to(get_device()))) for x in labels]

    terms = {name: term for name, term in config.model.distill.items() if term is not None}
    variants = {name: {name: term} for name, term in terms.items()}
    if len(terms) > 1:
        variants['all'] = terms
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
    print(
        f'{Path(args.config).stem}, batch {args.batch}, {height}x{width}, {device}, '
        f'{torch.get_num_threads()} threads, PyTorch {torch.__version__}, '
        f'median of {args.repeats}\n'
    )
    print('| terms | floor, ms | with terms, ms | over the floor |\n| --- | --- | --- | --- |')
    for name, chosen in variants.items():
        distiller = build(config, chosen)
        times = median_ms(steps(distiller, config.optim_wrapper, inputs, samples), args.repeats)
        over = times['distil'] / times['floor'] - 1
        print(
            f'| {name} | {times["floor"]:.0f} | {times["distil"]:.0f} | {over:+.1%} |', flush=True
        )


if __name__ == '__main__':
    run_tool(main)
