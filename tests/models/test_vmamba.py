import ast
import math
import runpy
import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

from mmkd.errors import UserError
from mmkd.models.vmamba import VMamba
from mmkd.models.vmamba.vmamba import ARCHS
from mmkd.registry import MODELS

SMALL = dict(depths=(1, 1, 2, 1), dims=16)


@pytest.mark.parametrize('name', ['ratio1', 'ratio2'])
def test_vmamba_equals_reference(shared, name):
    fixture = np.load(shared / f'parity/vmamba_nano_{name}.npz')
    fill = runpy.run_path(str(shared / 'parity/fill.py'))
    shapes = dict(line.split(' ', 1) for line in fixture['keys'])
    shapes = {key: ast.literal_eval(shape) for key, shape in shapes.items()}
    network = VMamba(**ast.literal_eval(str(fixture['config']))).eval()
    assert {k: tuple(v.shape) for k, v in network.state_dict().items()} == shapes

    salt = str(fixture['salt'])
    weights = fill['fill_state_dict']({k: torch.empty(s) for k, s in shapes.items()}, salt)
    network.load_state_dict(weights)
    with torch.no_grad():
        stages = network(fill['make_input'](tuple(fixture['input_shape']), salt))
    for i, stage in enumerate(stages):
        expected = torch.from_numpy(fixture[f'stage{i}'])
        torch.testing.assert_close(stage, expected, rtol=1e-4, atol=1e-4)


# The published classifiers' sizes (30, 49, 87, 31, 50 and 89 M) without their classifier.
MILLIONS = dict(
    nano=2.97, tiny=29.48, small=48.25, base=85.59, tiny_s2l5=29.94, small_s2l15=49.38,
    base_s2l15=87.53,
)  # fmt: skip


@pytest.mark.parametrize('arch', ARCHS)
def test_vmamba_parameter_counts_equal_published(arch):
    with torch.device('meta'):
        network = VMamba(arch)
    count = sum(p.numel() for p in network.parameters())
    assert count / 1e6 == pytest.approx(MILLIONS[arch], abs=0.005)


@settings(max_examples=8, deadline=None)
@given(height=st.integers(32, 90), width=st.integers(32, 90), samples=st.integers(1, 2))
def test_vmamba_takes_any_image_size(height, width, samples):
    outputs = VMamba(**SMALL)(torch.randn(samples, 3, height, width))
    for i, output in enumerate(outputs):
        size = (-(-height // 2 ** (i + 2)), -(-width // 2 ** (i + 2)))
        assert output.shape == (samples, 16 * 2**i, *size)
        assert torch.isfinite(output).all()


def test_vmamba_samples_are_independent():
    network = VMamba(**SMALL).eval()
    x = torch.randn(2, 3, 40, 33)
    both, alone = network(x), network(x[1:])
    for a, b in zip(both, alone, strict=True):
        torch.testing.assert_close(a[1:], b)


@pytest.mark.parametrize('d_state', [1, 3])
def test_vmamba_backward_reaches_every_weight(d_state):
    network = VMamba(**SMALL, d_state=d_state)
    sum((x * x.detach().roll(1)).sum() for x in network(torch.randn(1, 3, 40, 40))).backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None and weight.grad.abs().max() > 0, name


def test_vmamba_fresh_scan_has_long_memory():
    """Step sizes after the softplus lie in [0.001, 0.1], rates are -1 to -N."""
    op = VMamba(**SMALL, d_state=3).layers[0].blocks[0].op
    step = torch.nn.functional.softplus(op.dt_projs_bias)
    assert 0.00099 < step.min() < 0.01 < 0.03 < step.max() < 0.101
    torch.testing.assert_close(op.A_logs.exp(), torch.tensor([1.0, 2, 3]).expand(64, 3))


def test_vmamba_in_float64_keeps_rate_precision():
    op = VMamba(**SMALL).double().layers[0].blocks[0].op
    x = torch.randn(1, 16, 3, 3, dtype=torch.float64)

    moved = {'A_logs': op.A_logs + 1e-9}
    assert not torch.equal(torch.func.functional_call(op, moved, x), op(x))


def test_vmamba_out_indices_choose_stages():
    network = VMamba(**SMALL).eval()
    some = VMamba(**SMALL, out_indices=(1, 3)).eval()
    some.load_state_dict(
        {
            k: v
            for k, v in network.state_dict().items()
            if not k.startswith(('outnorm0', 'outnorm2'))
        }
    )
    x = torch.randn(1, 3, 64, 64)
    for a, b in zip(some(x), network(x)[1::2], strict=True):
        assert torch.equal(a, b)


def test_vmamba_frozen_stages_do_not_train():
    torch.manual_seed(0)
    network = VMamba(**SMALL, frozen_stages=2, drop_path_rate=0.9).train()
    frozen = ('patch_embed', 'layers.0', 'layers.1', 'outnorm0', 'outnorm1')
    for name, weight in network.named_parameters():
        assert weight.requires_grad != name.startswith(frozen), name
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(network(x)[1], network(x)[1])  # nothing is dropped
    assert not torch.equal(network(x)[2], network(x)[2])
    assert all(p.requires_grad for p in VMamba(**SMALL).parameters())
    assert not any(p.requires_grad for p in VMamba(**SMALL, frozen_stages=4).parameters())


def test_vmamba_drop_path_rises_with_depth():
    network = VMamba(**SMALL, drop_path_rate=0.2)
    rates = [b.drop_path.drop_prob for stage in network.layers for b in stage.blocks]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])


def test_vmamba_checkpointed_blocks_equal_plain_and_save_less():
    results, kept = [], []
    for with_cp in (False, True):
        torch.manual_seed(0)
        network = VMamba(**SMALL, with_cp=with_cp)
        x = torch.randn(1, 3, 64, 64)
        storages = {}

        def keep(saved, storages=storages):
            storages[saved.untyped_storage().data_ptr()] = saved.untyped_storage().nbytes()
            return saved

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved):
            outputs = network(x)
        sum((o * o.detach().roll(1)).sum() for o in outputs).backward()
        results.append([*outputs, *(p.grad for p in network.parameters())])
        kept.append(sum(storages.values()) - sum(p.nbytes for p in network.parameters()))
    torch.testing.assert_close(*results)
    assert kept[1] < kept[0] / 3


def test_vmamba_compiled_block_equals_eager():
    torch.manual_seed(0)
    block = VMamba(**SMALL).layers[0].blocks[0]
    x = torch.randn(1, 16, 5, 6, requires_grad=True)
    wanted = [x, *block.parameters()]
    results = []
    for network in (block, torch.compile(block, backend='aot_eager')):
        y = network(x)
        results.append([y, *torch.autograd.grad((y * y.detach().roll(1)).sum(), wanted)])
    torch.testing.assert_close(*results)


def test_vmamba_under_autocast_is_close_to_float32():
    torch.manual_seed(0)
    network = VMamba(**SMALL).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        exact = network(x)
        with torch.autocast('cpu', torch.bfloat16):
            half = network(x)
    for a, b in zip(half, exact, strict=True):
        assert (a.float() - b).abs().mean() < 0.05


@pytest.mark.parametrize('scope', ['mmseg', 'mmdet'])
def test_vmamba_is_built_from_every_librarys_registry(scope):
    with DefaultScope.overwrite_default_scope(scope):
        registry = MODELS.parent.children[scope]
        assert isinstance(registry.build(dict(type='mmkd.VMamba', arch='nano')), VMamba)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (dict(arch='huge'), "arch='huge': expected a size of VMamba: nano, tiny"),
        (dict(arch=['tiny']), r"arch=\['tiny'\]: expected a size of VMamba: nano, tiny"),
        (dict(arch='tiny', dims=32), "arch='tiny' with dims: expected one of the two"),
        (dict(), 'expected arch, or depths and dims'),
        (dict(depths=(2, 2, 2)), 'expected arch, or depths and dims'),
        (dict(depths=(2, 2, 2), dims=16), r'depths=\(2, 2, 2\): expected four numbers'),
        (dict(depths=(1, 1, 1, 1), dims=15), 'dims=15: expected an even number'),
        (dict(arch='nano', out_indices=(0, 4)), r'out_indices=\(0, 4\): expected some of 0, 1'),
        (dict(arch='nano', out_indices=3), 'out_indices=3: expected some of 0, 1'),
        (dict(arch='nano', out_indices=(3, 1)), r'out_indices=\(3, 1\): expected .*, rising'),
        (dict(arch='nano', out_indices=(1, 1)), r'out_indices=\(1, 1\): expected some of 0, 1'),
        (dict(arch='nano', frozen_stages=5), 'frozen_stages=5: expected -1 to 4'),
        (dict(arch='nano', frozen_stages=1.0), 'frozen_stages=1.0: expected -1 to 4'),
        (dict(depths=2, dims=16), 'depths=2: expected four numbers'),
        (dict(depths=(1, 1, 2.5, 1), dims=16), r'depths=\(1, 1, 2.5, 1\): expected four numbers'),
        (dict(depths=(1, 1, 1, 1), dims=(8, 16, 32, 64)), r'dims=\(8, .*: expected an even number'),
        (dict(SMALL, ssm_ratio=0), 'ssm_ratio=0: expected a number >= 1 / dims'),
        (dict(SMALL, ssm_ratio='2'), "ssm_ratio='2': expected a number >= 1 / dims"),
        (dict(SMALL, ssm_ratio=math.inf), 'ssm_ratio=inf: expected a number >= 1 / dims'),
        (dict(SMALL, ssm_ratio=math.nan), 'ssm_ratio=nan: expected a number >= 1 / dims'),
        (dict(SMALL, d_state=0), 'd_state=0: expected an integer >= 1'),
        (dict(SMALL, d_state=1.5), 'd_state=1.5: expected an integer >= 1'),
        (dict(SMALL, drop_path_rate=1.0), r'drop_path_rate=1.0: expected a number in \[0, 1\)'),
        (dict(SMALL, drop_path_rate=-0.1), r'drop_path_rate=-0.1: expected a number in \[0, 1\)'),
        (dict(SMALL, drop_path_rate='0.1'), r"drop_path_rate='0.1': expected a number in \[0, 1\)"),
    ],
)
def test_vmamba_bad_arguments_raise_user_error(arguments, message):
    with pytest.raises(UserError, match=message):
        VMamba(**arguments)


class CfgNode(dict):
    """As a published file pickles it: its class is found by name."""


CfgNode.__module__ = 'yacs.config'


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Writes a file as the reference's training does, by default of a classifier."""
    for name in ('yacs', 'yacs.config'):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(sys.modules['yacs.config'], 'CfgNode', CfgNode, raising=False)

    def write(network, **more):
        weights = {k: v for k, v in network.state_dict().items() if not k.startswith('outnorm')}
        classifier = {'classifier.head.weight': torch.ones(5, 128), **more}
        path = tmp_path / 'published.pth'
        config = CfgNode(MODEL=CfgNode(TYPE='vssm'))
        torch.save(dict(model={**weights, **classifier}, config=config, epoch=264), path)
        return str(path)

    yield write
    monkeypatch.undo()
    assert 'yacs' not in sys.modules


def test_vmamba_published_weights_load(published, caplog):
    MMLogger.get_current_instance().addHandler(caplog.handler)
    source = VMamba(**SMALL)
    path = published(source)
    network = VMamba(**SMALL, init_cfg=dict(type='Pretrained', checkpoint=path))
    network.init_weights()
    MMLogger.get_current_instance().removeHandler(caplog.handler)
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, source.state_dict()[name]), name
    assert 'left out: classifier.head.weight' in caplog.text
    assert 'start fresh: outnorm0.weight, outnorm0.bias' in caplog.text


@pytest.mark.parametrize(
    'other, more, message',
    [
        (dict(depths=(1, 1, 2, 1), dims=32), {}, 'patch_embed.0.weight is .* in the file but'),
        (dict(depths=(1, 1, 2, 1), dims=16, ssm_ratio=2.0), {}, 'does not fit its config: layers'),
        (dict(depths=(1, 1, 1, 1), dims=16), {}, 'weights are missing, such as layers.2.blocks.1'),
        (dict(depths=(1, 1, 3, 1), dims=16), {}, 'got 18 others, such as layers.2.blocks.2'),
        (SMALL, {'neck.weight': torch.ones(1)}, 'got 1 others, such as neck.weight'),
    ],
)
def test_vmamba_weights_of_another_network_raise_user_error(published, other, more, message):
    path = published(VMamba(**other), **more)
    network = VMamba(**SMALL, init_cfg=dict(type='Pretrained', checkpoint=path))
    with pytest.raises(UserError, match=message) as error:
        network.init_weights()
    assert f'backbone.init_cfg.checkpoint={path}' in str(error.value)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('prefix', ['backbone', 'backbone.'])
def test_vmamba_starts_from_backbone_of_whole_network(tmp_path, prefix):
    source, path = VMamba(**SMALL), str(tmp_path / 'best.pth')
    weights = {f'backbone.{name}': weight for name, weight in source.state_dict().items()}
    torch.save(dict(state_dict={**weights, 'decode_head.weight': torch.ones(1)}), path)
    start = dict(type='Pretrained', checkpoint=path, prefix=prefix)
    network = VMamba(**SMALL, init_cfg=start)
    network.init_weights()
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, source.state_dict()[name]), name
    with pytest.raises(UserError, match="no weight starts with init_cfg.prefix='neck'"):
        VMamba(**SMALL, init_cfg=dict(start, prefix='neck')).init_weights()


def test_vmamba_init_cfg_without_file_raises_user_error():
    with pytest.raises(UserError, match='backbone.init_cfg.checkpoint=None'):
        VMamba(**SMALL, init_cfg=dict(type='Pretrained')).init_weights()


def test_vmamba_init_cfg_list_initialises_layers():
    start = [dict(type='Constant', layer='Conv2d', val=0.5)]
    network = VMamba(**SMALL, init_cfg=start)
    network.init_weights()
    assert (network.patch_embed[0].weight == 0.5).all()


class Code:
    def __reduce__(self):
        return (print, ('this ran',))


def test_vmamba_init_cfg_file_with_code_is_rejected(tmp_path, capfd):
    path = tmp_path / 'code.pth'
    torch.save(dict(model={}, config=Code()), path)
    network = VMamba(**SMALL, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    with pytest.raises(UserError, match='is rejected: it holds'):
        network.init_weights()
    assert 'this ran' not in capfd.readouterr().out
