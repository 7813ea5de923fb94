"""Check the weights that a training starts or resumes from."""

import logging
from numbers import Real
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader

from mmkd.checkpoints.load_weights import load_weights
from mmkd.config.student import is_distillation, model_config
from mmkd.distillation.rng import preserve_rng_state
from mmkd.errors import UserError, check_path, is_integer
from mmkd.registry import MODELS


def check_load_from(config: Config, resumed_by: str = '--resume') -> None:
    """Check that the network, or the distilled student, takes all of ``load_from``.

    MMEngine loads the weights that fit and leaves the others as initialised. Learned parts of terms
    are not checked here. A start does not need them, and ``mmkd.StudentCheckpointHook`` checks them
    on resume.

    A training that resumes gets the seed of its checkpoint.

    Args:
        config: The config of the training.
        resumed_by: The option by which you asked to resume, if ``config.resume`` is true.

    Raises:
        UserError: The file does not exist, does not fit the network, or lacks what to resume from.
    """
    path = config.get('load_from')
    if not path:
        return
    check_path('load_from', path)
    resume = bool(config.get('resume'))
    if not resume and '://' not in path and not Path(path).is_file():
        raise UserError(f'load_from={path}: expected an existing file; train it, or set another')
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu', logger='silent')
    state = checkpoint.get('state_dict', checkpoint) if isinstance(checkpoint, dict) else None
    with preserve_rng_state(), DefaultScope.overwrite_default_scope(config.get('default_scope')):
        network = MODELS.build(model_config(config))
    if is_distillation(config) and isinstance(state, dict):  # both ways of naming
        wrapper = '' if hasattr(network, 'module') else 'module.'
        names = {key: key.removeprefix(wrapper) for key in state}
        own = network.state_dict().keys()
        state = {
            name if name in own else name.removeprefix('student.'): state[key]
            for key, name in names.items()
            if not name.startswith('distill.')
        }
    source = f'{resumed_by}: checkpoint {path}' if resume else f'load_from={path}'
    load_weights(network, state, source, exact=resume)
    if resume:
        _check_resumable(checkpoint, source)
        _take_seed(config, checkpoint['meta'].get('seed'), resumed_by)


def _check_resumable(checkpoint: object, source: str) -> None:
    """Check that a checkpoint holds what MMEngine resumes from, beside the weights.

    Raises:
        UserError: A part is missing or of another type.
    """
    whole = checkpoint if isinstance(checkpoint, dict) else {}
    meta, hub = (
        whole[k] if isinstance(whole.get(k), dict) else {} for k in ('meta', 'message_hub')
    )
    facts = hub['runtime_info'] if isinstance(hub.get('runtime_info'), dict) else {}
    scores = {key: facts[key] for key in facts if str(key).startswith('best_score')}
    fits = {
        'meta.iter': is_integer(meta.get('iter'), 0),
        'meta.epoch': is_integer(meta.get('epoch'), 0),
        'meta.seed': meta.get('seed') is None or is_integer(meta['seed'], 0),
        'optimizer': isinstance(whole.get('optimizer'), dict),
        'param_schedulers': isinstance(whole.get('param_schedulers', []), list | dict),
        'message_hub.log_scalars': isinstance(hub.get('log_scalars'), dict),
        'message_hub.resumed_keys': isinstance(hub.get('resumed_keys'), dict),
        'message_hub.runtime_info': isinstance(hub.get('runtime_info'), dict),
    } | {
        f'message_hub.runtime_info.{key}': isinstance(score, Real) for key, score in scores.items()
    }
    for key, fit in fits.items():
        if not fit:
            raise UserError(
                f'{source}: {key}: expected the value that MMEngine saves to resume from; delete '
                'the file to resume an earlier one, or start from its weights with load_from, '
                'without resume'
            )


def _take_seed(config: Config, seed: int | None, resumed_by: str) -> None:
    # MMEngine takes the checkpoint's seed too, but after it has built the data loader, which would
    # go on in another order.
    randomness = config.get('randomness') or {}
    own = randomness.get('seed')
    if seed is None or seed == own:
        return
    if own is not None:
        print_log(
            f'{resumed_by}: randomness.seed={own} has no effect: the training continues with '
            f'{seed}, the seed of the checkpoint',
            'current',
            logging.WARNING,
        )
    config.randomness = dict(randomness, seed=seed)
