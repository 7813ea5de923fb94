"""Draw what a distillation's terms look at and how they would change the student, as one PNG.

The rows: the attention maps of the teacher, those of the student, and the positions at which each
term's loss would change the student's feature.
"""

import argparse

import cv2
import numpy as np

from mmkd.checkpoints.atomic_files import write_atomically
from mmkd.cli.arguments import add_trust_argument
from mmkd.cli.run_tool import run_tool
from mmkd.config.load import load_config
from mmkd.distillation.recording import Recording
from mmkd.distillation.tap import Tap
from mmkd.distillation.term import Term
from mmkd.visualization.distillation import pull_maps, tap_map
from mmkd.visualization.inspection import Inspection, inspect_networks
from mmkd.visualization.overlay import overlay
from mmkd.visualization.panel import panel, stack


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument('config', help='distillation config')
    parser.add_argument('out', help='PNG to write')
    parser.add_argument('--checkpoint', help="the student's checkpoint; random weights if omitted")
    parser.add_argument('--index', type=int, default=0, help='which validation image')
    add_trust_argument(parser)
    return parser.parse_args()


def row(
    side: str, inspection: Inspection, taps: list[tuple[Term, Tap]], recording: Recording
) -> dict:
    """Return a picture for every tap of one network, by title.

    The title gives the map's coefficient of variation over positions: a map near 0 is blank, even
    if its colours look strong.
    """
    pictures = {f'{side} sees': inspection.image}
    for term, tap in taps:
        shown = tap_map(term, tap, recording[tap])
        if shown is None:
            continue
        attention = inspection.crop(shown[0])
        variation = float(np.std(attention) / max(np.mean(attention), 1e-12))
        peak = float(attention.max())
        title = f'{side} {term.name}: {tap}  cv {variation:.2f}'
        pictures[title] = overlay(inspection.image, inspection.upsample_to_image(shown[0]), peak)
    return pictures


def asked(inspection: Inspection) -> dict:
    """Return a picture for every tap of the student, by title: where its term would change it."""
    pictures = {'asked of the student': inspection.image}
    for term in inspection.distiller.distill.values():
        for tap, pull in pull_maps(term, inspection.student, inspection.teacher).items():
            grid = inspection.upsample_to_image(pull[0])
            pictures[f'by {term.name} at {tap}'] = overlay(
                inspection.image, grid, float(grid.max())
            )
    return pictures


def main() -> None:
    args = parse_args()
    inspection = inspect_networks(load_config(args.config), args.checkpoint, args.index)
    terms = inspection.distiller.distill.values()
    teacher = [(term, tap) for term in terms for tap in term.compared_taps]
    student = [(term, tap) for term in terms for tap in term.student_taps]
    rows = [
        row('teacher', inspection, teacher, inspection.teacher),
        row('student', inspection, student, inspection.student),
        asked(inspection),
    ]
    encoded = cv2.imencode('.png', stack([panel(pictures) for pictures in rows]))[1].tobytes()
    write_atomically(args.out, encoded)


if __name__ == '__main__':
    run_tool(main)
