"""Lean attention: the outputs and gradients of the blocks' own, without the weights."""

import copy

import pytest
import torch
from mmcv.cnn.bricks.transformer import MultiheadAttention
from mmseg.models.backbones.mit import EfficientMultiheadAttention
from torch.testing import assert_close

from mmkd.distillation.recording import record
from mmkd.distillation.tap import parse_tap
from mmkd.openmmlab.lean_attention import use_lean_attention


@pytest.fixture
def asked(monkeypatch):
    """Whether each call of PyTorch's attention asked for the weights."""
    calls = []
    inner = torch.nn.functional.multi_head_attention_forward

    def attend(*args, **kwargs):
        calls.append(kwargs['need_weights'])
        return inner(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, 'multi_head_attention_forward', attend)
    return calls


def segformer_block(sr_ratio, **options):
    torch.manual_seed(0)
    return EfficientMultiheadAttention(8, 2, sr_ratio=sr_ratio, **options)


def run(block):
    block.double()
    tokens = torch.randn(2, 24, 8, generator=torch.Generator().manual_seed(1)).double()
    output = block(tokens.requires_grad_(), (4, 6))
    output.square().sum().backward()
    return output.detach(), tokens.grad, [p.grad for p in block.parameters()]


@pytest.mark.parametrize('sr_ratio', [1, 2])
def test_lean_attention_gives_the_plain_output_and_gradients(sr_ratio, asked):
    plain = segformer_block(sr_ratio)
    lean = copy.deepcopy(plain)
    use_lean_attention(lean)
    assert_close(run(lean), run(plain))
    assert asked == [False, True]


def test_lean_attention_applied_twice_adds_one_hook():
    block = segformer_block(1)
    use_lean_attention(block)
    use_lean_attention(block)
    assert len(block.attn._forward_pre_hooks) == 1


def test_lean_attention_of_a_masked_call_keeps_the_weights(asked):
    torch.manual_seed(0)
    block = MultiheadAttention(8, 2, batch_first=True)
    use_lean_attention(block)
    tokens = torch.randn(1, 5, 8)
    block(tokens, attn_mask=torch.zeros(5, 5, dtype=torch.bool))
    block(tokens)
    assert asked == [True, False]


def test_lean_attention_with_dropout_draws_as_the_plain_one(asked):
    plain = segformer_block(1, attn_drop=0.5)
    lean = copy.deepcopy(plain)
    use_lean_attention(lean)
    outputs = []
    for block in (lean, plain):
        torch.manual_seed(2)
        outputs.append(run(block)[0])
    assert torch.equal(*outputs)
    run(lean.eval())
    assert asked == [True, True, False]


def test_lean_attention_where_the_weights_are_tapped_returns_them():
    block = segformer_block(1)
    use_lean_attention(block)
    tap = parse_tap('attn[1]')
    with record(block, [tap]) as recording:
        run(block)
    weights = recording[tap]
    assert weights.shape == (2, 24, 24)
    assert_close(weights.sum(-1), torch.ones(2, 24, dtype=torch.float64))
