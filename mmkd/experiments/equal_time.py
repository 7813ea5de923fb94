"""Train a baseline for as much wall-clock time as a distillation takes."""

from mmengine.config import Config

# The arguments of MMEngine's parameter schedulers that count iterations or epochs.
_TIMES = ('begin', 'end', 'T_max', 'total_iters', 'step_size', 'milestones', 'periods')


def stretch_training(config: Config, factor: float) -> list[str]:
    """Return the overrides, as ``key=value``, that make a training ``factor`` times longer.

    Every schedule of the optimizer's parameters is stretched with it, warm-ups too, and so is the
    number of samples after which mosaic and mixup end.
    """
    loop = 'max_iters' if config.train_cfg.get('max_iters') else 'max_epochs'
    options = {f'train_cfg.{loop}': config.train_cfg[loop]}
    schedulers = config.get('param_scheduler') or []
    named = {'': schedulers} if isinstance(schedulers, dict) else dict(enumerate(schedulers))
    for name, scheduler in named.items():
        prefix = 'param_scheduler.' + (f'{name}.' if name != '' else '')
        options |= {prefix + key: scheduler[key] for key in _TIMES if scheduler.get(key)}
    if mixing := config.train_dataloader.dataset.get('mix_until_sample'):
        options['train_dataloader.dataset.mix_until_sample'] = mixing
    return [f'{key}={_stretch(value, factor)}' for key, value in options.items()]


def _stretch(value: int | list[int], factor: float) -> int | str:
    if isinstance(value, list | tuple):
        return '[' + ','.join(str(round(item * factor)) for item in value) + ']'
    return round(value * factor)
