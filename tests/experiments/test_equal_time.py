import argparse

import pytest
from mmengine.config import Config
from mmengine.optim import ExponentialLR

from mmkd.config.load import load_config
from mmkd.config.options import ConfigOptions, merge_options
from mmkd.errors import UserError
from mmkd.experiments.equal_time import stretch_training
from mmkd.experiments.plan import plan_runs


def test_stretch_training_moves_all_that_counts_iterations():
    config = Config(
        dict(
            train_cfg=dict(max_epochs=10),
            train_dataloader=dict(dataset=dict(mix_until_sample=1000)),
            param_scheduler=[
                dict(type='LinearLR', begin=0, end=3, start_factor=0.1),
                dict(type='MultiStepLR', begin=3, milestones=[5, 8]),
                dict(type='CosineAnnealingLR', T_max=7),
            ],
        )
    )
    assert stretch_training(config, 1.5) == [
        'train_cfg.max_epochs=15',
        'param_scheduler.0.end=4',
        'param_scheduler.1.begin=4',
        'param_scheduler.1.milestones=[8,12]',
        'param_scheduler.2.T_max=10',
        'train_dataloader.dataset.mix_until_sample=1500',
    ]


def test_plan_runs_at_equal_time_trains_baselines_twice(tmp_path):
    configs = ['configs/students/fast_scnn_streets.py', 'configs/segformer_fastscnn_freq.py']
    options = ['train_dataloader.num_workers=0']
    runs = plan_runs(configs, [0, 1], options, tmp_path, equal_time=1.5)
    names = ['fast_scnn_streets', 'segformer_fastscnn_freq', 'fast_scnn_streets_x1.5']
    assert [(run.seed, run.name) for run in runs] == [(s, n) for s in (0, 1) for n in names]
    alone, _, longer = runs[:3]
    length = load_config(configs[0]).train_cfg.max_iters
    assert (alone.length, longer.length) == (length, round(1.5 * length))
    assert longer.options == (
        *options, f'train_cfg.max_iters={longer.length}', f'param_scheduler.0.end={longer.length}',
    )  # fmt: skip
    assert [key for key in alone.setup if alone.setup[key] != longer.setup[key]] == ['length']
    longer.note()


@pytest.mark.parametrize('key', ['mix_until_sample', 'skip_from_draw'])
@pytest.mark.parametrize('inside', [False, True])
def test_plan_runs_at_equal_time_compares_baselines_whose_mix_ends_later(tmp_path, key, inside):
    ends = {'mix_until_sample': None, key: 2000}
    mix = f'dict(_base_.train_dataloader.dataset, **{ends})'
    dataset = f"dict(type='RepeatDataset', times=2, dataset={mix})" if inside else mix
    config = tmp_path / 'alone.py'
    config.write_text(
        "_base_ = 'mmkd::students/yolo11s_streets.py'\n"
        f'train_dataloader = dict(dataset=dict({dataset}, _delete_=True))\n'
    )
    alone, longer = plan_runs([str(config)], [0], [], tmp_path, equal_time=1.5)
    assert longer.options[-1].endswith(f'.{key}=3000')
    assert [key for key in alone.setup if alone.setup[key] != longer.setup[key]] == ['length']


def test_plan_runs_at_equal_time_needs_a_baseline(tmp_path):
    message = '--equal-time=1.5: expected a baseline, a config without a teacher'
    with pytest.raises(UserError, match=message):
        plan_runs(['configs/segformer_fastscnn_freq.py'], [0], [], tmp_path, equal_time=1.5)


def test_stretch_training_moves_what_hooks_switch():
    config = load_config('mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py')
    options = stretch_training(config, 1.5)
    merge_options(config, dict(_parsed(options)))
    (switch,) = [h for h in config.custom_hooks if h['type'] == 'PipelineSwitchHook']
    assert config.train_cfg.max_epochs == 450
    assert switch.switch_epoch == 420  # twenty epochs of 300 before the end, thirty of 450
    assert [tuple(pair) for pair in config.train_cfg.dynamic_intervals] == [(420, 1)]


def _parsed(options):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
    return parser.parse_args(['--cfg-options', *options]).cfg_options


@pytest.mark.parametrize('begin', [0, 3])
def test_stretch_training_one_cycle_reaches_the_end(begin):
    cycle = dict(type='OneCycleLR', eta_max=0.1, by_epoch=False, begin=begin, end=begin + 7)
    config = Config(
        dict(
            train_cfg=dict(max_iters=begin + 7),
            train_dataloader=dict(dataset=dict()),
            param_scheduler=[dict(cycle, total_steps=7)],
        )
    )
    config.merge_from_dict(dict(_parsed(stretch_training(config, 1.5))))
    (longer,) = config.param_scheduler
    assert longer.total_steps == longer.end - longer.begin
    assert longer.end == config.train_cfg.max_iters == round(1.5 * (begin + 7))


@pytest.mark.parametrize('key', ['mix_until_sample', 'skip_from_draw'])
@pytest.mark.parametrize('where', ['', '.dataset', '.datasets.1'])
def test_stretch_training_moves_the_end_of_a_mix_inside_other_datasets(key, where):
    mix = dict(type='mmkd.ScheduledMixDataset', dataset=dict(type='X')) | {key: 160}
    around = {'': mix, '.dataset': dict(dataset=mix), '.datasets.1': dict(datasets=[{}, mix])}
    config = dict(train_cfg=dict(max_iters=10), train_dataloader=dict(dataset=around[where]))
    options = stretch_training(Config(config), 1.5)
    assert options == ['train_cfg.max_iters=15', f'train_dataloader.dataset{where}.{key}=240']


@pytest.mark.parametrize(
    'part, message',
    [
        *(
            (dict(param_scheduler=dict(type=kind, gamma=0.9)), 'param_scheduler.gamma=0.9')
            for kind in ('ExponentialLR', 'mmengine.ExponentialLR', ExponentialLR)
        ),
        (dict(custom_hooks=[dict(type='X', warm_iters=5)]), 'custom_hooks.0.warm_iters=5'),
        (dict(default_hooks=dict(x=dict(type='X', stop_epoch=5))), 'default_hooks.x.stop_epoch=5'),
    ],
)
def test_stretch_training_refuses_what_it_cannot_stretch(part, message):
    loop = dict(train_cfg=dict(max_iters=10), train_dataloader=dict(dataset=dict()))
    with pytest.raises(UserError, match=f'{message}: expected one of begin, end'):
        stretch_training(Config(loop | part), 1.5)


@pytest.mark.parametrize('loop', ['max_iters', 'max_epochs'])
def test_stretch_training_refuses_a_factor_that_rounds_to_the_same_length(loop):
    config = Config(dict(train_cfg={loop: 12}, train_dataloader=dict(dataset=dict())))
    message = f'--equal-time=1.04: expected a factor that makes train_cfg.{loop}=12 longer'
    with pytest.raises(UserError, match=message):
        stretch_training(config, 1.04)
    assert stretch_training(config, 1.05) == [f'train_cfg.{loop}=13']
