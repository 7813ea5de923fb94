"""Compare the anchors of two of MMDetection's heads."""

import torch
from mmdet.models.dense_heads import AnchorHead
from mmdet.models.task_modules.prior_generators import AnchorGenerator
from torch import Tensor, nn


def explain_other_anchors(
    student: nn.Module, teacher: nn.Module, levels: tuple[int | None, int | None]
) -> str | None:
    """Return how the anchors of two heads differ, or None if outputs of both mean the same boxes.

    An anchor head gives scores and box deltas for each anchor of a location. Outputs of heads with
    other anchors can have the same shape.

    Args:
        student: The module whose output is compared. The answer is None unless both modules are
            anchor heads with several anchors for each location. The score of a single anchor is
            that of the location, and does not depend on the anchor's size.
        teacher: That of the teacher.
        levels: The pyramid levels that are compared, of the student and of the teacher; ``None``
            for all.
    """
    if not _has_anchors(student) or not _has_anchors(teacher):
        return None
    mine, theirs = (
        _anchors(head, level) for head, level in zip((student, teacher), levels, strict=True)
    )
    if all(len(anchors) == 1 for anchors in (*mine, *theirs)):
        return None
    for ours, expected in zip(mine, theirs, strict=False):
        # Half a pixel: generators round the same anchors in different ways.
        if ours.shape != expected.shape or not torch.allclose(ours, expected.to(ours), atol=0.5):
            return (
                f"anchors of {_sizes(ours)} pixels: expected the teacher's, {_sizes(expected)}; "
                'give both heads the same anchor_generator'
            )
    return None


def _has_anchors(module: nn.Module) -> bool:
    return isinstance(module, AnchorHead) and isinstance(module.prior_generator, AnchorGenerator)


def _anchors(head: AnchorHead, level: int | None) -> list[Tensor]:
    """Return the anchors (A, 4) of a location, in pixels, for each level."""
    anchors = list(head.prior_generator.base_anchors)
    if level is None:
        return anchors
    return [anchors[level]] if -len(anchors) <= level < len(anchors) else []


def _sizes(anchors: Tensor) -> str:
    sizes = (anchors[:, 2:] - anchors[:, :2]).round().int().tolist()
    return ', '.join(f'{width}x{height}' for width, height in sizes)
