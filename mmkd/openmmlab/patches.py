"""Every change that mmkd makes to MMEngine, MMSegmentation or PyTorch, with its reason.

:func:`apply_patches` runs once, when mmkd is imported. Written for MMEngine 0.10.7 and for its
maintained continuation 0.10.12.
"""

import functools
import os
from collections.abc import Callable, Sequence
from itertools import chain
from types import SimpleNamespace
from typing import Any, BinaryIO

import torch
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import CocoDataset
from mmdet.evaluation.metrics import coco_metric
from mmdet.models.dense_heads import YOLOXHead
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.dataset import ClassBalancedDataset
from mmengine.fileio import PickleHandler, register_backend, register_handler
from mmengine.hooks import CheckpointHook
from mmengine.logging import HistoryBuffer
from mmengine.model import is_model_wrapper
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader
from mmseg.models.losses import cross_entropy_loss
from torch import Tensor, nn

from mmkd.checkpoints.atomic_files import AtomicBackend
from mmkd.checkpoints.safe_load import (
    FORCE_SAFE,
    NUMPY_TYPES,
    MapLocation,
    PlainUnpickler,
    history_statistic,
    load_checkpoint_file,
    trusts_pickles,
)
from mmkd.config.checks.checkpoints import check_metric_reported
from mmkd.config.load import installed_config
from mmkd.datasets.checked_coco import CheckedCOCO
from mmkd.datasets.seeded_sampler import carry_draw
from mmkd.openmmlab.orientation import load_in_annotated_frame
from mmkd.ops.precision import at_least_float32

_mmengine_finds_base = Config._get_cfg_path
_mmseg_cross_entropy = cross_entropy_loss.cross_entropy
_mmengine_loads = CheckpointLoader.load_checkpoint.__func__
_mmcv_loads_image = LoadImageFromFile.transform
_mmengine_finds_repeated = ClassBalancedDataset._get_ori_dataset_idx
_mmdet_pools_regions = SingleRoIExtractor.forward
_mmdet_predicts = BaseDenseHead.predict_by_feat
_yolox_predicts = YOLOXHead.predict_by_feat
_yolox_loss = YOLOXHead.loss_by_feat
_mmengine_builds_optimizer = DefaultOptimWrapperConstructor.__call__
_mmengine_saves_best = CheckpointHook._save_best_checkpoint


def apply_patches() -> None:
    """Change the libraries as this module describes. A second call changes nothing."""
    _load_checkpoints_safely()
    _find_configs()
    _average_class_weights()
    # Constructors such as layer-wise decay look for the names `backbone.` and for the attribute
    # `backbone`. In a Distiller the student's parameters are named `student.backbone.`. And of a
    # network with a layer named `module`, MMEngine would train that layer alone.
    DefaultOptimWrapperConstructor.__call__ = _build_optimizer
    # Checkpoint hooks write with ``backend_args=dict(backend='atomic')``: a crash leaves the old
    # file or the new one.
    register_backend('atomic', AtomicBackend, force=True)
    # MMCV turns an image by its EXIF orientation, and leaves its boxes and label map as they are.
    LoadImageFromFile.transform = _load_image
    # MMEngine looks the sample up in a list, from which it comes back without its draw's seed.
    ClassBalancedDataset._get_ori_dataset_idx = _find_repeated
    # MMDetection numbers the categories that a file happens to have: see CheckedCOCO.
    CocoDataset.COCOAPI = coco_metric.COCO = CheckedCOCO
    # MMEngine ends in a KeyError where the metric that chooses the best checkpoint is not reported:
    # CocoMetric reports nothing without a box, while another metric, or dataset, does.
    CheckpointHook._save_best_checkpoint = _save_best_reported
    # MMDetection 3.5.1 rounds regions to the features' type. bfloat16 moves a corner at
    # 1000 pixels by up to 2.
    SingleRoIExtractor.forward = _pool_regions
    # MMDetection 3.5.1 computes boxes in the type of the outputs of a head. At 1000 pixels bfloat16
    # holds only multiples of 4, and float16 of 0.5. YOLOX trains on such boxes.
    BaseDenseHead.predict_by_feat = _in_float32(_mmdet_predicts)
    YOLOXHead.predict_by_feat = _in_float32(_yolox_predicts)
    YOLOXHead.loss_by_feat = _in_float32(_yolox_loss)


def _load_checkpoints_safely() -> None:
    # MMEngine's checkpoints hold these histories of logged scalars.
    torch.serialization.add_safe_globals(
        [HistoryBuffer, (history_statistic, 'builtins.getattr'), *NUMPY_TYPES]
    )
    # MMEngine retries a file that the safe loader rejects with weights_only=False.
    os.environ[FORCE_SAFE] = '1'
    CheckpointLoader.register_scheme(
        prefixes=['', 'http://', 'https://'], loader=_load_for_mmengine, force=True
    )
    # On resume MMEngine runs the text of the config that a checkpoint carries.
    CheckpointLoader.load_checkpoint = classmethod(_load_without_code)
    register_handler(['pickle', 'pkl'])(_PlainPickleHandler)


def _find_configs() -> None:
    # MMEngine looks up MMSegmentation's configs by the name of the original package. The maintained
    # package has another name. The import name finds both.
    MODULE2PACKAGE['mmseg'] = 'mmseg'
    # In a config's ``_base_``, MMEngine accepts only ``library::folder/file.py`` and looks up the
    # types of the base only in that library. mmkd's configs lie at the top level and use types of
    # MMSegmentation and MMDetection. MMEngine does not have a public way to change either.
    Config._get_cfg_path = staticmethod(_find_base)


def _average_class_weights() -> None:
    # MMSegmentation 1.2.2 and 1.4.2 index a tensor of the counted pixels' weights with a mask of
    # all pixels: class_weight with avg_non_ignore=True is an IndexError for any label.
    cross_entropy_loss.cross_entropy = _cross_entropy


def _cross_entropy(
    pred: Tensor,
    label: Tensor,
    weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    reduction: str = 'mean',
    avg_factor: float | Tensor | None = None,
    ignore_index: int = -100,
    avg_non_ignore: bool = False,
) -> Tensor:
    if class_weight is not None and avg_factor is None and reduction == 'mean':
        avg_factor = class_weight[label[label != ignore_index]].sum()
    return _mmseg_cross_entropy(
        pred, label, weight, class_weight, reduction, avg_factor, ignore_index, avg_non_ignore
    )


def _load_for_mmengine(filename: str, map_location: MapLocation = None) -> Any:
    return load_checkpoint_file(filename, map_location)


def _load_without_code(loader: type[CheckpointLoader], *args: Any, **kwargs: Any) -> Any:
    checkpoint = _mmengine_loads(loader, *args, **kwargs)
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    if isinstance(meta, dict) and not trusts_pickles():
        for key in ('cfg', 'config'):
            meta.pop(key, None)
    return checkpoint


def _find_base(base: str, config: str) -> tuple:
    base = os.path.expanduser(base)
    if base.startswith('mmkd::'):
        return str(installed_config(base)), None
    return _mmengine_finds_base(base, config)


def _build_optimizer(constructor: DefaultOptimWrapperConstructor, model: nn.Module) -> OptimWrapper:
    if is_model_wrapper(model):
        model = model.module
    if hasattr(model, 'as_optimized'):
        model = model.as_optimized()
    # MMEngine takes what is named `module`. That could also be a layer of the network.
    return _mmengine_builds_optimizer(constructor, SimpleNamespace(module=model))


class _PlainPickleHandler(PickleHandler):
    def load_from_fileobj(self, file: BinaryIO, **kwargs: Any) -> Any:
        if not trusts_pickles():
            return PlainUnpickler(file, **kwargs).load()
        return super().load_from_fileobj(file, **kwargs)


def _load_image(loader: LoadImageFromFile, results: dict) -> dict | None:
    return load_in_annotated_frame(loader, results, _mmcv_loads_image)


def _find_repeated(dataset: ClassBalancedDataset, idx: int) -> int:
    return carry_draw(idx, _mmengine_finds_repeated(dataset, idx))


def _save_best_reported(hook: CheckpointHook, runner: Runner, metrics: dict) -> None:
    prefixes = {metric.prefix for metric in runner.val_evaluator.metrics if metric.prefix}
    groups = {name.rpartition('/')[0] for name in metrics}
    for name in hook.key_indicators or ():
        group = name.rpartition('/')[0]
        if name in metrics or name == 'auto':
            continue
        if group in groups or group.rpartition('/')[2] not in prefixes:
            check_metric_reported(runner.cfg, metrics)
        runner.logger.warning(f'this validation did not report {name}: no best checkpoint is saved')
        return
    _mmengine_saves_best(hook, runner, metrics)


def _pool_regions(
    extractor: SingleRoIExtractor, feats: Sequence[Tensor], rois: Tensor, *args: Any, **kwargs: Any
) -> Tensor:
    if feats[0].dtype == torch.bfloat16:
        feats = at_least_float32(*feats)
    return _mmdet_pools_regions(extractor, feats, rois, *args, **kwargs)


def _in_float32(by_feat: Callable) -> Callable:
    """Return a method of a head that computes in float32 where an output has half precision."""

    @functools.wraps(by_feat)
    def wide_by_feat(head: BaseDenseHead, *args: Any, **kwargs: Any) -> Any:
        halves = [x for x in chain(args, kwargs.values()) if _is_half(x)]
        if not halves:
            return by_feat(head, *args, **kwargs)
        args = [at_least_float32(*x) if _is_half(x) else x for x in args]
        kwargs = {key: at_least_float32(*x) if _is_half(x) else x for key, x in kwargs.items()}
        with torch.autocast(halves[0][0].device.type, enabled=False):
            return by_feat(head, *args, **kwargs)

    return wide_by_feat


def _is_half(levels: Any) -> bool:
    return (
        isinstance(levels, list | tuple)
        and all(isinstance(level, Tensor) for level in levels)
        and any(level.dtype in (torch.float16, torch.bfloat16) for level in levels)
    )
