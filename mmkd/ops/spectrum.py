"""Leading eigenvalues and eigenvectors of symmetric matrices, in batches.

For a few eigenpairs of a large matrix, a block Krylov space is used (Musco & Musco, "Randomized
Block Krylov Methods for Stronger and Faster Approximate Singular Value Decomposition", NeurIPS
2015, https://arxiv.org/abs/1504.05477): randomised subspace iteration that keeps every iterate. It
grows until the residuals are small. If the full decomposition would be cheaper, that is used
instead. The random start is fixed, so equal matrices have equal results and the global RNG is not
touched.

Shapes: (..., n, n) matrices, ``p`` columns of the Krylov basis, ``k`` eigenpairs asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from mmkd.errors import check_integer, check_number

# A Krylov space starts with this many blocks of the eigenpairs asked for. It is used for matrices
# with at least twice as many rows: below, the full decomposition is as fast (docs/benchmarks.md).
_FIRST_BLOCKS, _MORE_BLOCKS = 12, 4
# Number of eigenpairs added at a time where the energy decides how many are needed.
_ENERGY_BLOCK = 16
# Largest residual, relative to the eigenvalue or to 1/100 of the largest one. The error of an
# eigenvalue is at most the residual, and usually its square.
_TOLERANCE = 1e-3


@torch.no_grad()
def leading_eigenpairs(matrix: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the ``k`` largest eigenvalues (by value, not magnitude) and their eigenvectors.

    Args:
        matrix: (..., n, n), symmetric, float32 or float64.
        k: Number of eigenpairs, >= 1; all n if there are fewer.

    Returns:
        Values (..., k), descending, nan where a matrix has an entry that is not finite, and
        orthonormal vectors (..., n, k), without a gradient.
    """
    check_count(k)
    k = min(k, matrix.shape[-1])
    values, vectors, _ = _eigenpairs(
        matrix, k, lambda values: torch.arange(values.shape[-1], device=values.device) < k
    )
    return values[..., :k], vectors[..., :k]


def leading_eigenvalues(matrix: Tensor, k: int) -> Tensor:
    """Return the ``k`` largest eigenvalues, differentiable.

    They are Rayleigh quotients ``v^T S v`` with constant vectors, so the gradient is ``v v^T``. It
    is exact for a simple eigenvalue and finite for a repeated one, because it does not divide by
    the gap between two eigenvalues.

    Args:
        matrix: (..., n, n), symmetric, float32 or float64.
        k: Number of eigenvalues, >= 1; all n if there are fewer.

    Returns:
        (..., k), descending.
    """
    _, vectors = leading_eigenpairs(matrix.detach(), k)
    return (vectors * (matrix @ vectors)).sum(-2)


@torch.no_grad()
def energy_eigenpairs(matrix: Tensor, energy: float) -> tuple[Tensor, Tensor]:
    """Return the fewest eigenpairs, largest magnitude first, that hold a share of the energy.

    Args:
        matrix: (..., n, n), symmetric, float32 or float64.
        energy: Share of the sum of squared eigenvalues, in (0, 1].

    Returns:
        Values (..., k) and vectors (..., n, k), without a gradient. k is the largest number that a
        matrix of the batch needs; values that another matrix does not need are 0.
    """
    check_energy(energy)
    target = energy * matrix.square().sum((-2, -1))[..., None]

    def needed(values: Tensor) -> Tensor:
        squares = values.square()
        return ~(squares.cumsum(-1) - squares >= target)  # True for NaN, which `<` would drop

    values, vectors, kept = _eigenpairs(matrix, _ENERGY_BLOCK, needed, magnitude=True)
    most = int(kept.sum(-1).max().clamp(min=1))
    return torch.where(kept, values, 0)[..., :most], vectors[..., :most]


def check_count(k: int) -> None:
    """Raise :class:`UserError` unless ``k`` is an integer >= 1."""
    check_integer('k', k, least=1)


def check_energy(energy: float) -> None:
    """Raise :class:`UserError` unless ``energy`` is a number in (0, 1]."""
    check_number('energy', energy, above=0, most=1)


def _eigenpairs(
    matrix: Tensor, block: int, needed: Callable[[Tensor], Tensor], magnitude: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Return sorted eigenvalues, the vectors of the ``needed`` ones, and which are needed."""
    size = matrix.shape[-1]
    if size >= 2 * _FIRST_BLOCKS * block:
        basis = torch.linalg.qr(_random(size, matrix.device, matrix.dtype)[:, :block])[0]
        basis = basis.expand(*matrix.shape[:-1], block)
        image = matrix @ basis
        blocks = _FIRST_BLOCKS - 1
        while basis.shape[-1] + blocks * block <= size // 2:
            basis, image = _extend(matrix, basis, image, block, blocks)
            values, mixing = _sorted_eigh(basis.mT @ image, magnitude)
            kept = needed(values)
            most = int(kept.sum(-1).max().clamp(min=1))
            vectors = basis @ mixing[..., :most]
            residual = torch.linalg.vector_norm(
                image @ mixing[..., :most] - vectors * values[..., None, :most], dim=-2
            )
            scale = values.abs()
            scale = torch.maximum(scale, scale.amax(-1, keepdim=True) / 100)[..., :most]
            right = (residual <= _TOLERANCE * scale) | ~kept[..., :most]
            if right.all() and not kept[..., -1].any():
                return values, vectors, kept
            blocks = _MORE_BLOCKS
    values, vectors = _sorted_eigh(matrix, magnitude)
    return values, vectors, needed(values)


def _extend(
    matrix: Tensor, basis: Tensor, image: Tensor, block: int, blocks: int
) -> tuple[Tensor, Tensor]:
    """Extend an orthonormal basis (..., n, p) and its image by ``blocks`` blocks."""
    random = _random(matrix.shape[-1], matrix.device, matrix.dtype)
    known = basis.shape[-1]
    basis, image = (functional.pad(x, (0, blocks * block)) for x in (basis, image))
    for start in range(known, basis.shape[-1], block):
        here, before = slice(start, start + block), basis[..., :start]
        new = image[..., start - block : start]
        # If the matrix adds no new direction, as at low rank, random ones complete the basis.
        rounding = 8 * torch.finfo(new.dtype).eps * new.abs().amax((-2, -1), keepdim=True)
        new = new + rounding * random[:, here]
        for _ in range(2):  # a second pass removes the rounding error of the first
            new = torch.linalg.qr(new - before @ (before.mT @ new))[0]
        basis[..., here] = new
        image[..., here] = matrix @ new
    return basis, image


def _sorted_eigh(matrix: Tensor, magnitude: bool) -> tuple[Tensor, Tensor]:
    # eigh may raise where a number is not finite; what is made of it has to be nan instead.
    finite = matrix.isfinite().all(-1).all(-1)[..., None]
    values, vectors = torch.linalg.eigh(torch.where(finite[..., None], matrix, 0))
    values = torch.where(finite, values, torch.nan)
    if not magnitude:
        return values.flip(-1), vectors.flip(-1)
    order = values.abs().argsort(-1, descending=True)
    return values.gather(-1, order), vectors.gather(-1, order[..., None, :].expand_as(vectors))


@lru_cache(maxsize=16)
def _random(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return random numbers (size, size // 2), the same in every run."""
    with torch.inference_mode(False), torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        return torch.randn(size, size // 2, generator=generator).to(device, dtype)
