import math

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.nn.utils import get_total_norm

from mmkd.distiller import Distiller
from mmkd.engine.wrapping import unwrapped
from mmkd.errors import UserError
from mmkd.registry import HOOKS


@HOOKS.register_module()
class FiniteGradientHook(Hook):
    """Lets no step of the optimiser happen whose gradients are NaN or infinite.

    The message names the iteration and the distillation terms that were not finite, with
    statistics of what they compared. Processes that train together hold the same gradients and
    decide alike. Under AMP, steps that the gradient scaler itself drops do not count. Weights that
    are not finite, for instance BatchNorm's averages of a batch that was not, are never written
    into a checkpoint.

    Args:
        action: ``stop`` ends the training; ``skip`` drops the step, says so, and goes on.

    Raises:
        UserError: ``action`` is neither; or, in training, what it watches for has happened.
    """

    def __init__(self, action: str = 'stop') -> None:
        if action not in ('stop', 'skip'):
            raise UserError(f'FiniteGradientHook.action={action!r}; allowed: stop, skip')
        self.action = action

    def before_train(self, runner: Runner) -> None:
        def check(optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
            parameters = [p for group in optimizer.param_groups for p in group['params']]
            if getattr(optimizer, 'found_inf', None):
                return  # a fused optimiser, told so by the gradient scaler, leaves the step out
            gradients = [p.grad for p in parameters if p.grad is not None]
            if torch.isfinite(get_total_norm(gradients, norm_type=math.inf)):
                return
            message = f'iteration {runner.iter}: gradients are not finite{_reason(runner)}'
            if self.action == 'stop':
                raise UserError(message)
            runner.logger.warning(f'{message}; the step is skipped')
            for parameter in parameters:  # an optimiser leaves alone what has no gradient
                parameter.grad = None

        self.handle = runner.optim_wrapper.optimizer.register_step_pre_hook(check)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        model = unwrapped(runner.model)
        if isinstance(model, Distiller) and runner.optim_wrapper.should_update():
            model.not_finite.clear()

    def after_train(self, runner: Runner) -> None:
        self.handle.remove()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        for name, value in checkpoint['state_dict'].items():
            if not torch.isfinite(value).all():
                raise UserError(
                    f'iteration {runner.iter}: {name} is not finite; no checkpoint is written'
                )


def _reason(runner: Runner) -> str:
    model = unwrapped(runner.model)
    own = list(model.not_finite.values()) if isinstance(model, Distiller) else []
    # Each process knows of its own images; all are here, for they hold the same gradients.
    reasons = dict.fromkeys(reason for found in all_gather_object(own) for reason in found)
    return '; ' + ('; '.join(reasons) or 'no distillation term is the cause')
