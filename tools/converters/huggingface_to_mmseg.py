"""Convert a Hugging Face SegFormer folder into MMSegmentation's OUT.py and OUT.pth.

FOLDER is what SegformerForSemanticSegmentation.save_pretrained writes: config.json and
model.safetensors (or pytorch_model.bin).
"""

# Before PyTorch: mmkd sets how OpenMP's threads wait.
import mmkd  # noqa: F401  # isort: skip

import argparse
import io

import torch
from mmengine.config import Config

from mmkd.checkpoints.atomic_files import write_atomically
from mmkd.cli.arguments import add_trust_argument
from mmkd.cli.run_tool import run_tool
from mmkd.openmmlab.huggingface_segformer import load_folder
from mmkd.teachers import build_teacher_network


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', metavar='FOLDER', help='folder with config.json and the weights')
    parser.add_argument('out', metavar='OUT', help='path of the files to write, without suffix')
    add_trust_argument(parser)
    args = parser.parse_args()
    built = build_teacher_network(dict(huggingface=args.folder))
    config = dict(default_scope='mmseg', model=load_folder(args.folder).model)
    meta = {}
    if built.classes is not None:
        config['metainfo'] = dict(classes=built.classes)
        meta['dataset_meta'] = dict(classes=built.classes)
    buffer = io.BytesIO()
    torch.save(dict(state_dict=built.network.state_dict(), meta=meta), buffer)
    write_atomically(f'{args.out}.pth', buffer.getvalue())
    write_atomically(f'{args.out}.py', Config(config).pretty_text.encode())
    classes = built.network.decode_head.num_classes
    print(f'{args.out}.py and {args.out}.pth: SegFormer, {classes} classes')


if __name__ == '__main__':
    run_tool(main)
