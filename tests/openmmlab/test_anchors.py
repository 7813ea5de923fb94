"""Anchors of two heads: equal ones, others, and heads where they do not count."""

import pytest
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope
from torch import nn

from mmkd.openmmlab.anchors import explain_other_anchors

EVERY_LEVEL = (None, None)


@pytest.fixture(autouse=True)
def mmdet_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def head(kind='RetinaHead', strides=(8, 16), **anchors):
    generator = dict(type='AnchorGenerator', ratios=[1.0], strides=list(strides)) | anchors
    return MODELS.build(
        dict(
            type=kind,
            num_classes=2,
            in_channels=8,
            feat_channels=8,
            anchor_generator=generator,
            bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        )
    )


def octaves(base):
    return head(octave_base_scale=base, scales_per_octave=2)


@pytest.mark.parametrize('level', [None, 0, 1, -1])
def test_explain_other_anchors_same_generator_is_none(level):
    assert explain_other_anchors(octaves(4), octaves(4), (level, level)) is None


def test_explain_other_anchors_other_sizes_are_named():
    # A base of 4 at stride 8 is 32 pixels; the second anchor of an octave is sqrt(2) times as wide.
    reason = explain_other_anchors(octaves(2), octaves(4), (0, 0))
    assert reason.startswith('anchors of 16x16, 23x23 pixels: ')
    assert '32x32, 45x45' in reason


def test_explain_other_anchors_shapes_that_turn_are_named():
    wide, high = head(scales=[4, 4], ratios=[0.25]), head(scales=[4, 4], ratios=[4.0])
    reason = explain_other_anchors(wide, high, (0, 0))
    assert '64x16, 64x16' in reason and '16x64, 16x64' in reason


def test_explain_other_anchors_levels_that_mean_the_same_boxes_are_none():
    # 4 times stride 8 is 2 times stride 16.
    assert explain_other_anchors(octaves(4), octaves(2), (0, 1)) is None
    assert explain_other_anchors(octaves(4), octaves(2), (1, 1)) is not None


def test_explain_other_anchors_another_number_is_named():
    three = head(scales=[4], ratios=[0.5, 1.0, 2.0])
    assert '32x32 pixels: expected' in explain_other_anchors(head(scales=[4]), three, EVERY_LEVEL)


def test_explain_other_anchors_of_one_anchor_is_none():
    assert explain_other_anchors(head(scales=[4]), head(scales=[8]), EVERY_LEVEL) is None


@pytest.mark.parametrize('other', [nn.Conv2d(1, 1, 1), None])
def test_explain_other_anchors_without_anchors_is_none(other):
    points = MODELS.build(dict(type='FCOSHead', num_classes=2, in_channels=8))
    assert explain_other_anchors(octaves(4), other or points, (0, 0)) is None
    assert explain_other_anchors(other or points, octaves(4), (0, 0)) is None


def test_explain_other_anchors_level_that_is_not_there_is_left_to_the_tap():
    assert explain_other_anchors(octaves(4), octaves(2), (5, 0)) is None
