"""What a state space model's scan draws from, as attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.errors import UserError
from mmkd.ops.hidden_attention import hidden_attention, image_paths, merge_attention, path_images
from mmkd.ops.nodes import MAX_NODES, pool_features, pool_keys, pool_queries
from mmkd.registry import MODELS
from mmkd.scan_taps import ScanInputs


@MODELS.register_module()
class MambaStateAffinity(nn.Module):
    """The hidden attention of VMamba's scan along four paths, for a tap ``attention(....op.scan)``.

    Of a path, position ``i`` draws from ``j`` before it with the weight

        ``mean over channels of |C_i| . (prod_{k=j+1..i} exp(delta_k A)) delta_j |B_j|``,

    the size of what the scan's own linear map does: exactly so for one state a channel, where all
    channels have the sign of ``C_i B_j``, and an upper bound for more. The four paths are brought
    back to raster order and added, as the scan's outputs are, and rows scaled to sum to 1. It has
    no parameters: the gradient goes to the projections that the scan's steps and weights come from.

    A scan of more than ``MAX_NODES`` positions is never written out. What it is given is
    averaged over nodes first, and its decays reach across a node in the path's direction.

    After Ali, Zimerman & Wolf, "The Hidden Attention of Mamba Models", 2024
    (https://arxiv.org/abs/2403.01590), and the four paths of Liu et al., "VMamba: Visual State
    Space Model", NeurIPS 2024 (https://arxiv.org/abs/2401.10166).
    """

    def forward(self, x: ScanInputs, nodes: tuple[int, int]) -> Tensor:
        """Weights (B, 1, n, n) between the nodes of a scan's image; rows sum to 1.

        Raises:
            UserError: ``x`` is a feature.
        """
        if not isinstance(x, ScanInputs):
            raise UserError(
                'MambaStateAffinity reads a scan and got a feature; allowed: a tap such as '
                "'attention(backbone.layers.2.blocks.5.op.scan)' of a VMamba"
            )
        if x.grid[0] * x.grid[1] > MAX_NODES:
            weights, grid = hidden_attention(*_on_nodes(x, nodes)), nodes
        else:
            weights = hidden_attention(x.steps(), x.A, x.B.abs(), x.C.abs())
            grid = x.grid
        weights = merge_attention(weights, *grid)[:, None]
        weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-12)
        return pool_keys(pool_queries(weights, grid, nodes), grid, nodes)


def _on_nodes(x: ScanInputs, nodes: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Step sizes, A and the magnitudes of B and C of a scan over nodes instead of positions."""

    def pooled(paths: Tensor) -> Tensor:
        return image_paths(pool_features(path_images(paths, *x.grid), nodes))

    down, across = (size / count for size, count in zip(x.grid, nodes, strict=True))
    steps = pooled(x.steps().unflatten(1, (4, -1))).flatten(1, 2)
    reach = torch.tensor([across, down, across, down], dtype=x.A.dtype, device=x.A.device)
    rates = x.A.unflatten(0, (4, -1)) * reach[:, None, None]
    return steps, rates.flatten(0, 1), pooled(x.B.abs()), pooled(x.C.abs())
