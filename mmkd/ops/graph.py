"""Graphs between image patches: affinities, Laplacians, spectra, low-rank targets.

After Kim et al., "Distilling Spectral Graph for Object-Context Aware Open-Vocabulary Semantic
Segmentation" (CASS), CVPR 2025, section 3.2 (https://arxiv.org/abs/2411.17150). The attention of a
vision transformer is a graph whose leading eigenvectors separate objects. The losses compare its
eigenvalues, or reduce the graph to them.

A graph starts as an *affinity*: a matrix whose rows sum to 1 and give how much each node attends to
each other. Every matrix that is decomposed is symmetric.

Shapes: see :mod:`mmkd.ops`. Eigenvalues have no unit. Those of a normalised Laplacian lie in
[0, 2].
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mmkd.errors import check_choice, check_integer, check_number
from mmkd.ops.spectrum import energy_eigenpairs, leading_eigenvalues

GRAPHS = ('adjacency', 'laplacian')
HEADS = ('mean', 'select')


def cosine_affinity(x: Tensor, tau: float) -> Tensor:
    """Return the softmax over the cosine similarities between nodes, divided by ``tau``.

    Args:
        x: (..., n, C), one feature per node.
        tau: Temperature, > 0.

    Returns:
        (..., n, n), rows sum to 1; scaling ``x`` does not change it. Zero vectors get similarity 0
        and zero gradient, since the true gradient is unbounded.
    """
    norm = x.norm(dim=-1, keepdim=True)
    x = x / norm.clamp_min(1e-8) * (norm > 1e-8)
    return (x @ x.mT / tau).softmax(-1)


def adjacency(affinity: Tensor) -> Tensor:
    """Return the symmetric graph ``(W + W^T) / 2`` of the affinity ``W``, (..., n, n)."""
    return (affinity + affinity.mT) / 2


def gram_graph(affinity: Tensor) -> Tensor:
    """Return the graph ``W W^T / trace(W W^T)``, which ties nodes that attend to the same keys.

    Use it where the keys are not the nodes.

    Args:
        affinity: ``W`` (..., n, M), rows sum to 1.

    Returns:
        (..., n, n), symmetric, with trace 1.
    """
    factor = _unit(affinity)
    return factor @ factor.mT


def spectral_matrix(affinity: Tensor, graph: str = 'adjacency', gram: bool = False) -> Tensor:
    """Return the symmetric matrix whose leading eigenvalues describe a graph.

    For ``'adjacency'`` it is the graph ``S``. For ``'laplacian'`` it is ``D^-1/2 S D^-1/2``, where
    ``D`` holds the row sums of ``S``; the normalised Laplacian is ``I`` minus it.

    Args:
        affinity: (..., n, M), rows sum to 1.
        graph: ``'adjacency'`` or ``'laplacian'``.
        gram: Whether ``S`` is :func:`gram_graph` instead of :func:`adjacency`.

    Returns:
        (..., n, n). With ``gram`` and M < n the smaller (..., M, M), which has the same non-zero
        eigenvalues.
    """
    check_graph(graph)
    if gram:
        factor = _unit(affinity)
        if graph == 'laplacian':
            factor = _inverse_root(factor @ factor.sum(-2, keepdim=True).mT) * factor
        return factor.mT @ factor if factor.shape[-1] < factor.shape[-2] else factor @ factor.mT
    matrix = adjacency(affinity)
    if graph == 'laplacian':
        root = _inverse_root(matrix.sum(-1, keepdim=True))
        matrix = root * matrix * root.mT
    return matrix


def leading_spectrum(matrix: Tensor, nodes: int, k: int, graph: str = 'adjacency') -> Tensor:
    """Return the leading eigenvalues of a graph, differentiable (see ``leading_eigenvalues``).

    Args:
        matrix: (..., m, m) from :func:`spectral_matrix`.
        nodes: n. If m is smaller, the remaining eigenvalues are zero.
        k: Number of eigenvalues, >= 1; all n if there are fewer.
        graph: As given to :func:`spectral_matrix`.

    Returns:
        (..., k): the largest of the adjacency, descending, or the smallest of the normalised
        Laplacian, ascending.
    """
    check_graph(graph)
    values = leading_eigenvalues(matrix, k)
    values = functional.pad(values, (0, min(k, nodes) - values.shape[-1]))
    return values if graph == 'adjacency' else 1 - values


def head_weights(matrix: Tensor, heads: str, rank: int) -> Tensor:
    """Return the weight of each head: equal, or only for the heads with leading eigenvalues.

    The energy of a head is its sum of squared eigenvalues. ``select`` chooses the heads that hold
    at least the average share of their energy in the ``rank`` largest eigenvalues.

    Args:
        matrix: (B, heads, m, m) from :func:`spectral_matrix`.
        heads: ``'mean'`` or ``'select'``.
        rank: Number of eigenvalues, >= 1.

    Returns:
        (B, heads), sums to 1; equal for the chosen heads and 0 for the others.
    """
    check_heads(heads, rank)
    matrix = matrix.detach()
    if heads == 'mean':
        return matrix.new_full(matrix.shape[:2], 1 / matrix.shape[1])
    leading = leading_eigenvalues(matrix, rank).square().sum(-1)
    share = leading / matrix.square().sum((-2, -1)).clamp(min=1e-12)
    # The tolerance keeps all of several equal heads, however their shares are rounded.
    chosen = (share >= share.mean(-1, keepdim=True) - 1e-5).to(share.dtype)
    return chosen / chosen.sum(-1, keepdim=True)


def scale_eigenvalues(values: Tensor, gamma: float) -> Tensor:
    """Return ``phi(v) = v (|v| / mean |v|)^gamma``, rescaled to the sum of squares of ``values``.

    Large eigenvalues grow and small ones shrink; ``gamma=0`` changes nothing.

    Args:
        values: (..., k). Zeros mark dropped eigenpairs and do not count.
        gamma: Exponent, >= 0.

    Returns:
        (..., k).
    """
    magnitude = values.abs()
    count = (magnitude > 0).sum(-1, keepdim=True)
    mean = magnitude.sum(-1, keepdim=True) / count.clamp(min=1)
    scaled = values * (magnitude / mean.clamp(min=1e-12)).pow(gamma)
    norm, expected = (torch.linalg.vector_norm(v, dim=-1, keepdim=True) for v in (scaled, values))
    return scaled * (expected / norm.clamp(min=1e-12))


def low_rank_target(graph: Tensor, energy: float, gamma: float) -> Tensor:
    """Return ``U phi(V) U^T``, a graph reduced to its leading eigenpairs, without a gradient.

    Args:
        graph: (..., n, n), symmetric.
        energy: Share of the sum of squared eigenvalues to keep, in (0, 1]; the fewest eigenpairs
            that hold it are kept.
        gamma: Exponent of :func:`scale_eigenvalues`.

    Returns:
        (..., n, n), symmetric.
    """
    if energy == 1 and gamma == 0:
        return graph.detach()
    values, vectors = energy_eigenpairs(graph.detach(), energy)
    return (vectors * scale_eigenvalues(values, gamma)[..., None, :]) @ vectors.mT


def graph_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean squared Frobenius distance of unit-norm graphs (..., n, n), in [0, 4]."""
    return (_unit(a) - _unit(b)).square().sum((-2, -1)).mean()


def check_graph(graph: str) -> None:
    """Raise :class:`UserError` unless ``graph`` is known."""
    check_choice('graph', graph, GRAPHS)


def check_heads(heads: str, rank: int) -> None:
    """Raise :class:`UserError` unless :func:`head_weights` takes these parameters."""
    check_choice('heads', heads, HEADS)
    check_integer('rank', rank, least=1)


def check_gamma(gamma: float) -> None:
    """Raise :class:`UserError` unless ``gamma`` is a finite number >= 0."""
    check_number('gamma', gamma, least=0)


def _unit(matrix: Tensor) -> Tensor:
    norm = torch.linalg.matrix_norm(matrix, keepdim=True)
    return matrix / norm.clamp(min=1e-12)


def _inverse_root(degree: Tensor) -> Tensor:
    return degree.clamp(min=1e-12).rsqrt()
