"""A Distiller takes one training step with a teacher of each kind."""

import copy

import pytest
import timm
import torch
from huggingface_folder import write_folder
from mmengine.config import ConfigDict

from mmkd.engine.hooks.student_checkpoint_hook import hash_weights
from mmkd.registry import MODELS

MODULE = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, stride=4)

    def forward(self, images):
        return self.stem(images)
"""


def teacher(kind: str, folder, monkeypatch) -> tuple[dict, str]:
    """``model.teacher`` and a tap."""
    if kind == 'huggingface':
        return dict(huggingface=str(write_folder(folder / 'folder'))), 'backbone[2]'
    path = str(folder / 'a.pth')
    if kind == 'timm':
        torch.save(timm.create_model('convnext_atto').state_dict(), path)
        return dict(timm='convnext_atto', checkpoint=path), 'backbone[2]'
    (folder / 'own_nets.py').write_text(MODULE)
    monkeypatch.syspath_prepend(folder)
    stem = torch.nn.Conv2d(3, 8, 4, stride=4)
    torch.save({f'stem.{name}': value for name, value in stem.state_dict().items()}, path)
    return dict(type='own_nets.Net', checkpoint=path, mean=[0.0], std=[255.0]), 'stem'


@pytest.mark.parametrize('kind', ['huggingface', 'timm', 'type'])
@pytest.mark.parametrize('scale', [None, 1.5])
def test_distiller_with_teacher_of_each_kind_takes_a_step(
    kind, scale, model_config, batch, tmp_path, monkeypatch
):
    keys, tap = teacher(kind, tmp_path, monkeypatch)
    term = dict(student='backbone[1]', teacher=tap, loss=dict(type='ActivationATLoss'))
    config = copy.deepcopy(model_config)
    config.teacher = ConfigDict(keys, scale=scale)
    config.distill = ConfigDict(attention=term)
    distiller = MODELS.build(config).train()
    before = hash_weights(distiller.teacher.network)
    losses = distiller.loss(*batch)
    assert losses['distill.attention'] > 0
    losses['distill.attention'].backward()
    reached = [name for name, p in distiller.named_parameters() if p.grad is not None]
    assert reached and all(name.startswith('student.backbone') for name in reached)
    assert hash_weights(distiller.teacher.network) == before
    rebuilt = MODELS.build(config)
    assert hash_weights(rebuilt.teacher.network) == before, 'a resumed run knows its teacher'
