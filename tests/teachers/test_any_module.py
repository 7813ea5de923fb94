import sys

import pytest
import torch
from torch import nn

from mmkd.distillation.tap import parse_tap
from mmkd.distillation.teacher import Teacher
from mmkd.errors import UserError

MODULE = """
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 1)

    def forward(self, images):
        return self.stem(images)

def make(width):
    return Net(width)

def words():
    return 'no network'
"""
KEYS = dict(
    type='foreign_nets.Net',
    mean=[100.0, 110.0, 120.0],
    std=[50.0],
    student_preprocessor=dict(type='SegDataPreProcessor', mean=[0] * 3, std=[1] * 3),
)


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / 'foreign_nets.py').write_text(MODULE)
    (tmp_path / 'broken_nets.py').write_text('import no_such_package')
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop('foreign_nets', None)


@pytest.fixture
def checkpoint(tmp_path) -> str:
    torch.save({'model': {'stem.weight': torch.rand(4, 3, 1, 1), 'stem.bias': torch.rand(4)}},
               tmp_path / 'a.pth')  # fmt: skip
    return str(tmp_path / 'a.pth')


@pytest.mark.parametrize('keys', [dict(), dict(type='foreign_nets.make', arguments=dict(width=4))])
def test_module_teacher_sees_its_own_normalisation(checkpoint, keys):
    teacher = Teacher(checkpoint=checkpoint, **KEYS | keys)
    pixels = torch.randint(0, 256, (2, 3, 8, 8)).float()  # BGR
    found = teacher.run(pixels, None, [parse_tap('stem')])[parse_tap('stem')]
    state = torch.load(checkpoint, weights_only=True)['model']
    mean = torch.tensor(KEYS['mean']).view(1, 3, 1, 1)
    rgb = (pixels.flip(1) - mean) / 50
    expected = nn.functional.conv2d(rgb, state['stem.weight'], state['stem.bias'])
    torch.testing.assert_close(found, expected)
    assert not any(p.requires_grad for p in teacher.network.parameters())


def test_module_teacher_computes_in_bfloat16(checkpoint):
    teacher = Teacher(checkpoint=checkpoint, dtype='bfloat16', **KEYS)
    found = teacher.run(torch.randn(2, 3, 8, 8), None, [parse_tap('stem')])[parse_tap('stem')]
    assert found.dtype == torch.bfloat16


@pytest.mark.parametrize(
    'keys, message',
    [
        (dict(type='no_such.Net'), 'type=no_such.Net: expected a module that imports .*PYTHONPATH'),
        (dict(type='broken_nets.Net'), "expected a module that imports .*'no_such_package'"),
        (dict(type='foreign_nets.Nat'), 'foreign_nets has no class Nat'),
        (dict(type='Net'), 'type=Net: expected an import path, such as my_pkg.Net'),
        (dict(type='foreign_nets.words'), 'expected a torch.nn.Module.*it gives a str'),
        (
            dict(arguments=dict(depth=3)),
            "arguments={'depth': 3}: expected a network; it raises TypeError",
        ),
        (dict(arguments=dict(width=5)), r'stem.weight is \(4, 3, 1, 1\) in the file'),
        (dict(checkpoint='none.pth'), 'checkpoint=none.pth does not exist: expected weights'),
        (dict(mean=None), 'model.teacher.mean: expected this key'),
        (dict(std=[0, 1, 1]), r'std=\[0, 1, 1\]: expected one number for each channel'),
        (dict(mean='imagenet'), "mean='imagenet': expected one number for each channel"),
    ],
)
def test_module_teacher_that_does_not_fit_raises_user_error(checkpoint, keys, message):
    with pytest.raises(UserError, match=message) as error:
        Teacher(**dict(checkpoint=checkpoint) | KEYS | keys)
    assert '\n' not in str(error.value)
