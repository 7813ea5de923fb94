"""Export the student of a config: ONNX or TorchScript, checked against PyTorch, or its weights."""

import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmkd.checkpoints.load_weights import load_weights
from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.checkpoints.write_safetensors import write_safetensors
from mmkd.cli.arguments import add_trust_argument
from mmkd.config.checks.data import check_dataloaders
from mmkd.config.checks.sections import check_library
from mmkd.config.load import load_config
from mmkd.config.student import student_config
from mmkd.errors import UserError
from mmkd.registry import MODELS

SUFFIXES = {'onnx': '.onnx', 'torchscript': '.pt', 'safetensors': '.safetensors'}
# Options that change what a file computes, which weights alone do not.
_OF_GRAPHS = ('size', 'dynamic', 'preprocess', 'argmax', 'int8', 'evaluate')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument(
        'config', help='config of the distillation, of the student or of any network'
    )
    parser.add_argument('checkpoint', help="the student's checkpoint, such as best.pth")
    parser.add_argument(
        '--format', choices=list(SUFFIXES), default='onnx', help='kind of file (default: onnx)'
    )
    parser.add_argument('--out', help='file to write (default: beside the checkpoint)')
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        metavar=('H', 'W'),
        help='image size (default: the size of the test data)',
    )
    parser.add_argument(
        '--dynamic', action='store_true', help='the file takes any batch size, height and width'
    )
    parser.add_argument(
        '--preprocess',
        action='store_true',
        help='the file takes raw images: uint8, BGR, (B, H, W, 3)',
    )
    parser.add_argument('--argmax', action='store_true', help='the file returns labels, not logits')
    parser.add_argument('--int8', action='store_true', help='quantise the ONNX file to 8 bits')
    parser.add_argument(
        '--calibration',
        type=int,
        default=100,
        help='number of training images that calibrate --int8',
    )
    parser.add_argument(
        '--evaluate',
        action='store_true',
        help='compare the scores of the file and of PyTorch on the test data',
    )
    add_trust_argument(parser)
    return parser.parse_args()


def output_file(args: argparse.Namespace) -> Path:
    """Return the file to write."""
    return Path(args.out or Path(args.checkpoint).with_name('student' + SUFFIXES[args.format]))


def check_args(args: argparse.Namespace, config: Config) -> None:
    """Check that the arguments fit each other, before any work is done."""
    suffix = SUFFIXES[args.format]
    if args.out and Path(args.out).suffix != suffix:
        raise UserError(f'--out {args.out}: expected *{suffix} with --format {args.format}')
    out = output_file(args)
    if out.resolve() == Path(args.checkpoint).resolve():
        raise UserError(f'--out {out}: expected another file than the checkpoint; name another')
    if args.size and min(args.size) < 1:
        raise UserError(f'--size {args.size[0]} {args.size[1]}: expected two integers >= 1')
    if args.calibration < 1:
        raise UserError(f'--calibration {args.calibration}: expected an integer >= 1')
    if args.format == 'safetensors':
        for option in _OF_GRAPHS:
            if getattr(args, option):
                raise UserError(f'--{option}: expected --format onnx or torchscript')
        return
    if args.int8 and args.format != 'onnx':
        raise UserError('--int8: expected --format onnx')
    if args.int8 and not config.get('train_dataloader'):
        raise UserError(
            f'--int8: expected a train_dataloader in {args.config} for calibration; give the '
            'config that trained the network'
        )
    if args.int8:
        check_dataloaders(config, 'train_dataloader')
    if args.evaluate or args.int8 or not args.size:
        if not config.get('test_dataloader'):
            hint = 'leave out --evaluate and --int8' if args.size else 'give --size H W'
            raise UserError(f'{args.config}: expected a test_dataloader; {hint}')
        check_dataloaders(config, 'test_dataloader')


def main() -> None:
    args = parse_args()
    trained = load_config(args.config)
    check_args(args, trained)
    config = student_config(trained)
    check_library(config)
    init_default_scope(config.get('default_scope', 'mmseg'))
    network = MODELS.build(config.model).eval()
    load_weights(network, load_checkpoint_file(args.checkpoint), f'checkpoint {args.checkpoint}')
    out = output_file(args)
    if args.format == 'safetensors':
        write_safetensors(out, network.state_dict())
        print(f'{out}: {out.stat().st_size / 2**20:.1f} MiB of weights, under their own names')
        return
    # Here, because it needs the extra `deploy`, which weights do not.
    from mmkd.cli.export_graph import export_graph

    export_graph(network, config, trained, args, out)
