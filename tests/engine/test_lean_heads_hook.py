"""LeanHeadsHook: accuracies in the log as before, and nowhere else."""

from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import LoggerHook
from mmengine.runner import LogProcessor
from mmseg.registry import MODELS

from mmkd.engine.hooks.lean_heads_hook import LeanHeadsHook
from mmkd.openmmlab.lean_heads import lean_loss_heads


def make_runner(model, length, log=None, **logger):
    return SimpleNamespace(
        model=model,
        hooks=[LoggerHook(**logger)],
        log_processor=log or LogProcessor(),
        train_dataloader=range(length),
    )


@pytest.fixture
def segmentor():
    return MODELS.build(Config.fromfile('configs/_base_/models/fast_scnn.py').model)


@pytest.fixture
def reports(segmentor):
    """By iteration of an epoch, whether the heads report their accuracy."""

    def run(length, **options):
        runner, hook = make_runner(segmentor, length, **options), LeanHeadsHook()
        hook.before_run(runner)
        assert lean_loss_heads(segmentor)
        found = []
        for i in range(length):
            hook.before_train_iter(runner, i)
            found.append({head.reports_accuracy for head in lean_loss_heads(segmentor)})
        assert all(len(each) == 1 for each in found)
        return [each.pop() for each in found]

    return run


def test_lean_heads_hook_reports_at_logging_iterations(reports):
    assert reports(7, interval=3) == [False, False, True, False, False, True, False]


def test_lean_heads_hook_reports_last_iteration_as_logger(reports):
    assert reports(5, interval=3, ignore_last=False) == [False, False, True, False, True]
    assert reports(2, interval=3) == [False, True]


@pytest.mark.parametrize(
    'log',
    [
        dict(mean_pattern='loss|acc'),
        dict(custom_cfg=[dict(data_src='decode.acc_seg', method_name='mean', window_size=10)]),
    ],
)
def test_lean_heads_hook_reports_always_if_log_averages(reports, log):
    assert reports(3, interval=3, log=LogProcessor(**log)) == [True] * 3


@pytest.mark.skipif(get_device() != 'cpu', reason='other devices keep their layout')
def test_lean_heads_hook_changes_the_layout_after_weights_are_drawn(segmentor):
    runner, hook = make_runner(segmentor, 1), LeanHeadsHook()
    weight = segmentor.decode_head.conv_seg.weight
    hook.before_run(runner)
    assert weight.stride() == (128, 1, 1, 1)
    hook.before_train(runner)
    assert weight.stride() == (128, 1, 128, 128)
