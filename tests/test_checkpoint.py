import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from mmkd.checkpoint import load_checkpoint_file, load_weights
from mmkd.errors import UserError


class Command:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.fixture(params=['os.system', 'builtins.eval', 'open'])
def hostile(request, tmp_path):
    """A checkpoint that creates ``witness`` when it is unpickled."""
    witness = tmp_path / 'witness'
    command = {
        'os.system': Command(os.system, f'touch {witness}'),
        'builtins.eval': Command(eval, f'open({str(witness)!r}, "w").close()'),
        'open': Command(open, str(witness), 'w'),
    }[request.param]
    path = tmp_path / 'hostile.pth'
    torch.save({'meta': command, 'state_dict': {'weight': torch.ones(1)}}, path)
    return path, witness


def test_hostile_fixture_is_hostile(hostile):
    path, witness = hostile
    data = zipfile.ZipFile(path).read('hostile/data.pkl')

    with pytest.raises(pickle.UnpicklingError, match='persistent'):  # the tensor, after the call
        pickle.loads(data)
    assert witness.exists()


@pytest.mark.parametrize('load', [load_checkpoint_file, CheckpointLoader.load_checkpoint])
def test_hostile_checkpoint_is_refused_unrun(hostile, load):
    path, witness = hostile
    with pytest.raises(UserError, match='is refused.*beside weights') as error:
        load(str(path))
    assert str(path) in str(error.value)
    assert not witness.exists()


def test_plain_unsafe_loading_is_made_safe_too(hostile):
    # MMEngine's fall-back ends in this call.
    path, witness = hostile
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=False)
    assert not witness.exists()


def test_what_mmengine_saves_loads(tmp_path):
    history = HistoryBuffer()
    for value in (1.0, np.float64(2.0)):
        history.update(value)
    saved = {
        'state_dict': {'weight': torch.arange(3.0)},
        'message_hub': {'log_scalars': {'loss': history}, 'runtime_info': {'x': np.float64(0.5)}},
        'meta': {'classes': ('a', 'b'), 'palette': np.zeros((2, 3), np.uint8)},
    }
    torch.save(saved, tmp_path / 'a.pth')
    loaded = load_checkpoint_file(str(tmp_path / 'a.pth'))
    assert loaded['message_hub']['log_scalars']['loss'].data[0].tolist() == [1.0, 2.0]
    assert loaded['message_hub']['runtime_info'] == {'x': 0.5}
    assert torch.equal(loaded['state_dict']['weight'], torch.arange(3.0))


@pytest.mark.parametrize('name', ['__init__', '__globals__', '__reduce__', 'no_such'])
def test_only_a_history_s_statistics_are_reached_by_name(tmp_path, name):
    torch.save({'meta': Command(getattr, HistoryBuffer, name)}, tmp_path / 'a.pth')
    with pytest.raises(UserError, match=f'HistoryBuffer.{name} beside weights'):
        load_checkpoint_file(str(tmp_path / 'a.pth'))


@pytest.mark.parametrize('keep', [0, 1, 10, 100, -100])
def test_damaged_files_are_named(tmp_path, keep):
    path = tmp_path / 'a.pth'
    torch.save({'state_dict': {'weight': torch.randn(100)}}, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=f'checkpoint {path}'):
        load_checkpoint_file(str(path))


@pytest.mark.parametrize('content', [b'hello world', b'<html>', b'PK\x03\x04', b'\x80\x02X'])
def test_other_files_are_named(tmp_path, content):
    path = tmp_path / 'a.pth'
    path.write_bytes(content)
    with pytest.raises(UserError, match=f'checkpoint {path}'):
        load_checkpoint_file(str(path))


def test_missing_file():
    with pytest.raises(UserError, match='checkpoint no/such.pth does not exist'):
        load_checkpoint_file('no/such.pth')


@pytest.fixture
def network():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def test_prefix_counters_and_further_heads_are_forgiven(network):
    state = {f'module.{k}': v + 1 for k, v in network.state_dict().items()}
    state.pop('module.1.num_batches_tracked')
    state['module.auxiliary_head.weight'] = torch.ones(1)
    load_weights(network, {'state_dict': state}, 'file')
    assert torch.equal(network[0].weight, state['module.0.weight'])


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda s: s.pop('0.weight'), 'file does not fit.*1 of 7 weights are missing.*0.weight'),
        (lambda s: s.update({'0.bias': torch.ones(9)}), r'0.bias is \(9,\).*\(4,\).*num_classes'),
        (lambda s: s.update(epoch='x'), 'file holds no state_dict'),
        (
            lambda s: s.update({'1.3.weight': torch.ones(4)}),
            '1 weights of the file are in no layer of the network, such as 1.3.weight',
        ),
    ],
)
def test_misfits_are_named(network, change, message):
    state = dict(network.state_dict())
    change(state)
    before = network[0].weight.clone()
    with pytest.raises(UserError, match=message):
        load_weights(network, state, 'file')
    assert torch.equal(network[0].weight, before)
