"""Convert published YOLO11 weights into a checkpoint of configs/_base_/models/yolo11_*.py.

SRC is a plain state dict. The published .pt files hold whole pickled models, which are not opened
here. Where the reference is installed, save the weights with
torch.save(YOLO('yolo11s.pt').model.state_dict(), 'SRC').
"""

# Before PyTorch: mmkd sets how OpenMP's threads wait.
import mmkd  # noqa: F401  # isort: skip

import argparse
import io

import torch

from mmkd.checkpoints.atomic_files import write_atomically
from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.cli.arguments import add_trust_argument
from mmkd.cli.run_tool import run_tool
from mmkd.errors import UserError
from mmkd.models.yolo11.published_weights import convert_weights


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('src', metavar='SRC', help='state dict with the published names')
    parser.add_argument('dst', metavar='DST', help='checkpoint to write')
    add_trust_argument(parser)
    args = parser.parse_args()
    published = load_checkpoint_file(args.src)
    if not isinstance(published, dict):
        raise UserError(f'{args.src} holds a {type(published).__name__}: expected a state dict')
    try:
        scale, weights = convert_weights(published)
    except UserError as error:
        raise UserError(f'{args.src}: {error}') from None
    buffer = io.BytesIO()
    torch.save({'state_dict': weights, 'meta': {}}, buffer)
    write_atomically(args.dst, buffer.getvalue())
    classes = len(weights['bbox_head.class_branches.0.2.bias'])
    print(f'{args.dst}: YOLO11-{scale}, {classes} classes')


if __name__ == '__main__':
    run_tool(main)
