import pytest
from mmengine.config import Config

from mmkd.config.load import load_config
from mmkd.errors import UserError
from mmkd.experiments.equal_time import stretch_training
from mmkd.experiments.run import plan_runs


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


def test_plan_runs_at_equal_time_needs_a_baseline(tmp_path):
    message = '--equal-time=1.5: expected a config that does not distil'
    with pytest.raises(UserError, match=message):
        plan_runs(['configs/segformer_fastscnn_freq.py'], [0], [], tmp_path, equal_time=1.5)
