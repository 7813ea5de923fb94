"""Compare the gradients of distillation terms with the task's gradient."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor

from mmkd.distillation.distiller import Distiller


@dataclass(frozen=True)
class TermGradient:
    """The gradient of one term in one training step.

    Attributes:
        value: The term's loss times its current weight.
        ratio: Norm of its gradient over the norm of the task's gradient.
        cosine: Cosine of the two gradients; negative if the term works against the task.
    """

    value: float
    ratio: float
    cosine: float


def term_gradients(
    distiller: Distiller, inputs: Tensor, data_samples: Sequence
) -> dict[str, TermGradient]:
    """Compare every term's gradient with the task's, over the student parameters that it reaches.

    Parameters behind a term's taps do not take part. Terms with a current weight of 0 are left out.

    Args:
        distiller: In training mode.
        inputs: Preprocessed images (B, 3, H, W).
        data_samples: Their annotations.
    """
    losses = distiller.loss(inputs, data_samples)
    of_student = {
        name.removeprefix('student.'): value
        for name, value in losses.items()
        if name.startswith('student.')
    }
    task, _ = distiller.student.parse_losses(of_student)
    parameters = [p for p in distiller.student.parameters() if p.requires_grad]
    wanted = torch.autograd.grad(task, parameters, retain_graph=True, materialize_grads=True)
    found = {}
    for name, term in distiller.distill.items():
        if not term.is_active:
            continue
        value = losses[f'distill.{name}']
        pulls = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        reached = [i for i, pull in enumerate(pulls) if pull is not None]
        pull, want = (
            # flatten() also takes the gradients of weights in channels_last
            torch.cat([gradients[i].flatten() for i in reached]).double()
            for gradients in (pulls, wanted)
        )
        ratio, cosine = pull.norm() / want.norm(), torch.cosine_similarity(pull, want, dim=0)
        found[name] = TermGradient(value.item(), ratio.item(), cosine.item())
    return found


def mean_gradients(steps: Sequence[dict[str, TermGradient]]) -> dict[str, TermGradient]:
    """Return the mean over batches of each term's value, ratio and cosine."""
    return {
        name: TermGradient(
            *(
                fmean(getattr(step[name], key) for step in steps)
                for key in ('value', 'ratio', 'cosine')
            )
        )
        for name in steps[0]
    }
