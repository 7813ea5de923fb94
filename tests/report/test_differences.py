import copy

import pytest
from mmengine.config import Config

from mmkd.configs import load_config
from mmkd.report.differences import describe, differences


@pytest.fixture(scope='module')
def configs() -> dict[str, Config]:
    names = ('alone', 'basic', 'reversed', 'kd', 'cutoff_125', 'cutoff_500')
    return {name: load_config(f'configs/ablations/fastscnn_{name}.py') for name in names}


def test_a_config_does_not_differ_from_itself(configs):
    for config in configs.values():
        assert differences(config, copy.deepcopy(config)) == []


def test_a_distillation_against_the_student_alone(configs):
    assert differences(configs['kd'], configs['alone']) == [
        'The teacher is segformer_b0_streets instead of nobody.',
        "There is a term logits: LogitKDLoss (tau=1) between the student's decode_head.conv_seg "
        "and the teacher's decode_head.conv_seg, weight 1.",
    ]
    assert differences(configs['alone'], configs['kd']) == [
        'The teacher is nobody instead of segformer_b0_streets.',
        'There is no term logits.',
    ]


def test_terms_against_each_other(configs):
    assert differences(configs['reversed'], configs['basic']) == [
        'Term encoder: low is 0 instead of 1.',
        'Term encoder: high is 1 instead of 0.',
        'Term encoder: weight is 0.15 instead of 0.3.',
        'Term decoder: low is 1 instead of 0.',
        'Term decoder: high is 0 instead of 1.',
    ]


def test_training_against_training(configs):
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
        'The network: decode_head.dropout_ratio is 0.25; the other leaves it out.',
        f'train_dataloader.dataset.length is 10 instead of {length}.',
        f'The learning rate is 0.5 instead of {lr:g}.',
        f'77 iterations instead of {base.train_cfg.max_iters}.',
        'The seed is 3 instead of 0.',
        'load_from is start.pth; the other leaves it out.',
    ]


def test_a_list_of_other_parts_is_one_difference(configs):
    config = copy.deepcopy(configs['basic'])
    config.param_scheduler = [dict(type='LinearLR', end=5), *config.param_scheduler]
    types = [s['type'] for s in configs['basic'].param_scheduler]
    assert differences(config, configs['basic']) == [
        f'The schedule of the learning rate is [LinearLR, {", ".join(types)}] instead of '
        f'[{", ".join(types)}].'
    ]


def test_a_run_is_compared_with_the_one_most_like_it(configs):
    config = configs['cutoff_500']
    batch = config.train_dataloader.batch_size
    length = f'{config.train_cfg.max_iters} iterations of batch {batch}'
    network = f'EncoderDecoder, FastSCNN, DepthwiseSeparableFCNHead for {length} on StreetScenes.'
    others = {name: configs[name] for name in ('alone', 'reversed', 'basic', 'kd')}
    assert describe(config, others) == (
        f'Distils into {network} Against basic:',
        ['Term decoder: cutoff is 0.5 instead of 0.25.'],
    )
    assert describe(configs['alone'], {'again': configs['alone']}) == (
        f'Trains {network} As again does.',
        [],
    )


def test_a_run_without_its_like_tells_its_terms(configs):
    teacher = load_config('configs/teachers/segformer_b0_streets.py')
    heading, said = describe(configs['basic'], dict(teacher=teacher))
    assert 'Against' not in heading
    assert said[0] == 'The teacher is segformer_b0_streets.'
    assert [s.split(':')[0] for s in said[1:]] == [
        'There is a term encoder',
        'There is a term decoder',
    ]
    assert describe(teacher, {})[1] == []
