"""Check that the loops of a config are complete, and their lengths."""

from mmengine.config import Config

from mmkd.config.types import type_name
from mmkd.errors import UserError, check_integer


def check_loops(config: Config) -> None:
    """Check that each loop has all of its parts, and the numbers that say how long one is.

    Raises:
        UserError: A part is missing, a length or an interval is not an integer, or below 1, or
            training ends before its first validation.
    """
    for parts in (
        ('train_dataloader', 'train_cfg', 'optim_wrapper'),
        ('val_dataloader', 'val_cfg', 'val_evaluator'),
        ('test_dataloader', 'test_cfg', 'test_evaluator'),
    ):
        missing = [key for key in parts if config.get(key) is None]
        if missing and len(missing) < len(parts):
            raise UserError(
                f'{missing[0]}=None: expected all of {", ".join(parts)}, or none; set it, or set '
                'the others to None'
            )
    loop = config.get('train_cfg') or {}
    for key in ('max_iters', 'max_epochs', 'val_interval'):
        if loop.get(key) is not None:
            check_integer(f'train_cfg.{key}', loop[key], least=1)
    if loop.get('val_begin') is not None:
        check_integer('train_cfg.val_begin', loop['val_begin'], least=0)
        length = loop.get('max_iters') or loop.get('max_epochs')
        if length is not None and loop['val_begin'] > length and config.get('val_cfg') is not None:
            raise UserError(
                f'train_cfg.val_begin={loop["val_begin"]}: expected at most {length}, where the '
                'training ends, or it never validates; lower it'
            )
    for name, least in (('checkpoint', None), ('logger', 1)):
        hook = (config.get('default_hooks') or {}).get(name) or {}
        check_integer(f'default_hooks.{name}.interval', hook.get('interval', 1), least)


def trains_by_epoch(config: Config) -> bool:
    """Return whether the training loop counts epochs, as MMEngine decides it."""
    loop = config.get('train_cfg') or {}
    named = 'EpochBased' in type_name(loop.get('type'))
    return loop.get('by_epoch', named or 'max_epochs' in loop)
