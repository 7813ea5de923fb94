"""Draw what a distillation's terms look at, and what they ask of the student, as one PNG.

The rows: the attention maps of the teacher, those of the student, and where each term's loss would
change the student's feature.
"""

import argparse

import cv2
import numpy as np

from mmkd.configs import load_config
from mmkd.engine.files import write_atomically
from mmkd.engine.launch import add_trust_argument, run_tool
from mmkd.taps import Recording, Tap
from mmkd.term import Term
from mmkd.visualization.distillation import pull_maps, tap_map
from mmkd.visualization.heat import overlay
from mmkd.visualization.panel import panel, stack
from mmkd.visualization.reading import Reading, read_networks


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument('config', help='distillation config')
    parser.add_argument('out', help='PNG to write')
    parser.add_argument('--checkpoint', help="the student's; random weights if left out")
    parser.add_argument('--index', type=int, default=0, help='which validation image')
    add_trust_argument(parser)
    return parser.parse_args()


def row(side: str, reading: Reading, taps: list[tuple[Term, Tap]], recording: Recording) -> dict:
    """A picture for every tap of one network, by title.

    The title gives the map's coefficient of variation over positions: a map near 0 is blank,
    whatever its colours say.
    """
    pictures = {f'{side} sees': reading.image}
    for term, tap in taps:
        shown = tap_map(term, tap, recording.read(tap))
        if shown is None:
            continue
        attention = reading.crop(shown[0])
        variation = float(np.std(attention) / max(np.mean(attention), 1e-12))
        peak = float(attention.max())
        title = f'{side} {term.name}: {tap}  cv {variation:.2f}'
        pictures[title] = overlay(reading.image, reading.spread(shown[0]), peak)
    return pictures


def asked(reading: Reading) -> dict:
    """A picture for every tap of the student, by title: where its term would change it."""
    pictures = {'asked of the student': reading.image}
    for term in reading.distiller.distill.values():
        for tap, pull in pull_maps(term, reading.student, reading.teacher).items():
            grid = reading.spread(pull[0])
            pictures[f'by {term.name} at {tap}'] = overlay(reading.image, grid, float(grid.max()))
    return pictures


def main() -> None:
    args = parse_args()
    reading = read_networks(load_config(args.config), args.checkpoint, args.index)
    terms = reading.distiller.distill.values()
    teacher = [(term, tap) for term in terms for tap in term.compared_taps]
    student = [(term, tap) for term in terms for tap in term.student_taps]
    rows = [
        row('teacher', reading, teacher, reading.teacher),
        row('student', reading, student, reading.student),
        asked(reading),
    ]
    encoded = cv2.imencode('.png', stack([panel(pictures) for pictures in rows]))[1].tobytes()
    write_atomically(args.out, encoded)


if __name__ == '__main__':
    run_tool(main)
