"""How distillation terms pull at a student, beside its own task."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from mmkd.distiller import Distiller


@dataclass(frozen=True)
class TermGradient:
    """One term in one training step.

    Attributes:
        value: the term, times its current weight.
        ratio: the norm of its gradient over that of the task's gradient.
        cosine: of the two gradients; negative where the term undoes what the task does.
    """

    value: float
    ratio: float
    cosine: float


def term_gradients(
    distiller: Distiller, inputs: Tensor, data_samples: Sequence
) -> dict[str, TermGradient]:
    """Compare every term's gradient with the task's, over the student's parameters it reaches.

    What lies behind a term's taps has no part in the comparison. Terms whose current weight is 0
    are left out.

    Args:
        distiller: in training mode.
        inputs: preprocessed images (N, 3, H, W).
        data_samples: their annotations.
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
        if not term.current_weight:
            continue
        value = losses[f'distill.{name}']
        pulls = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        reached = [i for i, pull in enumerate(pulls) if pull is not None]
        pull, want = (
            parameters_to_vector(gradients[i] for i in reached).double()
            for gradients in (pulls, wanted)
        )
        ratio, cosine = pull.norm() / want.norm(), torch.cosine_similarity(pull, want, dim=0)
        found[name] = TermGradient(value.item(), ratio.item(), cosine.item())
    return found
