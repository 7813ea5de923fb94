"""IoU by class of finished runs, for the ablation's second table."""

import json
from collections.abc import Iterable
from pathlib import Path

from mmengine.runner import Runner

from mmkd.ablation.report import Summary
from mmkd.ablation.runs import Run
from mmkd.configs import load_work_dir_config, student_config
from mmkd.engine.files import write_atomically
from mmkd.errors import UserError


def class_scores(summaries: Iterable[Summary]) -> dict[str, dict[str, list[float]]]:
    """IoU in percent by config and class, a value a seed, of the last checkpoints on ``val``.

    Each finished run is evaluated once; its values stay in its folder, until it trains on.

    Raises:
        UserError: a run's checkpoints are gone.
    """
    scores: dict[str, dict[str, list[float]]] = {}
    for summary in summaries:
        for run in summary.finished:
            for name, value in _of_run(run).items():
                scores.setdefault(summary.name, {}).setdefault(name, []).append(value)
    return scores


def check_class_scores(runs: Iterable[Run]) -> None:
    """Check, before they train, that runs can be compared by class.

    Raises:
        UserError: a run is none of semantic segmentation.
    """
    for run in runs:
        if run.metric != 'mIoU':
            raise UserError(f'--per-class: {run.config} is compared by {run.metric}, not by mIoU')


def _of_run(run: Run) -> dict[str, float]:
    kept, last = run.folder / 'class_iou.json', run.last_checkpoint
    checkpoint = [Path(last).name, Path(last).stat().st_mtime_ns]
    known = json.loads(kept.read_text()) if kept.is_file() else {}
    if known.get('checkpoint') != checkpoint:
        config = student_config(load_work_dir_config(run.folder))
        config.test_dataloader = config.val_dataloader  # what the runs are compared on
        config.test_evaluator = dict(type='mmkd.ClassIoUMetric')
        config.work_dir = str(run.folder / 'test')
        config.load_from = last
        config.log_level = 'WARNING'
        config.experiment_name = str(run.folder)
        config.custom_imports = dict(imports=['mmkd'], allow_failed_imports=False)
        known = dict(checkpoint=checkpoint, iou=Runner.from_cfg(config).test())
        write_atomically(kept, json.dumps(known).encode())
    return known['iou']
