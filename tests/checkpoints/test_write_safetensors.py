import torch
from torch import nn

from mmkd.checkpoints.safe_load import load_checkpoint_file
from mmkd.checkpoints.write_safetensors import write_safetensors


def test_write_safetensors_shared_weights_read_back_equal(tmp_path):
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
    network[2].weight = network[0].weight
    strided = {'strided': torch.arange(6.0).view(2, 3).t()}
    write_safetensors(tmp_path / 'a.safetensors', network.state_dict() | strided)
    loaded = load_checkpoint_file(str(tmp_path / 'a.safetensors'))['state_dict']
    expected = network.state_dict() | strided
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())
