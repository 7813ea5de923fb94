import copy

import pytest
from mmengine.config import Config

from mmkd.config.load import load_config
from mmkd.experiments.report.differences import describe, differences


@pytest.fixture(scope='module')
def configs() -> dict[str, Config]:
    names = ('alone', 'basic', 'reversed', 'kd', 'cutoff_125', 'cutoff_500')
    return {name: load_config(f'configs/ablations/fastscnn_{name}.py') for name in names}


def test_differences_of_equal_configs_are_empty(configs):
    for config in configs.values():
        assert differences(config, copy.deepcopy(config)) == []


def test_differences_to_baseline_name_teacher_and_terms(configs):
    assert differences(configs['kd'], configs['alone']) == [
        'Teacher: segformer_b0_streets (other run: none).',
        "Term logits added: LogitKDLoss (tau=1) between the student's decode_head.conv_seg "
        "and the teacher's decode_head.conv_seg, weight 1.",
    ]
    assert differences(configs['alone'], configs['kd']) == [
        'Teacher: none (other run: segformer_b0_streets).',
        'Term logits removed.',
    ]


def test_differences_of_terms_name_changed_keys(configs):
    assert differences(configs['reversed'], configs['basic']) == [
        'Term encoder: low: 0 (other run: 1).',
        'Term encoder: high: 1 (other run: 0).',
        'Term encoder: weight: 0.15 (other run: 0.3).',
        'Term decoder: low: 1 (other run: 0).',
        'Term decoder: high: 0 (other run: 1).',
    ]


def test_differences_of_trainings_name_changed_keys(configs):
    config = copy.deepcopy(configs['basic'])
    config.train_cfg.max_iters = 77
    config.randomness.seed = 3
    config.optim_wrapper.optimizer.lr = 0.5
    config.train_dataloader.dataset.length = 10
    config.model.student.decode_head.dropout_ratio = 0.25
    config.load_from = 'start.pth'
    config.work_dir, config.log_level = 'elsewhere', 'DEBUG'  # concern nobody
    base = configs['basic']
    lr, length = base.optim_wrapper.optimizer.lr, base.train_dataloader.dataset.length
    assert differences(config, base) == [
        'Network: decode_head.dropout_ratio: 0.25 (other run: not set).',
        f'train_dataloader.dataset.length: 10 (other run: {length}).',
        f'Learning rate: 0.5 (other run: {lr:g}).',
        f'77 iters (other run: {base.train_cfg.max_iters}).',
        'Seed: 3 (other run: 0).',
        'load_from: start.pth (other run: not set).',
    ]


def test_differences_of_lists_of_other_parts_are_one(configs):
    config = copy.deepcopy(configs['basic'])
    config.param_scheduler = [dict(type='LinearLR', end=5), *config.param_scheduler]
    types = [s['type'] for s in configs['basic'].param_scheduler]
    assert differences(config, configs['basic']) == [
        f'Schedule of the learning rate: [LinearLR, {", ".join(types)}] (other run: '
        f'[{", ".join(types)}]).'
    ]


def test_describe_compares_with_the_most_similar_run(configs):
    config = configs['cutoff_500']
    batch = config.train_dataloader.batch_size
    length = f'{config.train_cfg.max_iters} iters of batch {batch}'
    network = f'EncoderDecoder, FastSCNN, DepthwiseSeparableFCNHead for {length} on StreetScenes.'
    others = {name: configs[name] for name in ('alone', 'reversed', 'basic', 'kd')}
    assert describe(config, others) == (
        f'Distils into {network} Compared with basic:',
        ['Term decoder: cutoff: 0.5 (other run: 0.25).'],
    )
    assert describe(configs['alone'], {'again': configs['alone']}) == (
        f'Trains {network} Same as again.',
        [],
    )


def test_describe_without_similar_run_lists_terms(configs):
    teacher = load_config('configs/teachers/segformer_b0_streets.py')
    heading, said = describe(configs['basic'], dict(teacher=teacher))
    assert 'Compared' not in heading
    assert said[0] == 'Teacher: segformer_b0_streets.'
    assert [s.split(':')[0] for s in said[1:]] == [
        'Term encoder added',
        'Term decoder added',
    ]
    assert describe(teacher, {})[1] == []


def test_differences_of_a_gradient_share_are_words(configs):
    config = copy.deepcopy(configs['kd'])
    config.model.distill.logits.weight = dict(type='gradient_share', share=0.2)
    said = differences(config, configs['alone'])[-1]
    assert said.endswith("decode_head.conv_seg, with a share of 0.2 of the task's gradient.")
    assert describe(config, {})[1][-1] == said
    other = copy.deepcopy(config)
    other.model.distill.logits.weight.share = 0.1
    assert differences(config, other) == ['Term logits: weight.share: 0.2 (other run: 0.1).']
