"""Compare what runtimes compute from an exported student with what PyTorch computes.

Every runtime runs in a process of its own, on one thread, so that one that crashes ends nothing
else. Images are the first ones of the config's test data, resized to each size.
"""

# Before PyTorch: mmkd sets how OpenMP's threads wait.
import mmkd  # noqa: F401  # isort: skip

import argparse
import multiprocessing
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import onnx
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn
from torch.nn import functional

from mmkd.analysis.runtimes import RUNTIMES, Student, installed_runtimes
from mmkd.analysis.timing import median_ms
from mmkd.cli.arguments import positive
from mmkd.cli.export_graph import other_sizes
from mmkd.cli.run_tool import run_tool
from mmkd.config.load import load_config
from mmkd.config.student import model_config
from mmkd.deploy.evaluation import evaluation_batches
from mmkd.deploy.export_model import make_export_model
from mmkd.errors import UserError, one_line
from mmkd.metrics import ExactIoUMetric
from mmkd.openmmlab.inference import load_network
from mmkd.openmmlab.preprocessing import Preprocessing
from mmkd.openmmlab.tasks import is_segmentor

IGNORED = 255


@dataclass(frozen=True)
class Answer:
    """What a runtime computes at one size: outputs of every image, and milliseconds an image."""

    outputs: list[list[np.ndarray]]
    ms: float


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument('student', help='ONNX file of mmkd export, without --preprocess, --argmax')
    parser.add_argument('config', help='the config that the file was made of')
    parser.add_argument('checkpoint', help='the checkpoint that the file was made of')
    parser.add_argument('--images', type=positive, default=20, help='images of the test data')
    parser.add_argument('--repeats', type=positive, default=10, help='timed passes')
    return parser.parse_args()


def check_student(path: Path, outputs: tuple[str, ...]) -> tuple[int | None, int | None]:
    """Return the height and width of a file's images, None where they can change.

    Raises:
        UserError: The file does not take and return what the network does.
    """
    if not path.is_file():
        raise UserError(f'{path} does not exist; write it with mmkd export')
    graph = onnx.load(path).graph
    takes = graph.input[0].type.tensor_type
    if takes.elem_type != onnx.TensorProto.FLOAT or [x.name for x in graph.output] != list(outputs):
        raise UserError(
            f'{path}: expected float images and the outputs {", ".join(outputs)}; export it '
            'without --preprocess and --argmax'
        )
    return tuple(d.dim_value or None for d in takes.shape.dim[2:])


def read_images(
    network: nn.Module, config: Config, count: int
) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Return preprocessed images (1, 3, H, W) and labels (1, 1, H, W), None for a detector."""
    pairs = []
    for batch in evaluation_batches(config.test_dataloader, count):
        sample = batch['data_samples'][0]
        labels = sample.gt_sem_seg.data[None] if 'gt_sem_seg' in sample else None
        pairs.append((network.data_preprocessor(batch, False)['inputs'], labels))
    return pairs


def sizes_to_compare(fixed: tuple, pairs: list, config: Config) -> list[tuple[int, int]]:
    """Return the size that a file is made for; of a dynamic file, the data's and three others."""
    if None not in fixed:
        return [fixed]
    size = tuple(pairs[0][0].shape[2:])
    preprocessor = model_config(config).get('data_preprocessor')
    divisor = Preprocessing.from_config(preprocessor, testing=True).divisor
    return [size, *other_sizes(size, divisor).values()]


def resize(
    pairs: list, size: tuple[int, int]
) -> tuple[list[np.ndarray], list[torch.Tensor | None]]:
    """Return images (1, 3, H, W) and labels (H, W) of a size; labels of the nearest pixels."""
    images = [functional.interpolate(x, size, mode='bilinear').numpy() for x, _ in pairs]
    labels = [
        None if y is None else functional.interpolate(y.float(), size)[0, 0].long()
        for _, y in pairs
    ]
    return images, labels


def answer(name: str, student: Student, images: dict, repeats: int, pipe: Connection) -> None:
    """Send the runtime's answer for each size, or why there is none."""
    torch.set_num_threads(1)
    try:
        with redirect_stdout(sys.stderr):  # converters tell their progress
            predict = (loaded := RUNTIMES[name][1](student)).predict
    except Exception as error:  # each runtime has exceptions of its own
        pipe.send(one_line(error, 160))
        return
    pipe.send(loaded.size)
    for size, batch in images.items():
        try:
            outputs = [predict(x) for x in batch]
            ms = median_ms({name: lambda: predict(batch[0])}, repeats)[name]  # noqa: B023
            pipe.send((size, Answer(outputs, ms)))
        except Exception as error:
            pipe.send((size, one_line(error, 160)))
    pipe.send(None)


def ask(name: str, student: Student, images: dict, repeats: int) -> tuple[int, dict] | str:
    """Return bytes and answers by size of a runtime in its own process, or why there are none."""
    context = multiprocessing.get_context('fork')
    ours, theirs = context.Pipe()
    process = context.Process(target=answer, args=(name, student, images, repeats, theirs))
    process.start()
    theirs.close()
    answers = {}
    try:
        if isinstance(bytes_or_reason := ours.recv(), str):
            return bytes_or_reason
        while (found := ours.recv()) is not None:
            answers[found[0]] = found[1]
    except EOFError:
        process.join()
        reason = f'its process ends with {process.exitcode}'
        if not answers:
            return reason
        answers.update({size: reason for size in images if size not in answers})
    finally:
        process.join()
    return bytes_or_reason, answers


def class_ids(outputs: list[np.ndarray]) -> np.ndarray:
    """Return the class of each pixel, candidate box or image."""
    return outputs[-1].argmax(2 if outputs[-1].ndim == 3 else 1)


def mean_iou(predicted: list[np.ndarray], labels: list[torch.Tensor], classes: int) -> float:
    """Return the mIoU in percent, over the classes that occur."""
    areas = [
        ExactIoUMetric.intersect_and_union(torch.from_numpy(p[0]), y, classes, IGNORED)
        for p, y in zip(predicted, labels, strict=True)
    ]
    intersection, union = (sum(area[i] for area in areas).double() for i in (0, 1))
    return 100 * (intersection / union)[union > 0].mean().item()


def row(found: Answer, expected: Answer, labels: list[torch.Tensor | None]) -> list[str]:
    """Return the cells of an answer beside PyTorch's."""
    for ours, theirs in zip(expected.outputs, found.outputs, strict=True):
        shapes = [x.shape for x in ours], [x.shape for x in theirs]
        if shapes[0] != shapes[1]:
            return [f'outputs {shapes[1]} instead of {shapes[0]}', '', '', '']
    pairs = list(zip(expected.outputs, found.outputs, strict=True))
    differences = [
        max(np.abs(a[i] - b[i]).max() for a, b in pairs) for i in range(len(pairs[0][0]))
    ]
    ids = [(class_ids(a), class_ids(b)) for a, b in pairs]
    share = np.mean([(a != b).mean() for a, b in ids])
    score = ''
    if labels[0] is not None:
        classes = expected.outputs[0][0].shape[1]
        score = f'{mean_iou([theirs for _, theirs in ids], labels, classes):.2f}'
    return [' / '.join(f'{x:.1e}' for x in differences), f'{share:.4%}', score, f'{found.ms:.1f}']


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    config = load_config(args.config)
    init_default_scope(config.get('default_scope', 'mmseg'))
    network = load_network(config, args.checkpoint)
    module = make_export_model(network)
    if is_segmentor(network) and network.out_channels == 1:
        raise UserError(
            'decode_head.out_channels=1: expected a logit a class, to compare classes; set it to '
            'the number of classes'
        )
    path = Path(args.student).expanduser()
    fixed = check_student(path, module.outputs)
    pairs = read_images(network, config, args.images)
    sizes = sizes_to_compare(fixed, pairs, config)
    resized = {size: resize(pairs, size) for size in sizes}
    images = {size: x for size, (x, _) in resized.items()}
    student = Student(path, module, torch.from_numpy(resized[sizes[0]][0][0]))
    print(f'{path.name}, {len(pairs)} images, one thread, median of {args.repeats}\n')
    what = ' / '.join(module.outputs)
    print(f'| runtime | size | {what} differ by at most | classes that differ | mIoU | ms | MiB |')
    print('|---|---|---|---|---|---|---|')
    expected = None
    for name, version in installed_runtimes().items():
        found = ask(name, student, images, args.repeats)
        if isinstance(found, str):
            print(f'| {name} {version} | | {found} | | | | |', flush=True)
            continue
        expected = expected or found[1]
        for size, answered in found[1].items():
            if isinstance(answered, Answer) and isinstance(expected[size], Answer):
                cells = row(answered, expected[size], resized[size][1])
            else:
                cells = [str(answered), '', '', '']
            shown = ' | '.join([f'{size[0]}x{size[1]}', *cells, f'{found[0] / 2**20:.1f}'])
            print(f'| {name} {version} | {shown} |', flush=True)


if __name__ == '__main__':
    run_tool(main)
