"""The hidden attention of a state space model's scan."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmkd.errors import UserError
from mmkd.ops.attention_readings import ScanInputs
from mmkd.ops.hidden_attention import hidden_attention, image_paths, merge_attention, path_images
from mmkd.ops.nodes import MAX_NODES, pool_features, pool_keys, pool_queries
from mmkd.registry import MODELS


@MODELS.register_module()
class MambaStateAffinity(nn.Module):
    """The hidden attention of VMamba's four-path scan, for a tap ``attention(....op.scan)``.

    Along a path, position ``i`` attends to an earlier ``j`` with the weight

        ``mean over channels of |C_i| . (prod_{k=j+1..i} exp(delta_k A)) delta_j |B_j|``.

    This is the magnitude of the scan's linear map. It is exact for one state per channel, and an
    upper bound for more. The four paths are brought back to raster order and added, as the scan's
    outputs are. Rows are scaled to sum to 1. It has no parameters; the gradient goes to the
    projections that produce the scan's steps and weights.

    A scan of more than ``MAX_NODES`` positions is not computed in full. Its inputs are first
    averaged over nodes, and its decays then cover a whole node in the direction of the path.

    After Ali, Zimerman & Wolf, "The Hidden Attention of Mamba Models", 2024
    (https://arxiv.org/abs/2403.01590), and the four paths of Liu et al., "VMamba: Visual State
    Space Model", NeurIPS 2024 (https://arxiv.org/abs/2401.10166).
    """

    def forward(self, x: ScanInputs, nodes: tuple[int, int]) -> Tensor:
        """Return affinities (B, 1, n, n) between the nodes of a scan's image; rows sum to 1.

        Raises:
            UserError: ``x`` is a feature.
        """
        if not isinstance(x, ScanInputs):
            raise UserError(
                'MambaStateAffinity: got a feature: expected a scan; tap '
                "'attention(backbone.layers.2.blocks.5.op.scan)' of a VMamba"
            )
        if x.grid[0] * x.grid[1] > MAX_NODES:
            affinity, grid = hidden_attention(*_on_nodes(x, nodes)), nodes
        else:
            affinity = hidden_attention(x.steps(), x.A, x.B.abs(), x.C.abs())
            grid = x.grid
        affinity = merge_attention(affinity, *grid)[:, None]
        affinity = affinity / affinity.sum(-1, keepdim=True).clamp(min=1e-12)
        return pool_keys(pool_queries(affinity, grid, nodes), grid, nodes)


def _on_nodes(x: ScanInputs, nodes: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return step sizes, A and the magnitudes of B and C of a scan over nodes."""

    def pooled(paths: Tensor) -> Tensor:
        return image_paths(pool_features(path_images(paths, *x.grid), nodes))

    down, across = (size / count for size, count in zip(x.grid, nodes, strict=True))
    steps = pooled(x.steps().unflatten(1, (4, -1))).flatten(1, 2)
    reach = torch.tensor([across, down, across, down], dtype=x.A.dtype, device=x.A.device)
    rates = x.A.unflatten(0, (4, -1)) * reach[:, None, None]
    return steps, rates.flatten(0, 1), pooled(x.B.abs()), pooled(x.C.abs())
