"""Networks for prediction: a trained student in Python, and the network of a config."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from mmdet.apis import DetInferencer
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmseg.apis import MMSegInferencer
from torch import nn

from mmkd.checkpoints.load_weights import load_weights
from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.config.load import load_work_dir_config
from mmkd.config.student import innermost_dataset, model_config, student_config
from mmkd.config.types import type_library, type_name
from mmkd.errors import UserError
from mmkd.openmmlab.lean_heads import use_lean_heads
from mmkd.registry import MODELS

if TYPE_CHECKING:  # an extra
    from mmpretrain.apis import ImageClassificationInferencer


def _classification_inferencer(
    config: Config, weights: str, device: str | None
) -> ImageClassificationInferencer:
    from mmpretrain.apis import ImageClassificationInferencer

    return ImageClassificationInferencer(config, weights, device=device)


_INFERENCERS = {
    'mmseg': (MMSegInferencer, 'SegLocalVisualizer'),
    'mmdet': (DetInferencer, 'DetLocalVisualizer'),
    'mmpretrain': (_classification_inferencer, 'UniversalVisualizer'),
}


def load_student(
    work_dir: str | Path, device: str | None = None
) -> MMSegInferencer | DetInferencer | ImageClassificationInferencer:
    """Load the network of a finished run as the inferencer of the library that it comes from.

    ``load_student('work_dirs/segformer_fastscnn_freq')('street.png')['predictions']`` are the
    labels (H, W) of an image; see the documentation of the inferencer. For a distillation it is the
    student. Teachers and baselines load in the same way. Images are loaded as in a test, or as in
    validation if the config does not have ``test_dataloader``.

    Args:
        work_dir: Holds ``best.pth``, and ``student.py`` or the config that MMEngine copies there.
        device: Such as ``cpu`` or ``cuda:1``; the default is a GPU if there is one.

    Raises:
        UserError: The folder does not hold a trained network, its files do not fit each other, its
            config has neither test nor validation data, or the device is not there.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):  # PyTorch without CUDA raises the second
        raise UserError(
            f'device={device!r}: expected cpu, or a GPU that PyTorch finds, such as cuda:0; it '
            f'finds {torch.cuda.device_count()}'
        ) from None
    config = _own_images(student_config(load_work_dir_config(work_dir)), work_dir)
    # Pure Python configs need no default scope.
    scope = config.get('default_scope') or type_library(config.model.type)
    if scope not in _INFERENCERS:
        choices = ', '.join(_INFERENCERS)
        raise UserError(f'{work_dir}: default_scope={scope!r}: expected one of {choices}')
    weights = Path(work_dir).expanduser() / 'best.pth'
    checkpoint = load_checkpoint_file(str(weights))
    inferencer_type, visualizer = _INFERENCERS[scope]
    config.visualizer = dict(type=visualizer)
    inferencer = inferencer_type(config, str(weights), device=device)
    load_weights(inferencer.model, checkpoint, f'checkpoint {weights}')
    use_lean_heads(inferencer.model)
    return inferencer


def load_network(config: Config, checkpoint: str | Path) -> nn.Module:
    """Return :func:`build_network` with trained weights.

    Raises:
        UserError: The checkpoint does not exist, or does not fit the config.
    """
    network = build_network(config)
    load_weights(network, load_checkpoint_file(checkpoint), f'checkpoint {checkpoint}')
    return network


def build_network(config: Config) -> nn.Module:
    """Return the config's network (its student if it distils), untrained, in eval mode."""
    with DefaultScope.overwrite_default_scope(config.get('default_scope')):
        network = revert_sync_batchnorm(MODELS.build(model_config(config))).eval()
    use_lean_heads(network)
    return network


def _own_images(config: Config, work_dir: str | Path) -> Config:
    """Return the config with a test pipeline that loads image files without annotations."""
    loader = config.get('test_dataloader') or config.get('val_dataloader')
    if not loader:
        raise UserError(
            f'{work_dir}: test_dataloader=None: expected a pipeline of images; set test_dataloader '
            "in the folder's config"
        )
    dataset = innermost_dataset(loader.dataset)
    # By its short name: MMSegmentation 1.4's inferencer does not find it by its path.
    loaders = dict.fromkeys(('RenderStreet', 'LoadImageFromFile'), 'LoadImageFromFile')
    dataset.pipeline = [
        dict(step, type=loaders.get(type_name(step['type']), step['type']))
        for step in dataset.pipeline
        if type_name(step['type']) not in ('LoadAnnotations', 'LoadCheckedAnnotations')
    ]
    config.test_dataloader = dict(loader, dataset=dataset)  # the inferencer reads its pipeline
    return config
