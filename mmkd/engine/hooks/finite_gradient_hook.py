import math

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.nn.utils import get_total_norm

from mmkd.distillation.distiller import Distiller
from mmkd.engine.wrapping import unwrapped
from mmkd.errors import UserError, check_choice
from mmkd.registry import HOOKS


@HOOKS.register_module()
class FiniteGradientHook(Hook):
    """Stop or skip optimizer steps whose gradients are not finite.

    The message names the iteration and the distillation terms that were not finite, with statistics
    of what they compared. Processes that train together hold the same gradients, so they decide
    alike. With ``clip_grad=dict(type='value')``, MMEngine bounds infinite gradients before this
    check, so only NaN stops the training. Under AMP, steps that the gradient scaler drops do not
    count. Weights that are not finite are never written to a checkpoint, for example BatchNorm
    averages of a batch with NaN.

    Args:
        action: ``stop`` ends the training; ``skip`` drops the step, logs a warning and continues.
            The number of dropped steps is logged as ``skipped_steps``.

    Raises:
        UserError: ``action`` is unknown. In training: gradients or weights are not finite.
    """

    def __init__(self, action: str = 'stop') -> None:
        check_choice('FiniteGradientHook.action', action, ('stop', 'skip'))
        self.action = action

    def before_train(self, runner: Runner) -> None:
        def check(optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
            parameters = [p for group in optimizer.param_groups for p in group['params']]
            if getattr(optimizer, 'found_inf', None):
                return  # the gradient scaler makes a fused optimizer skip the step
            gradients = [p.grad for p in parameters if p.grad is not None]
            if torch.isfinite(get_total_norm(gradients, norm_type=math.inf)):
                return
            message = f'iteration {runner.iter}: gradients are not finite{_reason(runner)}'
            if self.action == 'stop':
                raise UserError(message)
            runner.logger.warning(f'{message}; the step is skipped')
            skipped = runner.message_hub.runtime_info.get('skipped_steps', 0) + 1
            runner.message_hub.update_info('skipped_steps', skipped)
            for phase in ('train', 'val'):
                runner.message_hub.update_scalar(f'{phase}/skipped_steps', skipped)
            for parameter in parameters:  # an optimizer skips parameters without a gradient
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
            model.forget_terms()

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
    own = list(model.nonfinite_terms().values()) if isinstance(model, Distiller) else []
    # Each process knows only its images. All processes are here, as they hold the same gradients.
    reasons = dict.fromkeys(reason for found in all_gather_object(own) for reason in found)
    return '; ' + ('; '.join(reasons) or 'no distillation term is the cause')
