from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from mmkd.errors import UserError
from mmkd.registry import HOOKS

# The state of a schedule that changes in training; the rest comes from its config.
_MOVING = {
    'last_step', '_global_step', '_last_value', 'base_values', 'verbose', 'optimizer', '_step_count'
}  # fmt: skip


@HOOKS.register_module()
class CheckResumedHook(Hook):
    """Say which keys of a config a resumed training does not follow.

    MMEngine puts the checkpoint's learning rates and schedules over the config's. A warning names
    each key with both values. A new ``train_cfg.max_iters`` is followed, by the loop alone.

    Raises:
        UserError: the checkpoint is of another type of optimizer, or of other groups of
            parameters, so that its state cannot be taken over.
    """

    # Run after StudentCheckpointHook, which names a term whose weights do not fit. Hooks of one
    # priority run in the order of the config.
    priority = 'LOWEST'

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not runner.cfg.get('resume'):
            return
        changes = []
        saved = checkpoint.get('optimizer')
        # The wrapper's own param_groups hold one more with paramwise_cfg: its base settings.
        if isinstance(saved, dict) and isinstance(runner.optim_wrapper, OptimWrapper):
            changes += _optimizer_changes(runner.optim_wrapper.optimizer.param_groups, saved)
        schedules = checkpoint.get('param_schedulers')
        if isinstance(schedules, list) and isinstance(runner.param_schedulers, list):
            changes += _schedule_changes(runner.param_schedulers, schedules)
        for key, now, before in changes:
            runner.logger.warning(
                f'--resume: {key}={now!r} has no effect: the training goes on with {before!r}, as '
                'in the checkpoint; to use the new value, start a new training with load_from'
            )
        hub = checkpoint.get('message_hub')
        facts = hub.get('runtime_info') if isinstance(hub, dict) else None
        for name in ('max_iters', 'max_epochs'):
            before, now = (facts or {}).get(name), runner.cfg.train_cfg.get(name)
            if type(before) is int and now is not None and now != before:
                runner.logger.warning(
                    f'--resume: train_cfg.{name}={now}: the training ends there, not at {before}; '
                    'the learning rate keeps the schedule of the checkpoint'
                )


def _optimizer_changes(groups: list[dict], saved: dict) -> Iterator[tuple[str, Any, Any]]:
    saved_groups = saved.get('param_groups') or []
    for now, before in zip(groups, saved_groups, strict=False):
        other = (now.keys() ^ before.keys()) - {'initial_lr'}
        if other:
            raise UserError(
                '--resume: optim_wrapper.optimizer.type: expected the type of the checkpoint, '
                f'whose settings are {", ".join(sorted(before.keys() - {"params"}))}; set it back, '
                'or start a new training with load_from'
            )
    if [len(g['params']) for g in groups] != [len(g['params']) for g in saved_groups]:
        raise UserError(
            f'--resume: optim_wrapper: expected {len(saved_groups)} groups of as many '
            f'parameters as in the checkpoint, got {len(groups)} groups; set '
            'paramwise_cfg back, or start a new training with load_from'
        )
    said = set()
    for now, before in zip(groups, saved_groups, strict=True):
        for key, value in now.items():
            name = key.removeprefix('initial_')
            moves = f'initial_{key}' in now  # a schedule moves it from its initial value
            if key == 'params' or moves or name in said or _same(value, before.get(key)):
                continue
            said.add(name)
            yield f'optim_wrapper.optimizer.{name}', value, before.get(key)


def _schedule_changes(schedules: list, saved: list) -> Iterator[tuple[str, Any, Any]]:
    if len(schedules) != len(saved):
        yield 'len(param_scheduler)', len(schedules), len(saved)
    for i, (schedule, before) in enumerate(zip(schedules, saved, strict=False)):
        now = schedule.state_dict()
        if now.keys() != before.keys():
            yield f'param_scheduler.{i}.type', type(schedule).__name__, 'another type'
            continue
        for key in sorted(now.keys() - _MOVING):
            if not _same(now[key], before[key]):
                yield f'param_scheduler.{i}.{key}', now[key], before[key]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Mapping | list | tuple) and isinstance(b, list | tuple):
        return list(a) == list(b)
    return a == b
