"""Draw the mask of each level of an FRS distillation's teacher, as one PNG."""

import argparse

import cv2
import numpy as np

from mmkd.checkpoints.atomic_files import write_atomically
from mmkd.cli.arguments import add_trust_argument
from mmkd.cli.run_tool import run_tool
from mmkd.config.load import load_config
from mmkd.errors import UserError
from mmkd.ops.feature_richness import feature_richness
from mmkd.visualization.distillation import score_taps
from mmkd.visualization.inspection import Inspection, inspect_networks
from mmkd.visualization.overlay import draw_boxes, overlay
from mmkd.visualization.panel import panel, stack


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument('config', help='distillation config with an FRS term')
    parser.add_argument('out', help='PNG to write')
    parser.add_argument('--index', type=int, default=0, help='which validation image')
    add_trust_argument(parser)
    return parser.parse_args()


def boxes_in(inspection: Inspection) -> np.ndarray:
    """Return the boxes of the image; validation pipelines leave them at the size of the file."""
    height, width = inspection.image.shape[:2]
    rows, columns = inspection.sample.ori_shape
    scale = np.array([width / columns, height / rows] * 2)
    return inspection.sample.gt_instances.bboxes.cpu().numpy() * scale


def main() -> None:
    args = parse_args()
    inspection = inspect_networks(load_config(args.config), None, args.index)
    terms = inspection.distiller.distill.values()
    taps = list(dict.fromkeys(tap for term in terms for tap in score_taps(term)))
    if not taps:
        raise UserError(
            f'{args.config}: expected a term with FRSFeatureLoss, FRSHeadLoss or LocalizationKDLoss'
        )
    masks = {tap: feature_richness(inspection.teacher[tap])[0] for tap in taps}
    peak = max(float(mask.max()) for mask in masks.values())
    pictures = {'image and its boxes': draw_boxes(inspection.image, boxes_in(inspection))}
    for tap, mask in masks.items():
        rows, columns = mask.shape
        title = f'{tap}  {rows}x{columns}  max {float(mask.max()):.2f}'
        pictures[title] = overlay(inspection.image, inspection.upsample_to_image(mask), peak)
    titles = list(pictures)
    rows = [
        {title: pictures[title] for title in titles[i : i + 3]} for i in range(0, len(titles), 3)
    ]
    encoded = cv2.imencode('.png', stack([panel(row) for row in rows]))[1].tobytes()
    write_atomically(args.out, encoded)


if __name__ == '__main__':
    run_tool(main)
