"""Networks for prediction: a trained student from Python, and the one that a config describes."""

from pathlib import Path

from mmdet.apis import DetInferencer
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmseg.apis import MMSegInferencer
from torch import nn

from mmkd.checkpoint import load_checkpoint_file, load_weights
from mmkd.configs import load_work_dir_config, model_config, student_config
from mmkd.errors import UserError
from mmkd.registry import MODELS

_INFERENCERS = {
    'mmseg': (MMSegInferencer, 'SegLocalVisualizer'),
    'mmdet': (DetInferencer, 'DetLocalVisualizer'),
}


def load_student(
    work_dir: str | Path, device: str | None = None
) -> MMSegInferencer | DetInferencer:
    """The network of a finished run, as MMSegmentation's or MMDetection's inferencer.

    ``load_student('work_dirs/segformer_fastscnn_freq')('street.png')['predictions']`` are the
    labels (H, W) of an image; the inferencer's own documentation tells the rest. Of a distillation
    it is the student; teachers and students that trained alone load in the same way.

    Args:
        work_dir: holds ``best.pth``, and ``student.py`` or the config that MMEngine copies there.
        device: such as ``cpu`` or ``cuda:1``; a GPU if there is one, by default.

    Raises:
        UserError: the folder holds no trained network, or its files do not fit each other.
    """
    config = _own_images(student_config(load_work_dir_config(work_dir)))
    scope = config.get('default_scope')
    if scope not in _INFERENCERS:
        raise UserError(f'{work_dir}: default_scope={scope!r}; allowed: {", ".join(_INFERENCERS)}')
    weights = Path(work_dir) / 'best.pth'
    checkpoint = load_checkpoint_file(str(weights))
    inferencer_type, visualizer = _INFERENCERS[scope]
    config.visualizer = dict(type=visualizer)
    inferencer = inferencer_type(config, str(weights), device=device)
    load_weights(inferencer.model, checkpoint, f'checkpoint {weights}')
    return inferencer


def load_network(config: Config, checkpoint: str | Path) -> nn.Module:
    """:func:`build_network`, trained.

    Raises:
        UserError: the checkpoint is not there, or does not fit the config.
    """
    network = build_network(config)
    load_weights(network, load_checkpoint_file(checkpoint), f'checkpoint {checkpoint}')
    return network


def build_network(config: Config) -> nn.Module:
    """The network that a config is about, its student if it distils, in eval mode, not trained."""
    with DefaultScope.overwrite_default_scope(config.get('default_scope')):
        return revert_sync_batchnorm(MODELS.build(model_config(config))).eval()


def _own_images(config: Config) -> Config:
    """The config with a test pipeline that reads image files, annotated or not."""
    dataset = config.test_dataloader.dataset
    loaders = {'mmkd.LoadStreet': 'LoadImageFromFile'}
    dataset.pipeline = [
        dict(step, type=loaders.get(step['type'], step['type']))
        for step in dataset.pipeline
        if step['type'] not in ('LoadAnnotations', 'mmkd.LoadLabels')
    ]
    return config
