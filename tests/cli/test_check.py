"""``mmkd check`` on real networks: what it prints of the teacher, the taps and the gradients."""

import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import nn

from mmkd.cli.check import score, smaller_is_better

ROOT = Path(__file__).resolve().parents[2]


def check(monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, 'argv', ['mmkd check', *words])
    runpy.run_path(str(ROOT / 'tools/check.py'), run_name='__main__')


def test_check_names_a_blank_map_and_a_term_of_hardly_any_effect(recipe_file, monkeypatch, capsys):
    recipe_file.write_text(
        recipe_file.read_text()
        + "model['distill'] = dict(encoder=dict(teacher='backbone[3]', weight=1e-4))\n"
    )
    lines = []
    monkeypatch.setattr(
        'mmkd.distillation.sample_batch.print_log', lambda text, _: lines.append(text)
    )
    check(monkeypatch, str(recipe_file), '--images', '2')
    out = capsys.readouterr().out
    assert not lines  # no word of a synthetic batch: the terms are tried on the config's images
    assert 'Teacher: mIoU' in out and 'on the first 2 validation images' in out
    assert '| Class ' not in out
    assert 'backbone[1]: stride 32, 128 channels' in out
    assert 'Term encoder compares attention maps, and the map of backbone[3]' in out
    assert 'Term encoder has hardly any effect' in out
    assert "The baseline's score is not known" in out


def test_check_config_that_does_not_distil_is_an_error(monkeypatch, capsys):
    with pytest.raises(SystemExit, match='2'):
        check(monkeypatch, 'mmkd::students/fast_scnn_streets.py')
    assert 'expected a distillation (model.type=mmkd.Distiller)' in capsys.readouterr().err


@pytest.mark.parametrize('key', ['val_dataloader', 'val_evaluator'])
def test_check_config_without_validation_is_an_error(recipe_file, monkeypatch, capsys, key):
    with pytest.raises(SystemExit, match='2'):
        check(monkeypatch, str(recipe_file), '--cfg-options', f'{key}=None')
    assert f'{key}=None: expected the data to check on' in capsys.readouterr().err


def test_check_damaged_baseline_is_an_error_before_the_teacher_is_scored(
    recipe_file, monkeypatch, tmp_path, capsys
):
    (tmp_path / 'empty.pth').touch()
    scored = []
    monkeypatch.setattr('mmkd.cli.check.score', lambda *_: scored.append(1) or ('mIoU', 0.0))
    with pytest.raises(SystemExit, match='2'):
        check(monkeypatch, str(recipe_file), '--baseline', str(tmp_path / 'empty.pth'))
    assert 'empty.pth is damaged' in capsys.readouterr().err
    assert not scored


def test_check_launcher_is_rejected(recipe_file, monkeypatch, capsys):
    with pytest.raises(SystemExit, match='2'):
        check(monkeypatch, str(recipe_file), '--launcher', 'pytorch')
    assert 'unrecognized arguments: --launcher' in capsys.readouterr().err


@pytest.mark.parametrize(
    'hook, metric, smaller',
    [
        (dict(save_best='mIoU'), 'mIoU', False),
        (dict(save_best='val_loss'), 'val_loss', True),
        (dict(save_best='error'), 'error', False),  # unknown to MMEngine
        (dict(save_best='error', rule='less'), 'error', True),
        (dict(save_best=['a/mIoU', 'a/error'], rule=['greater', 'less']), 'error', True),
        (dict(save_best=['a/mIoU', 'a/error'], rule=['greater', 'less']), 'mIoU', False),
        (None, 'mIoU', False),
    ],
)
def test_smaller_is_better_is_decided_as_the_checkpoint_hook_does(hook, metric, smaller):
    config = Config(dict(default_hooks=dict(checkpoint=hook)))
    assert smaller_is_better(config, metric) == smaller


class Perfect(nn.Module):
    """A network that finds every box as it is annotated."""

    def val_step(self, batch: dict) -> list:
        for sample in batch['data_samples']:
            truth = sample.gt_instances
            sample.pred_instances = InstanceData(
                bboxes=truth.bboxes.tensor, labels=truth.labels, scores=torch.ones(len(truth))
            )
        return batch['data_samples']


@pytest.mark.parametrize('count', [1, 3, 9])
def test_score_of_a_perfect_detector_is_1_on_any_number_of_images(tmp_path, count):
    cv2.imwrite(str(tmp_path / '0.jpg'), np.zeros((64, 96, 3), np.uint8))
    size = dict(file_name='0.jpg', height=64, width=96)
    box = dict(category_id=1, bbox=[5, 5, 20, 30])
    facts = dict(
        images=[dict(size, id=i) for i in range(4)],
        annotations=[dict(box, id=i + 1, image_id=i) for i in range(4)],
        categories=[dict(id=1, name='cell')],
    )
    (tmp_path / 'a.json').write_text(json.dumps(facts))
    dataset = dict(
        type='CocoDataset',
        data_root=str(tmp_path),
        ann_file='a.json',
        data_prefix=dict(img=''),
        metainfo=dict(classes=('cell',)),
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='PackDetInputs'),
        ],
    )
    sampler = dict(type='DefaultSampler', shuffle=False)
    config = Config(
        dict(
            val_dataloader=dict(batch_size=1, num_workers=0, sampler=sampler, dataset=dataset),
            val_evaluator=dict(type='CocoMetric', ann_file=str(tmp_path / 'a.json')),
        )
    )
    with DefaultScope.overwrite_default_scope('mmdet'):
        assert score(Perfect(), config, count) == ('coco/bbox_mAP', 1.0)
