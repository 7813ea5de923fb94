"""Weights to start or to go on from are checked before anything trains."""

from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader

from mmkd.checkpoint import load_weights
from mmkd.configs import is_distillation, model_config
from mmkd.engine.randomness import random_state_kept
from mmkd.errors import UserError
from mmkd.registry import MODELS


def check_starting_weights(config: Config, resumed_by: str = '--resume') -> None:
    """Check that the network, or the student that is distilled, takes ``load_from`` whole.

    MMEngine loads what fits and leaves the rest as it was initialised. Learnt parts of terms are
    no concern of this: a start needs none, and ``mmkd.StudentCheckpointHook`` checks those that
    are resumed.

    Args:
        config: the config of the training.
        resumed_by: where the user asked to resume, if ``config.resume`` is true.

    Raises:
        UserError: there is no such file, or it does not fit the network.
    """
    path = config.get('load_from')
    if not path:
        return
    resume = bool(config.get('resume'))
    if not resume and '://' not in path and not Path(path).is_file():
        raise UserError(f'load_from={path} does not exist; train it first, or set another')
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu', logger='silent')
    state = checkpoint.get('state_dict', checkpoint) if isinstance(checkpoint, dict) else None
    if is_distillation(config) and isinstance(state, dict):  # either way of naming, see Distiller
        names = {key: key.removeprefix('module.') for key in state}
        state = {
            name.removeprefix('student.'): state[key]
            for key, name in names.items()
            if not name.startswith('distill.')
        }
    with random_state_kept(), DefaultScope.overwrite_default_scope(config.get('default_scope')):
        network = MODELS.build(model_config(config))
    source = f'{resumed_by}: checkpoint {path}' if resume else f'load_from={path}'
    load_weights(network, state, source, exact=resume)
