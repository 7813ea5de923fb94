import pytest
import timm
import torch
from mmengine.config import Config
from mmseg.models.backbones import SwinTransformer
from torch import nn

from mmkd.distillation.recording import record
from mmkd.distillation.tap import find_module, parse_tap
from mmkd.errors import UserError
from mmkd.models import VMamba
from mmkd.ops.attention_readings import Attention
from mmkd.ops.hidden_attention import hidden_attention, merge_attention
from mmkd.ops.nodes import pool_features
from mmkd.registry import MODELS

SIZES = [(64, 96, 2), (50, 70, 3)]


@pytest.fixture(scope='module')
def segformer(teacher_files):
    torch.manual_seed(0)
    network = MODELS.build(Config.fromfile(teacher_files[0]).model).eval()
    for name, parameter in network.named_parameters():
        if '.attn.attn.' in name:  # at its own start all attention is near uniform
            torch.nn.init.normal_(parameter, std=0.5)
    return network


def image(height, width, batch=1):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def record_attention(network, path, *args, **kwargs):
    tap = parse_tap(f'attention({path})')
    with record(network, [tap]) as recording:
        output = network(*args, **kwargs)
    return recording[tap], output


def averaged(module, run):
    """What a torch module itself says of its attention, averaged over the heads."""
    said = []
    handle = module.register_forward_hook(lambda m, args, output: said.append(output[1]))
    run()
    handle.remove()
    return said[0]


@pytest.mark.parametrize('height, width, batch', SIZES)
@pytest.mark.parametrize('stage', range(4))
def test_read_attention_of_segformer_equals_module(segformer, stage, height, width, batch):
    path = f'backbone.layers.{stage}.1.1.attn'
    block = find_module(segformer, path)
    x = image(height, width, batch)
    attention, output = record_attention(segformer, path, x)
    weights = attention.affinity()
    expected = averaged(block.attn, lambda: segformer(x))
    queries, keys = (h * w for h, w in (attention.grid, attention.key_grid))
    assert weights.shape == (batch, block.num_heads, queries, keys)
    assert attention.grid == tuple(-(-n // (4 * 2**stage)) for n in (height, width))
    assert attention.is_reduced == (block.sr_ratio > 1)
    torch.testing.assert_close(weights.mean(1), expected, rtol=0, atol=1e-5)
    assert weights.std((1, 2)).max() > 1e-3  # far from uniform
    assert torch.equal(segformer(x), output)


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(batch_first=True),
        dict(bias=False, dropout=0.5),
        dict(kdim=6, vdim=5),
        dict(add_bias_kv=True, add_zero_attn=True),
    ],
)
def test_read_attention_of_torch_equals_module(options):
    torch.manual_seed(0)
    module = nn.MultiheadAttention(8, 2, **options).eval()
    shapes = [(3, 5, 8), (3, 7, module.kdim), (3, 7, module.vdim)]
    q, k, v = (torch.randn(s if module.batch_first else (s[1], s[0], s[2])) for s in shapes)
    masks = dict(
        attn_mask=torch.rand(5, 7) < 0.3, key_padding_mask=torch.arange(7).expand(3, 7) > 5
    )
    heads = dict(attn_mask=torch.randn(6, 5, 7))
    for kwargs in ({}, masks, heads):
        root = nn.ModuleDict(dict(a=module))
        root.forward = lambda *args, **kwargs: module(*args, **kwargs)
        attention, (_, expected) = record_attention(root, 'a', q, k, v, **kwargs)
        torch.testing.assert_close(attention.affinity().mean(1), expected, rtol=0, atol=1e-5)
    attention, (_, expected) = record_attention(root, 'a', q[:, 0], k[:, 0], v[:, 0])
    if not module.batch_first:  # one sample without a batch
        torch.testing.assert_close(attention.affinity()[0].mean(0), expected, rtol=0, atol=1e-5)


def test_read_attention_of_fused_transformer_layer_equals_plain():
    layer = nn.TransformerEncoderLayer(8, 2, batch_first=True).eval()
    x = torch.randn(2, 5, 8)
    with torch.no_grad():
        attention, _ = record_attention(layer, 'self_attn', x)
        _, expected = layer.self_attn(x, x, x)
    torch.testing.assert_close(attention.affinity().mean(1), expected)


def test_read_attention_gradient_reaches_queries_and_keys(segformer):
    path = 'backbone.layers.2.1.1.attn'
    attention, _ = record_attention(segformer, path, image(64, 64))
    attention.affinity()[..., 0].sum().backward()
    used = find_module(segformer, path).attn.in_proj_weight.grad.chunk(3)
    assert used[0].abs().max() > 0 and used[1].abs().max() > 0 and used[2].abs().max() == 0
    assert not attention.detach().affinity().requires_grad
    segformer.zero_grad()


def test_record_attention_touches_tapped_block_only_and_restores_it(segformer):
    before = {name: dict(m.__dict__) for name, m in segformer.named_modules()}
    tap = parse_tap('attention(backbone.layers.3.1.0.attn)')
    with record(segformer, [tap]):
        hooked = [name for name, m in segformer.named_modules() if m._forward_hooks]
        wrapped = [name for name, m in segformer.named_modules() if 'forward' in m.__dict__]
    assert hooked == ['backbone.layers.3.1.0.attn'] and wrapped == []
    assert before == {name: dict(m.__dict__) for name, m in segformer.named_modules()}


def test_record_attention_stops_at_tap(segformer):
    tap = parse_tap('attention(backbone.layers.3.1.0.attn)')
    later = parse_tap('decode_head')
    with record(segformer, [tap, later], stop_after={tap.path: 1}) as recording:
        segformer(image(64, 64))
    assert recording.calls() == {tap.path: 1, later.path: 0}
    assert recording[tap].grid == (2, 2)


def test_record_module_and_its_attention_gives_both(segformer):
    taps = [
        parse_tap('backbone.layers.3.1.0.attn'),
        parse_tap('attention(backbone.layers.3.1.0.attn)'),
    ]
    with record(segformer, taps) as recording:
        segformer(image(64, 64))
    feature, attention = (recording[tap] for tap in taps)
    assert feature.shape == (1, 4, 64) and attention.affinity().shape == (1, 8, 4, 4)


class Stem(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner


@pytest.mark.parametrize(
    'make, path, reason',
    [
        (lambda: VMamba(depths=(1, 1, 1, 1), dims=8), 'layers.0.blocks.0.op',
         'inside it: layers.0.blocks.0.op.scan$'),
        (lambda: SwinTransformer(embed_dims=8, depths=(1,), num_heads=(1,), strides=(4,),
                                 out_indices=(0,)), 'stages.0.blocks.0.attn', 'one window'),
        (lambda: timm.create_model('vit_tiny_patch16_224'), 'blocks.0.attn', "timm's Attention"),
        (lambda: timm.create_model('swin_tiny_patch4_window7_224'), 'layers.0.blocks.0.attn',
         'one window'),
        (lambda: Stem(nn.Conv2d(1, 1, 1)), 'inner', 'is a Conv2d$'),
        (lambda: nn.TransformerEncoderLayer(8, 2), 'linear1', 'is a Linear$'),
        (lambda: Stem(nn.TransformerEncoderLayer(8, 2)), 'inner', 'inside it: inner.self_attn$'),
    ],
)  # fmt: skip
def test_check_attention_of_other_module_is_rejected_with_reason(make, path, reason):
    with pytest.raises(UserError, match=f'nn.MultiheadAttention.*SegFormer.*{reason}'):
        find_module(make(), f'attention({path})')


def test_attention_on_nodes_averages_rows_and_sums_keys(segformer):
    attention, _ = record_attention(segformer, 'backbone.layers.3.1.1.attn', image(128, 192))
    assert attention.grid == (4, 6)
    weights = attention.affinity().reshape(1, 8, 2, 2, 3, 2, 2, 2, 3, 2)
    expected = weights.mean((3, 5)).sum((5, 7)).reshape(1, 8, 6, 6)
    torch.testing.assert_close(attention.on_nodes((2, 3)), expected)
    torch.testing.assert_close(attention.on_nodes((4, 6)), attention.affinity())


def test_attention_on_nodes_keeps_reduced_keys(segformer):
    attention, _ = record_attention(segformer, 'backbone.layers.1.1.1.attn', image(128, 192))
    assert attention.grid == (16, 24) and attention.key_grid == (4, 6)
    expected = pool_features(attention.affinity().mT.unflatten(-1, (16, 24)), (4, 6))
    torch.testing.assert_close(attention.on_nodes((4, 6)), expected.flatten(-2).mT)


@pytest.mark.parametrize('key_grid', [(40, 50), (20, 25), (60, 60)])
def test_attention_on_nodes_large_map_is_pooled_first(largest_tensor, key_grid):
    generator = torch.Generator().manual_seed(0)
    grid = (40, 50) if key_grid == (40, 50) else (120, 150)
    query, key = (torch.randn(1, 2, h * w, 4, generator=generator) for h, w in (grid, key_grid))
    attention = Attention(query, key, grid, key_grid)
    with largest_tensor:
        weights = attention.on_nodes((20, 30))
    assert largest_tensor.elements <= 2 * 1024**2
    keys = {(40, 50): 600, (20, 25): 500, (60, 60): 1024}[key_grid]
    assert weights.shape == (1, 2, 600, keys)
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 2, 600))


def test_attention_on_nodes_equal_tokens_pooled_first_is_exact():
    # Tokens that are equal within a node: pooling first and pooling last agree.
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(2, 1, 2, 4 * 5, 3, generator=generator)
    query, key = (
        coarse.unflatten(3, (4, 5)).repeat_interleave(10, 3).repeat_interleave(8, 4).flatten(3, 4)
    )
    attention = Attention(query, key, (40, 40), (40, 40))
    expected = Attention(*coarse, (4, 5), (4, 5)).affinity()
    torch.testing.assert_close(attention.on_nodes((4, 5)), expected)


def test_attention_on_nodes_without_grid_uses_nodes():
    attention = Attention(torch.randn(1, 1, 6, 2), torch.randn(1, 1, 6, 2))
    assert torch.equal(attention.on_nodes((2, 3)), attention.affinity())
    with pytest.raises(
        UserError, match=r'6 tokens .*nodes=\(2, 2\): expected .* with 6 nodes in all'
    ):
        attention.on_nodes((2, 2))


@pytest.mark.parametrize('d_state', [1, 2])
def test_read_attention_of_vmamba_reproduces_scan_output(d_state):
    torch.manual_seed(0)
    network = VMamba(depths=(1, 1, 1, 1), dims=8, d_state=d_state).eval()
    path = 'layers.1.blocks.0.op'
    taps = [parse_tap(t) for t in (f'attention({path}.scan)', f'{path}.scan', f'{path}.act')]
    with record(network, taps) as recording:
        network(torch.randn(2, 3, 48, 64))
    scan, output, x = (recording[tap] for tap in taps)
    channels = x.shape[1]
    assert scan.grid == (6, 8) and scan.delta.shape == (2, 4 * channels, 48)
    each = [b.repeat_interleave(channels, 1) for b in (scan.B, scan.C)]
    paths = hidden_attention(scan.steps(), scan.A, *each).unflatten(1, (4, channels))
    skip = find_module(network, path).Ds.view(4, channels, 1).sum(0)
    found = (merge_attention(paths, 6, 8) @ x.flatten(2)[..., None])[..., 0]
    found = (found + skip * x.flatten(2)).unflatten(-1, (6, 8))
    torch.testing.assert_close(found, output, rtol=1e-5, atol=1e-5)


def test_read_attention_of_scan_gradient_reaches_projections():
    network = VMamba(depths=(1, 1, 1, 1), dims=8)
    tap = parse_tap('attention(layers.2.blocks.0.op.scan)')
    with record(network, [tap]) as recording:
        network(torch.randn(1, 3, 64, 64))
    scan = recording[tap]
    hidden_attention(scan.steps(), scan.A, scan.B, scan.C)[..., 0].sum().backward()
    block = find_module(network, 'layers.2.blocks.0.op')
    assert block.x_proj_weight.grad.abs().max() > 0 and block.dt_projs_weight.grad.abs().max() > 0
    assert not any(t.requires_grad for t in (scan.detach().delta, scan.detach().B))


def test_read_attention_half_precision_computes_in_float32():
    attention = Attention(torch.randn(1, 1, 6, 2).half(), torch.randn(1, 1, 6, 2).half())
    with torch.autocast('cpu', torch.bfloat16):
        weights = attention.affinity()
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 1, 6))
