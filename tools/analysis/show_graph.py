"""Draw the graph of one patch in a spectral graph distillation, as one PNG.

It shows the teacher's graph, its low-rank target, and the student's graph before and after
training as heat, seen from the patch in the green box. The colours go from the weakest to the
strongest connection to another patch; the titles give both in units of the mean. The curves are the
eigenvalues, each graph at unit norm.
"""

# Before PyTorch: mmkd sets how OpenMP's threads wait.
import mmkd  # noqa: F401  # isort: skip

import argparse

import cv2
import numpy as np
import torch
from torch import Tensor

from mmkd.checkpoints.atomic_files import write_atomically
from mmkd.cli.arguments import add_trust_argument
from mmkd.cli.run_tool import run_tool
from mmkd.config.load import load_config
from mmkd.errors import UserError
from mmkd.losses import SpectralGraphLoss
from mmkd.losses.affinities.node_affinities import common_nodes
from mmkd.ops.graph import low_rank_target
from mmkd.visualization.inspection import Inspection, inspect_networks
from mmkd.visualization.overlay import draw_boxes, overlay
from mmkd.visualization.panel import panel, stack
from mmkd.visualization.spectra import draw_spectra

_EIGENVALUES = 16


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument('config', help='distillation config with a SpectralGraphLoss')
    parser.add_argument('out', help='PNG to write')
    parser.add_argument('--checkpoint', help="the trained student's checkpoint")
    parser.add_argument('--before', help='checkpoint to compare with; random weights if omitted')
    parser.add_argument('--index', type=int, default=0, help='which validation image')
    parser.add_argument(
        '--point', type=int, nargs=2, metavar=('X', 'Y'),
        help='a pixel of the image in the patch; the middle of the image if omitted',
    )  # fmt: skip
    add_trust_argument(parser)
    return parser.parse_args()


def graphs_of(inspection: Inspection) -> tuple[Tensor, Tensor, Tensor, tuple[int, int]]:
    """Return the student's graph, the teacher's, the target (n, n), and the grid of their nodes."""
    terms = inspection.distiller.distill.values()
    term = next((t for t in terms if isinstance(t.loss, SpectralGraphLoss)), None)
    if term is None:
        raise UserError('model.distill: expected a term with SpectralGraphLoss')
    loss = term.loss
    student = inspection.student[term.student_taps[0]]
    teacher = inspection.teacher[term.compared_taps[0]]
    nodes = common_nodes('SpectralGraphLoss', student, teacher, loss.nodes)
    with torch.no_grad():
        student, teacher = (graph[0] for graph in loss.graphs(student, teacher))
        return student, teacher, low_rank_target(teacher, loss.energy, loss.gamma), nodes


def node_at(
    inspection: Inspection, point: tuple[int, int] | None, nodes: tuple[int, int]
) -> tuple[int, np.ndarray]:
    """Return the node of a pixel, and its box (1, 4) in the image."""
    height, width = inspection.image.shape[:2]
    x, y = point or (width // 2, height // 2)
    if not (0 <= x < width and 0 <= y < height):
        raise UserError(f'--point {x} {y}: expected 0 to {width - 1}, 0 to {height - 1}')
    rows, columns = (
        size / count for size, count in zip(inspection.extent(nodes), nodes, strict=True)
    )
    row, column = int(y / rows), int(x / columns)
    box = [column * columns, row * rows, (column + 1) * columns, (row + 1) * rows]
    return row * nodes[1] + column, np.array([box])


def eigenvalues(graph: Tensor) -> np.ndarray:
    """Return the leading eigenvalues of a graph at unit norm, by magnitude."""
    values = torch.linalg.eigvalsh(graph / torch.linalg.matrix_norm(graph))
    values = values[values.abs().argsort(descending=True)][:_EIGENVALUES]
    # Dropped pairs are 0 up to rounding.
    return torch.where(values.abs() > 1e-5, values, 0).cpu().numpy()


def main() -> None:
    args = parse_args()
    config = load_config(args.config)
    torch.manual_seed(0)
    inspection = inspect_networks(config, args.before, args.index)
    before, teacher, target, nodes = graphs_of(inspection)
    node, box = node_at(inspection, args.point, nodes)
    graphs = {'teacher': teacher, 'target': target, 'before': before}
    if args.checkpoint is not None:
        graphs['after'] = graphs_of(inspect_networks(config, args.checkpoint, args.index))[0]
    pictures = {f'{nodes[0]}x{nodes[1]} patches': draw_boxes(inspection.image, box)}
    for name, graph in graphs.items():
        ties = graph[node] / graph[node].mean()
        others = torch.cat([ties[:node], ties[node + 1 :]])
        low, high = others.min().item(), others.max().item()
        picture = overlay(
            inspection.image, inspection.upsample_to_image(ties.view(nodes)) - low, high - low
        )
        pictures[f'{name}: {low:.2f} to {high:.2f} x the mean'] = draw_boxes(picture, box)
    spectra = {name: eigenvalues(graph) for name, graph in graphs.items()}
    pictures['eigenvalues'] = draw_spectra(spectra)
    columns = list(pictures.items())
    sheet = stack([panel(dict(columns[i : i + 3])) for i in range(0, len(columns), 3)])
    write_atomically(args.out, cv2.imencode('.png', sheet)[1].tobytes())


if __name__ == '__main__':
    run_tool(main)
