"""Export the student of a config as ONNX or TorchScript, and check the file against PyTorch."""

import argparse
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from mmkd.checkpoint import load_checkpoint_file, load_weights
from mmkd.configs import check_dataloaders, load_config, student_config
from mmkd.deploy.deployed import Deployed, deployed
from mmkd.deploy.evaluation import images_of, segmentation_scores
from mmkd.deploy.files import (
    as_tuple,
    example_images,
    largest_difference,
    read_exported,
    write_int8,
    write_onnx,
    write_torchscript,
)
from mmkd.engine.files import write_atomically
from mmkd.engine.launch import add_trust_argument, run_tool
from mmkd.errors import UserError
from mmkd.preprocessing import Preprocessing
from mmkd.registry import DATASETS, MODELS

SUFFIXES = {'onnx': '.onnx', 'torchscript': '.pt'}
# What rounding may come to: of the largest logit, of the labels, and of the mIoU in points.
LOGITS, LABELS, SCORE = 1e-3, 1e-3, 0.01


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument('config', help='of the distillation, of the student, or of any network')
    parser.add_argument('checkpoint', help="the student's, such as best.pth")
    parser.add_argument('--format', choices=list(SUFFIXES), default='onnx')
    parser.add_argument('--out', help='file to write (default: beside the checkpoint)')
    parser.add_argument(
        '--size', type=int, nargs=2, metavar=('H', 'W'), help='default: that of the test data'
    )
    parser.add_argument('--dynamic', action='store_true', help='batch, height and width may change')
    parser.add_argument(
        '--preprocess', action='store_true', help='the file takes uint8 images, BGR, (N, H, W, 3)'
    )
    parser.add_argument('--argmax', action='store_true', help='the file yields labels, not logits')
    parser.add_argument('--int8', action='store_true', help='quantise the ONNX file to 8 bits')
    parser.add_argument(
        '--calibration', type=int, default=100, help='training images that set the 8-bit ranges'
    )
    parser.add_argument(
        '--evaluate', action='store_true', help='score the file and PyTorch on the test data'
    )
    add_trust_argument(parser)
    return parser.parse_args()


def check_args(args: argparse.Namespace, config: Config) -> None:
    """Refuse what does not go together, before any work is done."""
    suffix = SUFFIXES[args.format]
    if args.out and Path(args.out).suffix != suffix:
        raise UserError(f'--out {args.out}: --format {args.format} is written as *{suffix}')
    if args.size and min(args.size) < 1:
        raise UserError(f'--size {args.size[0]} {args.size[1]}; allowed: pixels, 1 and above')
    if args.calibration < 1:
        raise UserError(f'--calibration {args.calibration}; allowed: 1 and above')
    if args.int8 and args.format != 'onnx':
        raise UserError('--int8 is for --format onnx')
    if args.int8 and 'train_dataloader' not in config:
        raise UserError(
            f'--int8 calibrates on train_dataloader, which {args.config} has not; '
            'give the config that trained the network'
        )
    if args.int8:
        check_dataloaders(config, 'train_dataloader')
    if args.evaluate or not args.size:
        if 'test_dataloader' not in config:
            raise UserError(f'{args.config} has no test_dataloader; give --size H W')
        check_dataloaders(config, 'test_dataloader')


def test_size(config: Config) -> tuple[int, int]:
    """Height and width of the first test image, before padding."""
    sample = DATASETS.build(config.test_dataloader.dataset)[0]
    return tuple(sample['inputs'].shape[-2:])


def facts_of(
    config: Config, preprocessing: Preprocessing, size: tuple[int, int], outputs: tuple[str, ...]
) -> dict:
    """What a caller of the file must know; see tools/deploy/infer.py."""
    metainfo = {}
    if 'test_dataloader' in config:
        metainfo = DATASETS.build(dict(config.test_dataloader.dataset, lazy_init=True)).metainfo
    return dict(
        task='detection' if 'boxes' in outputs else 'segmentation',
        size=size,
        classes=metainfo.get('classes'),
        palette=metainfo.get('palette'),
        mean=preprocessing.mean,
        std=preprocessing.std,
        rgb=preprocessing.rgb,
        pad_value=preprocessing.pad_value,
    )


def calibration_images(
    network: nn.Module, config: Config, count: int, raw: bool
) -> Iterator[Tensor]:
    """Training images, prepared as test images are."""
    pipeline = config.test_dataloader.dataset.pipeline
    dataset = dict(config.train_dataloader.dataset, pipeline=pipeline)
    return images_of(network, dict(config.train_dataloader, dataset=dataset), count, raw)


def check_against_pytorch(
    module: Deployed, path: Path, size: tuple[int, int], dynamic: bool
) -> None:
    """Print how far the file's outputs are from PyTorch's on the same images.

    Raises:
        UserError: too far for rounding.
    """
    predict = read_exported(path)
    sizes = [(1, size)]
    if dynamic:
        sizes.append((2, (size[0] + 32, size[1] + 64)))
    for batch, shape in sizes:
        images = example_images(module, shape, batch)
        for name, a, b in zip(
            module.outputs, as_tuple(module(images)), predict(images), strict=True
        ):
            where = f'{name} of {batch} x {shape[0]} x {shape[1]}'
            if name == 'labels':
                share = (a != b).float().mean().item()
                print(f'{where}: {share:.3%} of the pixels differ from PyTorch')
                if share > LABELS:
                    raise UserError(f'{where}: the file differs from PyTorch in {share:.3%}')
                continue
            difference, largest = largest_difference(a, b), a.abs().max().item()
            print(f'{where}: at most {difference:.1e} from PyTorch, of values to {largest:.3g}')
            if not difference <= LOGITS * max(largest, 1.0):  # neither is NaN
                raise UserError(f'{where}: the file differs from PyTorch by {difference:.1e}')


def of_size(images: Tensor, size: tuple[int, int], raw: bool) -> Tensor:
    """The images, which a file without ``--dynamic`` takes at one size only.

    Raises:
        UserError: they have another.
    """
    found = tuple(images.shape[1:3] if raw else images.shape[2:])
    if found != size:
        raise UserError(
            f'the data hold an image of {found[0]} x {found[1]}, the file takes {size[0]} x '
            f'{size[1]}; give --dynamic, or leave out --size, --evaluate and --int8'
        )
    return images


def evaluate(network: nn.Module, config: Config, predictors: dict, exact: bool) -> None:
    """Print the mIoU of PyTorch and of the file on the test data.

    Raises:
        UserError: ``exact``, and they differ by more than rounding.
    """
    own = deployed(network)
    predictors = {'PyTorch': (lambda images: (own(images),), False), **predictors}
    metrics = segmentation_scores(network, config, predictors)
    scores = {name: metric['mIoU'] for name, metric in metrics.items()}
    for name, score in scores.items():
        print(f'{name}: mIoU {score:.2f}')
    if exact and not max(scores.values()) - min(scores.values()) <= SCORE:
        raise UserError(f'the mIoU of the file is not that of PyTorch: {scores}')


def main() -> None:
    args = parse_args()
    trained = load_config(args.config)
    check_args(args, trained)
    config = student_config(trained)
    init_default_scope(config.get('default_scope', 'mmseg'))
    preprocessing = Preprocessing.from_config(config.model.get('data_preprocessor'))
    size = tuple(args.size) if args.size else preprocessing.padded(test_size(config))
    preprocessing.check_size(size, f'--size {size[0]} {size[1]}')
    network = MODELS.build(config.model).eval()
    load_weights(network, load_checkpoint_file(args.checkpoint), f'checkpoint {args.checkpoint}')
    module = deployed(network, preprocessing if args.preprocess else None, args.argmax)
    if args.evaluate and 'boxes' in module.outputs:
        raise UserError('--evaluate is for segmentors: the suppression of boxes is not in the file')
    facts = facts_of(config, preprocessing, size, module.outputs)
    suffix = SUFFIXES[args.format]
    out = Path(args.out or Path(args.checkpoint).with_name('student' + suffix))
    with tempfile.TemporaryDirectory() as folder:
        exact = Path(folder) / f'exact{suffix}'
        write = write_onnx if args.format == 'onnx' else write_torchscript
        write(module, exact, size, args.dynamic, facts)
        check_against_pytorch(module, exact, size, args.dynamic)
        written, raw = exact, args.preprocess
        fits = (lambda images: images) if args.dynamic else partial(of_size, size=size, raw=raw)
        if args.int8:
            written = Path(folder) / 'int8.onnx'
            images = calibration_images(network, trained, args.calibration, raw)
            write_int8(exact, written, map(fits, images))
        if args.evaluate:
            predict = read_exported(written)
            file = {out.name: (lambda images: predict(fits(images)), raw)}
            evaluate(network, config, file, exact=not args.int8)
        write_atomically(out, written.read_bytes())
    print(f'{out}: {out.stat().st_size / 2**20:.1f} MiB, for {size[0]} x {size[1]} pixels')


if __name__ == '__main__':
    run_tool(main)
