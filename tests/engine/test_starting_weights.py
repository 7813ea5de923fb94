import copy

import pytest
import torch
from mmengine.config import Config

from mmkd.engine.starting_weights import check_starting_weights
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
def test_a_student_is_taken_however_it_is_named(recipe, tmp_path, naming):
    """It is taken whole, and under the same names not without one of its layers."""
    state = student_of(recipe)
    check_starting_weights(save(recipe, tmp_path / 'start.pth', NAMINGS[naming](state)))
    del state['decode_head.conv_seg.weight']
    lacking = save(recipe, tmp_path / 'lacking.pth', NAMINGS[naming](state))
    with pytest.raises(UserError, match='weights are missing, such as decode_head.conv_seg.weight'):
        check_starting_weights(lacking)


@pytest.mark.parametrize('alone', [False, True])
@pytest.mark.parametrize(
    'change, message',
    [
        (dict(num_classes=9), r'decode_head.conv_seg.weight is \(9, .*\(11, .*num_classes'),
        (dict(num_convs=3), 'weights of the file are in no layer.*as decode_head.convs'),
        (dict(num_convs=1), 'weights are missing, such as decode_head.convs.1'),
    ],
)
def test_misfits_are_named(recipe, tmp_path, alone, change, message):
    other = copy.deepcopy(recipe)
    other.model.student.decode_head.update(change)
    config = save(recipe, tmp_path / 'start.pth', student_of(other))
    if alone:
        config.model = config.model.student
    with pytest.raises(UserError, match=f'^load_from={tmp_path}/start.pth does not fit.*{message}'):
        check_starting_weights(config)


def test_to_go_on_every_layer_must_be_the_same(recipe, tmp_path):
    config = save(recipe, tmp_path / 'iter_2.pth', student_of(recipe))
    config.resume = True
    check_starting_weights(config)
    config.model.student.auxiliary_head = None
    said = f'^--resume: checkpoint {tmp_path}/iter_2.pth does not fit.* such as auxiliary_head'
    with pytest.raises(UserError, match=said):
        check_starting_weights(config)


def test_chance_is_as_it_was(recipe, tmp_path):
    config = save(recipe, tmp_path / 'start.pth', student_of(recipe))
    before = torch.get_rng_state()
    check_starting_weights(config)
    assert torch.equal(torch.get_rng_state(), before)
