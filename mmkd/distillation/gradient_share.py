"""Hold the gradient of a distillation term at a share of the task's gradient."""

import math
from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce_params
from torch import Tensor, nn

from mmkd.errors import UserError, check_integer, check_number

# Float16 gradients underflow without a loss scale and overflow with too large a one.
_LOSS_SCALES = (2.0**16, 2.0**8, 1.0, 2.0**-8)


class GradientShare(nn.Module):
    """The weight that gives a term's gradient a chosen share of the task's gradient.

    Every ``every`` iterations, the norms of both gradients are measured at the student's
    parameters that both reach. The weight that would give exactly the share in this batch is

        target = share * norm(task's gradient) / norm(unweighted term's gradient)

    The first measurement sets the weight to it. Each later one goes half of the way on a
    logarithmic scale, and changes the weight by a factor of at most 2:

        weight <- weight * clamp(sqrt(target / weight), 1/2, 2)

    Half of the way, because the norms of one batch are noisy: this averages geometrically, with
    weights 1/2, 1/4, 1/8, ... from the latest measurement back. The clamp keeps one odd batch, in
    which a gradient nearly vanishes, from setting a weight for the next ``every`` iterations. A
    term's schedule multiplies the result.

    The ratio of norms is that of Esser et al., CVPR 2021, equation 7; to hold it at a target by
    clamped steps follows Liao et al., "RT-DETRv4", 2025, which does so once an epoch.

    The weight is part of ``state_dict``, so a resumed run continues with it.

    Args:
        share: norm of the weighted term's gradient over that of the task's, between 0 and 1.
        every: iterations between two measurements. Gradient accumulation counts every batch.

    Raises:
        UserError: a value is out of range.
    """

    def __init__(self, share: float, every: int = 50) -> None:
        super().__init__()
        check_number('weight.share', share, above=0, below=1, hint='; try 0.2')
        check_integer('weight.every', every, least=1)
        self.share = share
        self.every = every
        self.value = 0.0
        """The weight; 0 until it is first measured."""
        self.is_due = True

    def set_iteration(self, iteration: int) -> None:
        """Decide whether iteration number ``iteration``, from 0, measures."""
        self.is_due = not self.value or iteration % self.every == 0

    def update(self, task_norm: float, term_norm: float, empty: bool = False) -> None:
        """Move the weight towards the share.

        Norms that are not finite leave the weight as it is, and so does a task's gradient of zero:
        a batch may have no valid label. So does a term's, once the weight has been measured, or of
        a batch in which it had nothing to compare.

        Args:
            task_norm, term_norm: norms of the gradients of the task and of the unweighted term.
            empty: whether the batch has no pixel that counts in the term.

        Raises:
            UserError: the term's gradient is zero when it is first measured, and the task's is not.
        """
        if not self.value and term_norm == 0 and 0 < task_norm < math.inf and not empty:
            raise UserError(
                'weight=gradient_share: expected a gradient at parameters that the loss of the '
                'task trains too, but it is zero; tap a trained layer of the student, and check '
                'that the teacher is not the student itself'
            )
        target = self.share * task_norm / term_norm if term_norm else 0.0
        if not 0 < target < math.inf:
            return
        if self.value:
            target = self.value * min(2.0, max(0.5, math.sqrt(target / self.value)))
        self.value = target

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.value, dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        self.value = state.item()


def check_no_checkpointing(student: nn.Module) -> None:
    """Check that gradients of parts of the loss can be computed in ``student``.

    Raises:
        UserError: a module uses activation checkpointing, of which only a whole backward pass is
            possible.
    """
    for name, module in student.named_modules():
        if getattr(module, 'with_cp', False):
            raise UserError(
                f'weight=gradient_share: expected a student without activation checkpointing, but '
                f'its {name}.with_cp=True; set it to False, or give weight a number'
            )


def measure_gradient_norms(
    task: Tensor, terms: Sequence[Tensor], parameters: Sequence[nn.Parameter]
) -> list[tuple[float, float]]:
    """Return, for each term, the norms of the task's and of its own gradient.

    A norm goes over the parameters at which neither gradient is zero. Without any such parameter,
    the task's goes over all, and the term's is 0, or goes over all if the task has no gradient. In
    distributed training the gradients are averaged over all processes first, as the optimizer sees
    them, so every process gets the same norms.
    Norms are NaN or infinite where a gradient is.

    Args:
        task: the student's own loss (0-dim). Its graph is kept, and so are those of the terms.
        terms: unweighted terms (0-dim), of the same forward pass.
        parameters: the student's trained parameters. Their ``grad`` is not touched.
    """
    of_task = _norms(task, parameters)
    found = []
    for term in terms:
        of_term = _norms(term, parameters)
        shared = (of_term != 0) & ((of_task != 0) | ~of_task.any())
        compared = of_task[shared] if shared.any() else of_task
        found.append((compared.norm().item(), of_term[shared].norm().item()))
    return found


def _norms(loss: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """Return the gradient's norm at each parameter (P,), in float64."""
    for scale in _LOSS_SCALES:
        with torch.autocast(loss.device.type, enabled=False):
            gradients = torch.autograd.grad(
                loss * scale, parameters, retain_graph=True, materialize_grads=True
            )
        gradients = [gradient.contiguous() for gradient in gradients]
        all_reduce_params(gradients, op='mean')
        norms = torch.stack([torch.linalg.vector_norm(g, dtype=torch.float64) for g in gradients])
        if torch.isfinite(norms).all():
            break
    return norms / scale
