"""Draw where the teacher of an FRS distillation finds anything: each level's mask, as one PNG."""

import argparse

import cv2
import numpy as np

from mmkd.configs import load_config
from mmkd.engine.files import write_atomically
from mmkd.engine.launch import add_trust_argument, run_tool
from mmkd.errors import UserError
from mmkd.ops.feature_richness import feature_richness
from mmkd.visualization.distillation import score_taps
from mmkd.visualization.heat import draw_boxes, overlay
from mmkd.visualization.panel import panel, stack
from mmkd.visualization.reading import Reading, read_networks


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument('config', help='distillation config with an FRS term')
    parser.add_argument('out', help='PNG to write')
    parser.add_argument('--index', type=int, default=0, help='which validation image')
    add_trust_argument(parser)
    return parser.parse_args()


def boxes_in(reading: Reading) -> np.ndarray:
    """The image's boxes; validation pipelines leave them at the size of the file."""
    height, width = reading.image.shape[:2]
    rows, columns = reading.sample.ori_shape
    scale = np.array([width / columns, height / rows] * 2)
    return reading.sample.gt_instances.bboxes.cpu().numpy() * scale


def main() -> None:
    args = parse_args()
    reading = read_networks(load_config(args.config), None, args.index)
    terms = reading.distiller.distill.values()
    taps = list(dict.fromkeys(tap for term in terms for tap in score_taps(term)))
    if not taps:
        raise UserError(f'{args.config} has no term with FRSFeatureLoss or FRSHeadLoss')
    masks = {tap: feature_richness(reading.teacher.read(tap))[0] for tap in taps}
    peak = max(float(mask.max()) for mask in masks.values())
    pictures = {'image and its boxes': draw_boxes(reading.image, boxes_in(reading))}
    for tap, mask in masks.items():
        rows, columns = mask.shape
        title = f'{tap}  {rows}x{columns}  max {float(mask.max()):.2f}'
        pictures[title] = overlay(reading.image, reading.spread(mask), peak)
    titles = list(pictures)
    rows = [
        {title: pictures[title] for title in titles[i : i + 3]} for i in range(0, len(titles), 3)
    ]
    encoded = cv2.imencode('.png', stack([panel(row) for row in rows]))[1].tobytes()
    write_atomically(args.out, encoded)


if __name__ == '__main__':
    run_tool(main)
