"""Write a student as ONNX or TorchScript, and check the file against PyTorch."""

import argparse
import tempfile
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from mmengine.config import Config
from torch import Tensor, nn

from mmkd.checkpoints.atomic_files import write_atomically
from mmkd.config.student import innermost_dataset
from mmkd.config.types import type_name
from mmkd.deploy.evaluation import evaluation_images, exported_scores
from mmkd.deploy.export_files import (
    as_tuple,
    example_images,
    largest_difference,
    load_exported,
    write_int8,
    write_onnx,
    write_torchscript,
)
from mmkd.deploy.export_model import ExportModel, make_export_model
from mmkd.errors import UserError, one_line
from mmkd.openmmlab.preprocessing import Preprocessing
from mmkd.openmmlab.tasks import is_classifier, is_segmentor, segmentation_head
from mmkd.registry import DATASETS

# Tolerances for rounding: relative to the largest logit, share of labels, score in points.
LOGITS, LABELS, SCORE = 1e-3, 1e-3, 0.01
_TASKS = {
    ('logits',): 'segmentation',
    ('labels',): 'segmentation',
    ('boxes', 'scores'): 'detection',
    ('scores',): 'classification',
}


def export_graph(
    network: nn.Module, config: Config, trained: Config, args: argparse.Namespace, out: Path
) -> None:
    """Write the file that the command line asks for, once it agrees with PyTorch.

    Args:
        network: The trained network.
        config: The network's own config.
        trained: The config that trained it, for the images of a calibration.
        args: The command line's options.
        out: The file.

    Raises:
        UserError: An option does not fit the network, or the file differs from PyTorch.
    """
    preprocessing = Preprocessing.from_config(config.model.get('data_preprocessor'), testing=True)
    size = tuple(args.size) if args.size else preprocessing.padded(test_size(config))
    preprocessing.check_size(size, f'--size {size[0]} {size[1]}')
    module = make_export_model(network, preprocessing if args.preprocess else None, args.argmax)
    if args.evaluate and 'boxes' in module.outputs:
        raise UserError(
            '--evaluate: expected a segmentor or classifier, because a detector is exported '
            'without non-maximum suppression; leave it out'
        )
    facts = export_metadata(network, config, preprocessing, size, module.outputs)
    with tempfile.TemporaryDirectory() as folder:
        exact = Path(folder) / f'exact{out.suffix}'
        write = write_onnx if args.format == 'onnx' else write_torchscript
        write(module, exact, size, args.dynamic, facts)
        others = other_sizes(size, preprocessing.divisor) if args.dynamic else {}
        check_against_pytorch(module, exact, size, others.values())
        written, raw = exact, args.preprocess
        fits = (
            (lambda images: images)
            if args.dynamic
            else partial(check_image_size, size=size, raw=raw)
        )
        if args.int8:
            written = Path(folder) / 'int8.onnx'
            images = calibration_images(
                network, trained, args.calibration, preprocessing if raw else None
            )
            write_int8(exact, written, map(fits, images))
        if args.evaluate:
            predict = load_exported(written)
            file = {out.name: (lambda images: predict(fits(images)), raw)}
            evaluate(network, config, file, exact=not args.int8, argmax=args.argmax)
        write_atomically(out, written.read_bytes())
    print(f'{out}: {out.stat().st_size / 2**20:.1f} MiB, for {size[0]} x {size[1]} pixels')


def test_size(config: Config) -> tuple[int, int]:
    """Return height and width of the first test image, before padding."""
    sample = DATASETS.build(config.test_dataloader.dataset)[0]
    return tuple(sample['inputs'].shape[-2:])


def export_metadata(
    network: nn.Module,
    config: Config,
    preprocessing: Preprocessing,
    size: tuple[int, int],
    outputs: tuple[str, ...],
) -> dict:
    """Return what a caller of the file must know; see tools/deploy/infer.py."""
    metainfo = {}
    if config.get('test_dataloader'):
        metainfo = DATASETS.build(dict(config.test_dataloader.dataset, lazy_init=True)).metainfo
    return dict(
        task=_TASKS[outputs],
        size=size,
        classes=metainfo.get('classes'),
        palette=metainfo.get('palette'),
        mean=preprocessing.mean,
        std=preprocessing.std,
        rgb=preprocessing.rgb,
        pad_value=preprocessing.pad_value,
        keep_ratio=_TASKS[outputs] == 'detection' and not stretches_images(config),
        **prediction_rules(network),
    )


def stretches_images(config: Config) -> bool:
    """Return whether a config's test images are resized without keeping their aspect."""
    loader = config.get('test_dataloader')
    steps = innermost_dataset(loader.dataset).get('pipeline') or [] if loader else []
    return any(
        type_name(step['type']) == 'Resize'
        and step.get('scale') is not None
        and not step.get('keep_ratio', False)
        for step in steps
    )


def prediction_rules(network: nn.Module) -> dict:
    """Return what makes labels of a segmentor's logits, or chooses among a detector's boxes."""
    if is_classifier(network):
        return {}
    if is_segmentor(network):
        head = segmentation_head(network)
        return dict(
            threshold=head.threshold if head.out_channels == 1 else None,
            align_corners=bool(head.align_corners),
        )
    rules = network.bbox_head.test_cfg or {}
    overlap, most = (rules.get('nms') or {}).get('iou_threshold'), rules.get('max_per_img', -1)
    limits = {} if overlap is None else dict(nms_iou=float(overlap))
    return limits | dict(max_boxes=most if most > 0 else None)


def calibration_images(
    network: nn.Module, config: Config, count: int, raw: Preprocessing | None
) -> Iterator[Tensor]:
    """Yield training images, prepared in the same way as test images."""
    pipeline = innermost_dataset(config.test_dataloader.dataset).pipeline
    dataset = dict(innermost_dataset(config.train_dataloader.dataset), pipeline=pipeline)
    return evaluation_images(network, dict(config.train_dataloader, dataset=dataset), count, raw)


def other_sizes(size: tuple[int, int], divisor: int) -> dict[str, tuple[int, int]]:
    """Return a smaller, a larger and an odd size that differ from ``size`` in both sides.

    All are multiples of ``divisor``; the odd one is an odd multiple. There is none that is smaller
    than ``divisor``.
    """
    height, width = (side // divisor for side in size)
    smaller = height // 2 * divisor, width // 2 * divisor
    larger = (height + max(1, 32 // divisor)) * divisor, (width + max(1, 64 // divisor)) * divisor
    odd = (height | 1) * divisor + 2 * divisor, (width | 1) * divisor + 4 * divisor
    sizes = dict(smaller=smaller, larger=larger, odd=odd)
    return {name: other for name, other in sizes.items() if min(other)}


def check_against_pytorch(
    module: ExportModel, path: Path, size: tuple[int, int], others: Iterable[tuple[int, int]]
) -> None:
    """Print how much the file's outputs differ from PyTorch's on the same images.

    Args:
        module: The network.
        path: The file.
        size: Height and width of the images that the file was made with.
        others: Sizes to check too, with two images at a time. A size that the network itself does
            not take is named and left out.

    Raises:
        UserError: They differ by more than rounding, or the file fails at a size.
    """
    predict = load_exported(path)
    for batch, shape in [(1, size), *((2, other) for other in others)]:
        images, where = example_images(module, shape, batch), f'{batch} x {shape[0]} x {shape[1]}'
        try:
            expected = as_tuple(module(images))
        except (RuntimeError, ValueError, AssertionError) as error:
            print(f'{where}: not checked, PyTorch itself fails ({one_line(error)})')
            continue
        try:
            found = predict(images)
        except Exception as error:  # each runtime has exceptions of its own
            raise UserError(f'{where}: the file cannot be run ({one_line(error)})') from None
        for name, a, b in zip(module.outputs, expected, found, strict=True):
            check_output(f'{name} of {where}', a, b)


def check_output(where: str, expected: Tensor, found: Tensor) -> None:
    """Print how much an output differs from PyTorch's.

    Raises:
        UserError: It differs by more than rounding.
    """
    if not expected.is_floating_point():
        share = (expected != found).float().mean().item()
        print(f'{where}: {share:.3%} of the pixels differ from PyTorch')
        if share > LABELS:
            raise UserError(
                f'{where}: the file differs from PyTorch in {share:.3%}; it is not written'
            )
        return
    difference, largest = largest_difference(expected, found), expected.abs().max().item()
    print(f'{where}: differs from PyTorch by at most {difference:.1e}; largest value {largest:.3g}')
    if not difference <= LOGITS * max(largest, 1.0):  # neither is NaN
        raise UserError(
            f'{where}: the file differs from PyTorch by {difference:.1e}; it is not written'
        )


def check_image_size(images: Tensor, size: tuple[int, int], raw: bool) -> Tensor:
    """Return the images; a file without ``--dynamic`` takes only one size.

    Raises:
        UserError: They have another size.
    """
    found = tuple(images.shape[1:3] if raw else images.shape[2:])
    if found != size:
        raise UserError(
            f'an image is {found[0]} x {found[1]}: expected {size[0]} x {size[1]}, the size of the '
            'file; give --dynamic, or leave out --size, --evaluate and --int8'
        )
    return images


def evaluate(
    network: nn.Module, config: Config, predictors: dict, exact: bool, argmax: bool = False
) -> None:
    """Print the score of PyTorch and of the file on the test data.

    Where annotations have another size than the images, resized labels score otherwise than resized
    logits. A file of labels (``argmax``) is therefore compared with PyTorch's labels. Raw images
    are padded by a rounded colour; a file of such images is compared with PyTorch on the same.

    Raises:
        UserError: ``exact`` is set and they differ by more than rounding.
    """
    preprocessing = Preprocessing.from_config(config.model.get('data_preprocessor'), testing=True)
    own = {'PyTorch': (make_export_model(network), False)}
    if argmax:
        own['PyTorch, labels'] = make_export_model(network, argmax=True), False
    if preprocessing.pads and any(takes_raw for _, takes_raw in predictors.values()):
        own['PyTorch, rounded padding'] = make_export_model(network, preprocessing, argmax), True
    own = {
        name: (lambda images, form=form: (form(images),), raw) for name, (form, raw) in own.items()
    }
    metrics = exported_scores(network, config, own | predictors)
    wanted = 'accuracy/top1' if is_classifier(network) else 'mIoU'
    scores = {name: metric[wanted] for name, metric in metrics.items()}
    for name, score in scores.items():
        print(f'{name}: {wanted} {score:.2f}')
    compared = [list(own)[-1], *predictors]
    found = [scores[name] for name in compared]
    # The scores have two decimals in float32: 18.27 - 18.26 is more than 0.01.
    if exact and not round(float(max(found) - min(found)), 4) <= SCORE:
        raise UserError(
            f'the {wanted} of the file differs from that of PyTorch: {scores}; it is not written'
        )
