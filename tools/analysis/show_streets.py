"""Write a contact sheet of StreetScenes: images beside their labels, as one PNG."""

import argparse

import cv2
import numpy as np

from mmkd.checkpoints.atomic_files import write_atomically
from mmkd.cli.run_tool import run_tool
from mmkd.datasets.camvid_classes import PALETTE
from mmkd.datasets.street_scenes.renderer.renderer import SPLITS, render_street


def contact_sheet(
    split: str, start: int, count: int, size: tuple[int, int], columns: int, boxes: bool
) -> np.ndarray:
    """Return scenes ``start`` .. ``start + count - 1``, each beside its label in CamVid's colours.

    Args:
        split: Split of the scenes.
        start: Index of the first scene.
        count: Number of scenes.
        size: (height, width) of one picture, in pixels.
        columns: Scenes in a row.
        boxes: Whether to draw boxes into the pictures.

    Returns:
        BGR picture (rows * height, columns * 2 * width, 3); unused places are black.
    """
    palette = np.array(PALETTE, np.uint8)[:, ::-1]  # RGB to BGR
    cells = []
    for index in range(start, start + count):
        street = render_street(index, split, size)
        picture = street.image.copy()
        for box, label in zip(street.boxes.astype(int), street.box_labels, strict=True):
            if boxes:
                colour = palette[label].tolist()
                cv2.rectangle(picture, tuple(box[:2]), tuple(box[2:] - 1), colour, 1)
        cells.append(np.hstack([picture, palette[street.label]]))
    cells += [np.zeros_like(cells[0])] * (-count % columns)
    return np.vstack([np.hstack(cells[k : k + columns]) for k in range(0, len(cells), columns)])


def main() -> None:
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('out', help='PNG to write')
    parser.add_argument('--split', choices=SPLITS, default='train', help='split of the scenes')
    parser.add_argument('--start', type=int, default=0, help='index of the first scene')
    parser.add_argument('--count', type=int, default=20, help='number of scenes')
    parser.add_argument(
        '--size', type=int, nargs=2, default=(192, 256), metavar=('H', 'W'), help='pixels'
    )
    parser.add_argument('--columns', type=int, default=2, help='scenes in a row')
    parser.add_argument('--boxes', action='store_true', help='draw boxes into the pictures')
    args = parser.parse_args()
    if min(args.count, args.columns, *args.size) < 1 or args.start < 0:
        parser.error('expected --count, --columns and --size >= 1, and --start >= 0')
    sheet = contact_sheet(
        args.split, args.start, args.count, tuple(args.size), args.columns, args.boxes
    )
    write_atomically(args.out, cv2.imencode('.png', sheet)[1].tobytes())


if __name__ == '__main__':
    run_tool(main)
