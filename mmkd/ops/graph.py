"""Graphs between image patches: affinities, Laplacians, spectra, low-rank targets.

After Kim et al., "Distilling Spectral Graph for Object-Context Aware Open-Vocabulary Semantic
Segmentation" (CASS), CVPR 2025, section 3.2 (https://arxiv.org/abs/2411.17150): the attention of a
vision transformer is a graph whose leading eigenvectors separate objects. Its eigenvalues are
compared, or the graph is reduced to them.

A graph begins as *weights*: rows that sum to 1 and say how much a patch draws from each other.
Every matrix that is decomposed is symmetric.

Shapes: ``B`` samples, ``C`` channels, ``n`` nodes, ``M`` keys, ``k`` eigenvalues. Eigenvalues are
without a unit; those of a normalised Laplacian lie in [0, 2].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from mmkd.errors import UserError
from mmkd.ops.spectrum import energy_eigenpairs, leading_eigenvalues

GRAPHS = ('adjacency', 'laplacian')
HEADS = ('mean', 'select')


def cosine_weights(x: Tensor, tau: float) -> Tensor:
    """Softmax over the cosine similarities of a node's feature with all others, over ``tau``.

    Args:
        x: (..., n, C), one feature a node.
        tau: temperature, > 0.

    Returns:
        (..., n, n), rows summing to 1; the same when ``x`` is scaled. A feature of zeros is alike
        to none, and has no gradient: what would turn it is unbounded.
    """
    norm = x.norm(dim=-1, keepdim=True)
    x = x / norm.clamp_min(1e-8) * (norm > 1e-8)
    return (x @ x.mT / tau).softmax(-1)


def adjacency(weights: Tensor, gram: bool = False) -> Tensor:
    """The symmetric graph of ``weights``.

    Args:
        weights: (..., n, M), rows summing to 1; M = n unless ``gram``.
        gram: whether nodes are tied by what they both draw from, ``W W^T`` over its trace, instead
            of directly, ``(W + W^T) / 2``. Needed where the keys are not the nodes.

    Returns:
        (..., n, n).
    """
    if not gram:
        return (weights + weights.mT) / 2
    factor = _unit(weights)
    return factor @ factor.mT


def spectral_matrix(weights: Tensor, graph: str = 'adjacency', gram: bool = False) -> Tensor:
    """The symmetric matrix whose leading eigenvalues describe a graph.

    That is ``S`` of :func:`adjacency`, or ``D^-1/2 S D^-1/2`` with ``D`` its row sums for the
    Laplacian, ``I`` minus it. ``F F^T`` has the non-zero eigenvalues of ``F^T F``; of the two the
    smaller is returned.

    Args:
        weights: (..., n, M).
        graph: ``'adjacency'`` or ``'laplacian'``.
        gram: as in :func:`adjacency`.

    Returns:
        (..., n, n), or (..., M, M) where ``gram`` and M < n.
    """
    check_graph(graph)
    if gram:
        factor = _unit(weights)
        if graph == 'laplacian':
            factor = _inverse_root(factor @ factor.sum(-2, keepdim=True).mT) * factor
        return factor.mT @ factor if factor.shape[-1] < factor.shape[-2] else factor @ factor.mT
    matrix = adjacency(weights)
    if graph == 'laplacian':
        root = _inverse_root(matrix.sum(-1, keepdim=True))
        matrix = root * matrix * root.mT
    return matrix


def leading_spectrum(matrix: Tensor, nodes: int, k: int, graph: str = 'adjacency') -> Tensor:
    """The leading eigenvalues of a graph, differentiable (see ``leading_eigenvalues``).

    Args:
        matrix: (..., N, N) from :func:`spectral_matrix`.
        nodes: n; where N is smaller the graph has eigenvalues of zero besides.
        k: how many, >= 1; all n where there are fewer.
        graph: as given to :func:`spectral_matrix`.

    Returns:
        (..., k): the largest of the adjacency, descending, or the smallest of the normalised
        Laplacian, ascending.
    """
    check_graph(graph)
    values = leading_eigenvalues(matrix, k)
    values = functional.pad(values, (0, min(k, nodes) - values.shape[-1]))
    return values if graph == 'adjacency' else 1 - values


def head_shares(matrix: Tensor, heads: str, rank: int) -> Tensor:
    """How much each head counts: all the same, or only those that know of objects.

    Energy is the sum of squared eigenvalues. ``select`` chooses the heads that hold most of theirs
    in the ``rank`` largest ones: a share that is no less than the mean share of all heads.

    Args:
        matrix: (B, heads, N, N) from :func:`spectral_matrix`.
        heads: ``'mean'`` or ``'select'``.
        rank: how many eigenvalues, >= 1.

    Returns:
        (B, heads), summing to 1; equal for the chosen heads and 0 for the others.
    """
    check_heads(heads, rank)
    matrix = matrix.detach()
    if heads == 'mean':
        return matrix.new_full(matrix.shape[:2], 1 / matrix.shape[1])
    leading = leading_eigenvalues(matrix, rank).square().sum(-1)
    share = leading / matrix.square().sum((-2, -1)).clamp(min=1e-12)
    # Heads that are alike are all chosen, however their shares were rounded.
    chosen = (share >= share.mean(-1, keepdim=True) - 1e-5).to(share.dtype)
    return chosen / chosen.sum(-1, keepdim=True)


def scale_eigenvalues(values: Tensor, gamma: float) -> Tensor:
    """``phi(v) = v (|v| / mean |v|)^gamma``, brought back to the sum of squares of ``values``.

    Large eigenvalues are amplified and small ones damped; with ``gamma=0`` nothing changes.

    Args:
        values: (..., k); zeros stand for eigenpairs that were dropped and do not count.
        gamma: >= 0.

    Returns:
        (..., k).
    """
    magnitude = values.abs()
    count = (magnitude > 0).sum(-1, keepdim=True)
    mean = magnitude.sum(-1, keepdim=True) / count.clamp(min=1)
    scaled = values * (magnitude / mean.clamp(min=1e-12)).pow(gamma)
    norm, expected = (torch.linalg.vector_norm(v, dim=-1, keepdim=True) for v in (scaled, values))
    return scaled * (expected / norm.clamp(min=1e-12))


def object_graph(graph: Tensor, energy: float, gamma: float) -> Tensor:
    """A graph reduced to its objects, ``U phi(V) U^T``, without a gradient.

    Args:
        graph: (..., n, n), symmetric.
        energy: share of the sum of squared eigenvalues that the kept eigenpairs hold, the fewest
            that do, in (0, 1].
        gamma: exponent of :func:`scale_eigenvalues`.

    Returns:
        (..., n, n), symmetric.
    """
    if energy == 1 and gamma == 0:
        return graph.detach()
    values, vectors = energy_eigenpairs(graph.detach(), energy)
    return (vectors * scale_eigenvalues(values, gamma)[..., None, :]) @ vectors.mT


def graph_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared Frobenius distance of graphs (..., n, n) scaled to unit norm; in [0, 4]."""
    return (_unit(a) - _unit(b)).square().sum((-2, -1)).mean()


def check_graph(graph: str) -> None:
    """Raise :class:`UserError` unless ``graph`` is known."""
    if graph not in GRAPHS:
        raise UserError(f'graph={graph!r} is not known; allowed: {", ".join(GRAPHS)}')


def check_heads(heads: str, rank: int) -> None:
    """Raise :class:`UserError` unless :func:`head_shares` takes these parameters."""
    if heads not in HEADS:
        raise UserError(f'heads={heads!r} is not known; allowed: {", ".join(HEADS)}')
    if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
        raise UserError(f'rank={rank!r} must be a positive integer')


def check_gamma(gamma: float) -> None:
    """Raise :class:`UserError` unless ``gamma`` is a finite number of at least 0."""
    number = isinstance(gamma, int | float) and not isinstance(gamma, bool)
    if not number or not 0 <= gamma < math.inf:
        raise UserError(f'gamma={gamma!r} must be a number >= 0')


def _unit(matrix: Tensor) -> Tensor:
    norm = torch.linalg.matrix_norm(matrix, keepdim=True)
    return matrix / norm.clamp(min=1e-12)


def _inverse_root(degree: Tensor) -> Tensor:
    return degree.clamp(min=1e-12).rsqrt()
