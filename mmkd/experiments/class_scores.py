"""Per-class IoU of finished runs, for the ablation's second table."""

import copy
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

from mmengine.runner import Runner

from mmkd.checkpoints.atomic_files import write_atomically
from mmkd.config.load import load_work_dir_config
from mmkd.config.student import student_config
from mmkd.errors import UserError
from mmkd.experiments.run import Run
from mmkd.experiments.summary import Summary


def class_scores(summaries: Iterable[Summary]) -> dict[str, dict[str, dict[int, float]]]:
    """Return IoU in percent by config, class and seed, of last checkpoints on val.

    Where validation has several datasets, each with a prefix, a class is named ``prefix/class``.
    Each finished run is evaluated once. Its values stay in its folder until it trains further.

    Raises:
        UserError: The checkpoints of a run are missing.
    """
    scores: dict[str, dict[str, dict[int, float]]] = {}
    for summary in summaries:
        for run in summary.finished:
            for name, value in _of_run(run).items():
                scores.setdefault(summary.name, {}).setdefault(name, {})[run.seed] = value
    return scores


def paired_differences(
    scores: Mapping[str, Mapping[str, Mapping[int, float]]], name: str, other: str
) -> dict[str, list[float]]:
    """Return the differences of two configs by class, one for each seed that has both values.

    Args:
        scores: As ``class_scores`` returns them.
        name, other: The configs: ``name`` minus ``other``.
    """
    found = {}
    for label, own in scores.get(name, {}).items():
        others = scores.get(other, {}).get(label, {})
        gaps = [value - others[seed] for seed, value in own.items() if seed in others]
        found[label] = [gap for gap in gaps if not math.isnan(gap)]
    return found


def check_class_scores(runs: Iterable[Run]) -> None:
    """Check, before the runs train, that they can be compared by class.

    Raises:
        UserError: A run is not semantic segmentation.
    """
    for run in runs:
        if not has_class_scores(run):
            raise UserError(f'--per-class: {run.config} has {run.metric}: expected the metric mIoU')


def has_class_scores(run: Run) -> bool:
    """Return whether a run is semantic segmentation, on one validation dataset or on several."""
    return run.metric == 'mIoU' or run.metric.endswith('/mIoU')


def _of_run(run: Run) -> dict[str, float]:
    kept, last = run.folder / 'class_iou.json', run.last_checkpoint
    checkpoint = [Path(last).name, Path(last).stat().st_mtime_ns]
    known = _load_kept(kept)
    if known is None or known['checkpoint'] != checkpoint:
        config = student_config(load_work_dir_config(run.folder))
        config.test_dataloader = config.val_dataloader  # runs are compared on val
        config.test_evaluator = _class_evaluator(config.val_evaluator)
        config.test_cfg = config.get('test_cfg') or dict(type='TestLoop')
        config.work_dir = str(run.folder / 'test')
        config.load_from = last
        config.log_level = 'WARNING'
        config.experiment_name = str(run.folder)
        config.custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
        known = dict(checkpoint=checkpoint, iou=Runner.from_cfg(config).test())
        write_atomically(kept, json.dumps(known).encode())
    return known['iou']


def _load_kept(path: Path) -> dict | None:
    """Return the values that an earlier call kept, None if there are none that can be read."""
    try:
        known = json.loads(path.read_text())
        values = [known['checkpoint'], *known['iou'].values()][1:]
    except (OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError):
        return None
    return known if all(type(value) in (int, float) for value in values) else None


def _class_evaluator(evaluator: dict | list) -> dict:
    """Return an evaluator of every class, on the datasets that ``evaluator`` tells apart."""
    if not (isinstance(evaluator, dict) and 'dataset_prefixes' in evaluator):
        return _class_metric(evaluator)
    metrics = [_class_metric(metric) for metric in evaluator['metrics']]
    return dict(copy.deepcopy(evaluator), metrics=metrics)


def _class_metric(metrics: dict | list) -> dict:
    """Return the metric of every class that leaves out the pixels that the scores leave out."""
    metrics = metrics if isinstance(metrics, list) else [metrics]
    keys = ('ignore_index', 'nan_to_num')
    own = {key: metric[key] for metric in metrics for key in keys if key in metric}
    return dict(type='mmkd.ClassIoUMetric', **own)
