"""Spectral attention graphs: the solver of leading eigenpairs, and the memory of the terms.

The solver is timed against the full decomposition and ``torch.lobpcg``, on graphs of softmax
attention between patches of three objects. The memory of a term is its peak over forward and
backward, without the tensors it compares. It is given in MiB and as a share of the student's own
training step. Weights are random; the data are noise.
"""

# Before PyTorch: mmkd sets how OpenMP's threads wait.
import mmkd  # noqa: F401  # isort: skip

import argparse
from functools import partial

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from mmkd.analysis.memory import peak_bytes
from mmkd.analysis.timing import median_ms
from mmkd.analysis.training_step import build_distiller, full_weight_terms, noise_labels
from mmkd.cli.arguments import positive
from mmkd.cli.run_tool import run_tool
from mmkd.config.load import load_distillation
from mmkd.distillation.recording import record
from mmkd.ops.graph import adjacency
from mmkd.ops.spectrum import leading_eigenpairs


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument('config', help='distillation config whose terms are measured')
    parser.add_argument('--nodes', type=positive, nargs='+', default=[256, 576, 1024])
    parser.add_argument('-k', type=positive, default=16, help='eigenpairs')
    parser.add_argument('--size', type=positive, nargs=2, default=[512, 1024], metavar=('H', 'W'))
    parser.add_argument('--repeats', type=positive, default=15)
    parser.add_argument('--threads', type=positive, help="PyTorch's CPU threads")
    return parser.parse_args()


def attention_graph(nodes: int, sharpness: float, channels: int = 32) -> Tensor:
    """Return the graph (nodes, nodes) of softmax attention between patches of three objects."""
    generator = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    objects = rand(3, channels)[torch.arange(nodes) * 3 // nodes]
    tokens = objects + rand(nodes, channels)
    query, key = (tokens @ rand(channels, channels) / channels**0.5 for _ in range(2))
    return adjacency((sharpness * query @ key.T / channels**0.5).softmax(-1))


def full(matrix: Tensor, k: int) -> Tensor:
    return torch.linalg.eigh(matrix)[0].flip(-1)[:k]


def lobpcg(matrix: Tensor, k: int) -> Tensor:
    start = torch.randn(len(matrix), k, generator=torch.Generator().manual_seed(0))
    return torch.lobpcg(matrix, k, X=start, tol=1e-4)[0]


def krylov(matrix: Tensor, k: int) -> Tensor:
    return leading_eigenpairs(matrix, k)[0]


def time_solvers(nodes: list[int], k: int, repeats: int) -> None:
    print(
        f'| nodes | sharpness | eigh, ms | lobpcg, ms | mmkd, ms | eigh / lobpcg | eigh / mmkd '
        f'| error, lobpcg | error, mmkd |\n{"| --- " * 9}|'
    )
    for count in nodes:
        for sharpness in (0.5, 1.0, 2.0):
            matrix = attention_graph(count, sharpness)
            expected = torch.linalg.eigvalsh(matrix.double()).flip(-1)[:k]
            solvers = dict(eigh=full, lobpcg=lobpcg, mmkd=krylov)
            t = median_ms({n: partial(f, matrix, k) for n, f in solvers.items()}, repeats)
            errors = [
                ((solvers[name](matrix, k) - expected) / expected).abs().max().item()
                for name in ('lobpcg', 'mmkd')
            ]
            print(
                f'| {count} | {sharpness} | {t["eigh"]:.1f} | {t["lobpcg"]:.1f} | {t["mmkd"]:.1f} '
                f'| {t["eigh"] / t["lobpcg"]:.1f} | {t["eigh"] / t["mmkd"]:.1f} '
                f'| {errors[0]:.0e} | {errors[1]:.0e} |',
                flush=True,
            )


def memory_of_terms(config: Config, size: tuple[int, int]) -> None:
    init_default_scope(config.default_scope)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 3, *size, generator=generator)
    samples = noise_labels(config.model.student, 2, size, generator)
    distiller = build_distiller(config, full_weight_terms(config))
    student = distiller.student

    def step() -> None:
        losses = student(inputs, samples, mode='loss')
        student.parse_losses(losses)[0].backward()

    step()  # allocates the gradients
    own = peak_bytes(step)
    teacher = distiller.run_teacher(inputs, samples)
    taps = [tap for term in distiller.distill.values() for tap in term.student_taps]
    with record(student, taps) as recording:
        student(inputs, mode='tensor')
    print("| term | MiB | of the student's own step |\n| --- | --- | --- |")
    for name, term in distiller.distill.items():
        feature = recording[term.student_taps[0]]
        peak = peak_bytes(partial(both_passes, term, feature, recording, teacher))
        print(f'| {name} | {peak / 2**20:.1f} | {peak / own:.1%} |', flush=True)


def both_passes(term: nn.Module, feature: Tensor, *recordings: object) -> None:
    torch.autograd.grad(term(*recordings), [feature, *term.parameters()])


def main() -> None:
    args = parse_args()
    config = load_distillation(args.config)
    if args.threads:
        torch.set_num_threads(args.threads)
    print(
        f'CPU, {torch.get_num_threads()} threads, PyTorch {torch.__version__}, k={args.k}, '
        f'median of {args.repeats}\n'
    )
    time_solvers(args.nodes, args.k, args.repeats)
    print(f'\n{args.config}, batch 2, {args.size[0]}x{args.size[1]}\n')
    memory_of_terms(config, tuple(args.size))


if __name__ == '__main__':
    run_tool(main)
