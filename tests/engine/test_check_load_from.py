import copy

import pytest
import torch
from mmengine.config import Config
from mmseg.models import EncoderDecoder
from torch import nn

from mmkd.engine.check_load_from import check_load_from
from mmkd.engine.distill_runner import DistillRunner
from mmkd.errors import UserError
from mmkd.registry import MODELS


def student_of(config: Config) -> dict:
    return MODELS.build(config.model.student).state_dict()


def save(config: Config, path, content: dict) -> Config:
    torch.save(content, path)
    config.load_from = str(path)
    return config


NAMINGS = {
    'a state dict alone': dict,
    'with a file of facts': lambda state: dict(state_dict=state, meta={}),
    'of processes': lambda state: {f'module.{k}': v for k, v in state.items()},
    'as a Distiller names them': lambda state: dict(
        state_dict={f'student.{k}': v for k, v in state.items()}
        | {'distill.a.adapter.0.weight': torch.ones(1)}
    ),
    'beside what terms learnt': lambda state: dict(state_dict=state, distill={'a': torch.ones(1)}),
    'with a further head': lambda state: state | {'further_head.weight': torch.ones(1)},
}


@pytest.mark.parametrize('naming', NAMINGS)
def test_check_load_from_any_prefix_accepts_whole_student_only(recipe, tmp_path, naming):
    """It is taken whole, and under the same names not without one of its layers."""
    state = student_of(recipe)
    check_load_from(save(recipe, tmp_path / 'start.pth', NAMINGS[naming](state)))
    del state['decode_head.conv_seg.weight']
    lacking = save(recipe, tmp_path / 'lacking.pth', NAMINGS[naming](state))
    with pytest.raises(UserError, match='weights are missing, such as decode_head.conv_seg.weight'):
        check_load_from(lacking)


def test_check_load_from_of_a_student_with_a_part_named_student_is_accepted(recipe, tmp_path):
    class Nested(EncoderDecoder):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.student = nn.Conv2d(3, 3, 1)

    recipe.model.student.type = Nested
    check_load_from(save(recipe, tmp_path / 'start.pth', student_of(recipe)))


@pytest.mark.parametrize('alone', [False, True])
@pytest.mark.parametrize(
    'change, message',
    [
        (dict(num_classes=9), r'decode_head.conv_seg.weight is \(9, .*\(11, .*num_classes'),
        (dict(num_convs=3), 'weights of the file are in no layer.*as decode_head.convs'),
        (dict(num_convs=1), 'weights are missing, such as decode_head.convs.1'),
    ],
)
def test_check_load_from_misfit_raises_user_error(recipe, tmp_path, alone, change, message):
    other = copy.deepcopy(recipe)
    other.model.student.decode_head.update(change)
    config = save(recipe, tmp_path / 'start.pth', student_of(other))
    if alone:
        config.model = config.model.student
    with pytest.raises(UserError, match=f'^load_from={tmp_path}/start.pth does not fit.*{message}'):
        check_load_from(config)


def resumable(config: Config) -> dict:
    """What MMEngine saves, as far as it reads it again."""
    hub = dict(log_scalars={}, resumed_keys={}, runtime_info=dict(best_score=1.5))
    return dict(
        state_dict=student_of(config), optimizer=dict(state={}, param_groups=[]), message_hub=hub,
        meta=dict(iter=2, epoch=0, seed=0), param_schedulers=[],
    )  # fmt: skip


@pytest.mark.parametrize(
    'key, value',
    [
        ('meta', None), ('meta', 'x'), ('meta.iter', '2'), ('meta.iter', -2), ('meta.epoch', 1.5),
        ('meta.seed', 'x'), ('optimizer', None), ('optimizer', 'x'), ('param_schedulers', 'x'),
        ('message_hub', None), ('message_hub.runtime_info', 'x'), ('message_hub.log_scalars', []),
        ('message_hub.runtime_info.best_score', 'x'),
    ],
)  # fmt: skip
def test_check_load_from_resume_needs_what_mmengine_saves(recipe, tmp_path, key, value):
    *parents, last = key.split('.')
    content = part = resumable(recipe)
    for name in parents:
        part = part[name]
    part[last] = value
    config = save(recipe, tmp_path / 'iter_2.pth', content)
    config.resume = True
    with pytest.raises(UserError, match=f'^--resume: .*/iter_2.pth: {key}.*: expected the value'):
        check_load_from(config)


def test_check_load_from_resume_needs_every_layer(recipe, tmp_path):
    config = save(recipe, tmp_path / 'iter_2.pth', resumable(recipe))
    config.resume = True
    check_load_from(config)
    config.model.student.auxiliary_head = None
    said = f'^--resume: checkpoint {tmp_path}/iter_2.pth does not fit.* such as auxiliary_head'
    with pytest.raises(UserError, match=said):
        check_load_from(config)


@pytest.mark.parametrize('randomness', [None, dict(seed=None), dict(seed=4), dict(seed=5)])
def test_check_load_from_resume_draws_by_the_seed_of_the_checkpoint(
    recipe, tmp_path, logged, randomness
):
    """MMEngine builds the data loader before it reads the checkpoint's seed."""
    content = resumable(recipe)
    content['meta']['seed'] = 5
    config = save(recipe, tmp_path / 'iter_2.pth', content)
    config.randomness = randomness
    config.resume = True
    check_load_from(config)
    runner = DistillRunner.from_cfg(config)
    assert runner.seed == runner.train_dataloader.sampler.seed == 5
    warns = '--resume: randomness.seed=4 has no effect' in logged.text
    assert warns == (randomness == dict(seed=4))


def test_check_load_from_keeps_rng(recipe, tmp_path):
    config = save(recipe, tmp_path / 'start.pth', student_of(recipe))
    before = torch.get_rng_state()
    check_load_from(config)
    assert torch.equal(torch.get_rng_state(), before)


def test_check_load_from_number_is_rejected(recipe):
    recipe.load_from = 2024
    with pytest.raises(UserError, match='^load_from=2024: expected a path'):
        check_load_from(recipe)
