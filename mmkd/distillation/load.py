"""Load a trained distillation, to inspect or measure it."""

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmkd.checkpoints.load_weights import load_weights
from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.config.student import whole_model
from mmkd.distillation.distiller import Distiller
from mmkd.registry import MODELS


def load_distiller(config: Config, checkpoint: str | None) -> Distiller:
    """Build both networks and the terms of a distillation config.

    Args:
        config: The distillation config; its teacher's checkpoint must exist.
        checkpoint: The student's checkpoint; None for random weights.

    Raises:
        UserError: A checkpoint does not exist or does not fit.
    """
    init_default_scope(config.get('default_scope') or 'mmengine')
    distiller = MODELS.build(whole_model(config))
    if checkpoint is not None:
        weights = load_checkpoint_file(checkpoint)
        load_weights(distiller.student, weights, f'checkpoint {checkpoint}')
        # Only checkpoints of a distillation hold the learned parts of terms.
        distiller.distill.load_state_dict(weights.get('distill', {}), strict=False)
    return distiller
