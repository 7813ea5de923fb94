import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors.torch import save_file
from torch import nn

from mmkd.checkpoints.load_weights import load_weights
from mmkd.checkpoints.safe_load import load_checkpoint_file
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


def test_pickle_loads_hostile_fixture_runs_its_code(hostile):
    path, witness = hostile
    data = zipfile.ZipFile(path).read('hostile/data.pkl')

    with pytest.raises(pickle.UnpicklingError, match='persistent'):  # the tensor, after the call
        pickle.loads(data)
    assert witness.exists()


@pytest.mark.parametrize('load', [load_checkpoint_file, CheckpointLoader.load_checkpoint])
def test_load_checkpoint_file_hostile_file_is_rejected_unrun(hostile, load):
    path, witness = hostile
    with pytest.raises(UserError, match='is rejected.*beside weights') as error:
        load(str(path))
    assert str(path) in str(error.value)
    assert not witness.exists()


def test_torch_load_without_weights_only_hostile_file_is_rejected(hostile):
    # MMEngine's fall-back ends in this call.
    path, witness = hostile
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=False)
    assert not witness.exists()


def test_load_checkpoint_file_opens_mmengine_checkpoint(tmp_path):
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
def test_load_checkpoint_file_other_attribute_of_history_is_rejected(tmp_path, name):
    torch.save({'meta': Command(getattr, HistoryBuffer, name)}, tmp_path / 'a.pth')
    with pytest.raises(UserError, match=f'HistoryBuffer.{name} beside weights'):
        load_checkpoint_file(str(tmp_path / 'a.pth'))


@pytest.mark.parametrize('keep', [0, 1, 10, 100, -100])
def test_load_checkpoint_file_damaged_file_raises_user_error(tmp_path, keep):
    path = tmp_path / 'a.pth'
    torch.save({'state_dict': {'weight': torch.randn(100)}}, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=f'checkpoint {path}'):
        load_checkpoint_file(str(path))


@pytest.mark.parametrize('content', [b'hello world', b'<html>', b'PK\x03\x04', b'\x80\x02X'])
def test_load_checkpoint_file_other_file_raises_user_error(tmp_path, content):
    path = tmp_path / 'a.pth'
    path.write_bytes(content)
    with pytest.raises(UserError, match=f'checkpoint {path}'):
        load_checkpoint_file(str(path))


def test_load_checkpoint_file_missing_file_raises_user_error():
    with pytest.raises(UserError, match='no/such.pth does not exist: expected a file of w'):
        load_checkpoint_file('no/such.pth')


@pytest.fixture
def network():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def test_load_weights_child_named_module_is_loaded(network):
    outer = nn.Module()
    outer.module, outer.head = network, nn.Conv2d(1, 1, 1)
    state = {k: v + 1 for k, v in outer.state_dict().items()}
    load_weights(outer, state, 'file')
    assert torch.equal(outer.module[0].weight, state['module.0.weight'])


def test_load_weights_accepts_prefix_counters_and_further_heads(network):
    state = {f'module.{k}': v + 1 for k, v in network.state_dict().items()}
    state.pop('module.1.num_batches_tracked')
    state['module.auxiliary_head.weight'] = torch.ones(1)
    load_weights(network, {'state_dict': state}, 'file')
    assert torch.equal(network[0].weight, state['module.0.weight'])


def test_load_weights_of_key_model_loads(network):
    state = {k: v + 1 for k, v in network.state_dict().items()}
    load_weights(network, {'model': state, 'epoch': 3}, 'file')
    assert torch.equal(network[0].weight, state['0.weight'])


def test_load_safetensors_everywhere_gives_the_weights(network, tmp_path):
    state = {k: v + 1 for k, v in network.state_dict().items()}
    path = str(tmp_path / 'a.safetensors')
    save_file(state, path)
    load_checkpoint(network, path)  # MMEngine's, as init_cfg and load_from call it
    assert all(torch.equal(v, state[k]) for k, v in network.state_dict().items())
    loaded = load_checkpoint_file(path, torch.device('cpu'))
    assert loaded['state_dict'].keys() == state.keys()


def test_load_safetensors_url_downloads_once(network, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    save_file(network.state_dict(), str(tmp_path / 'a.safetensors'))
    copies = []

    def download(url, path):
        copies.append(url)
        Path(path).write_bytes((tmp_path / 'a.safetensors').read_bytes())

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    url = 'https://example.org/a.safetensors?download=true'
    for _ in range(2):
        load_weights(network, load_checkpoint_file(url), url)
    assert copies == [url]


@pytest.mark.parametrize('name', ['model.safetensors', 'best.pth'])
def test_load_urls_of_one_file_name_give_the_weights_of_each(tmp_path, monkeypatch, name):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))

    def download(url, path, *_, **__):
        weights = dict(a=torch.full((2,), float(len(url))))
        save_file(weights, path) if name.endswith('safetensors') else torch.save(weights, path)

    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    for url in (f'https://example.org/{folder}/{name}' for folder in ('b0', 'large')):
        loaded = load_checkpoint_file(url)
        assert loaded.get('state_dict', loaded)['a'][0] == len(url)


def test_load_url_with_a_hash_is_kept_under_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    (tmp_path / 'checkpoints').mkdir()
    torch.save(dict(a=torch.ones(1)), tmp_path / 'checkpoints/net_1x_20200131-c2dbf1c1.pth')
    assert load_checkpoint_file('https://example.org/x/net_1x_20200131-c2dbf1c1.pth')['a'] == 1


def test_load_damaged_safetensors_raises_user_error(network, tmp_path):
    path = tmp_path / 'a.safetensors'
    save_file(network.state_dict(), str(path))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(UserError, match=f'checkpoint {path} is damaged'):
        load_checkpoint_file(str(path))


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda s: s.pop('0.weight'), 'file does not fit.*1 of 7 weights are missing.*0.weight'),
        (
            lambda s: s.update(stem=s.pop('0.weight')),
            'missing, such as 0.weight; it holds stem instead',
        ),
        (lambda s: s.update({'0.bias': torch.ones(9)}), r'0.bias is \(9,\).*\(4,\).*num_classes'),
        (lambda s: s.update(epoch='x'), 'file: expected a file with a state_dict'),
        (lambda s: s.update({0: torch.ones(1)}), 'file: expected a file with a state_dict'),
        (
            lambda s: s.update({'0.bias': torch.tensor([1.0, float('nan'), 0.0, 0.0])}),
            'file: 0.bias: expected finite floating-point numbers',
        ),
        (
            lambda s: s.update({'1.running_var': torch.tensor([1.0, float('nan'), 1.0, 1.0])}),
            'file: 1.running_var: expected finite floating-point numbers',
        ),
        (
            lambda s: s.update({'0.bias': torch.ones(4, dtype=torch.int8)}),
            'file: 0.bias: expected finite floating-point numbers',
        ),
        (
            lambda s: s.update({'0.bias': torch.ones(4, device='meta')}),
            'file: 0.bias: expected finite floating-point numbers',
        ),
        (
            lambda s: s.update({'0.bias': torch.ones(4).to_sparse()}),
            'file: 0.bias: expected finite floating-point numbers',
        ),
        (
            lambda s: s.update({'1.3.weight': torch.ones(4)}),
            '1 weights of the file are in no layer of the network, such as 1.3.weight',
        ),
    ],
)
def test_load_weights_misfit_raises_user_error(network, change, message):
    state = dict(network.state_dict())
    change(state)
    before = network[0].weight.clone()
    with pytest.raises(UserError, match=message):
        load_weights(network, state, 'file')
    assert torch.equal(network[0].weight, before)


def test_load_weights_constant_that_is_infinite_in_the_network_loads():
    network = nn.Linear(2, 2)
    network.register_buffer('mask', torch.tensor([0.0, -float('inf')]))
    load_weights(network, network.state_dict(), 'file')
    assert torch.isinf(network.mask[1])
