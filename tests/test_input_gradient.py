"""Input gradients through real networks: their values, the second backward, and how they train."""

import copy
import math
import subprocess
import sys
import weakref

import pytest
import torch
from mmengine.model import BaseModel, BaseModule
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from mmkd.errors import UserError
from mmkd.registry import MODELS

TERM = dict(
    student='input_gradient',
    teacher='input_gradient',
    loss=dict(type='GradientATLoss'),
    weight=0.01,
)
HEAD = dict(
    type='FCNHead', channels=8, num_convs=1, dropout_ratio=0, num_classes=11, align_corners=False,
    loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
)  # fmt: skip
STUDENTS = {
    'pooling': dict(
        backbone=dict(type='ResNet', depth=18, base_channels=4, norm_cfg=dict(type='BN')),
        decode_head=dict(HEAD, in_channels=32, in_index=3),
    ),
    'attention': dict(
        backbone=dict(
            type='MixVisionTransformer', embed_dims=4, num_stages=2, num_layers=[1, 1],
            num_heads=[1, 2], patch_sizes=[7, 3], strides=[4, 2], sr_ratios=[4, 2],
            out_indices=(0, 1), drop_path_rate=0.0,
        ),
        decode_head=dict(HEAD, in_channels=8, in_index=1),
    ),
}  # fmt: skip


@MODELS.register_module(name='TestFusedAttention', force=True)
class FusedAttention(BaseModule):
    """A backbone that calls PyTorch's fused attention."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 8, stride=8)

    def forward(self, images):
        x = self.stem(images).flatten(2).mT[:, None].contiguous()  # one head
        x = nn.functional.scaled_dot_product_attention(x, x, x)
        return (x[:, 0].mT.unflatten(2, (images.shape[2] // 8, -1)),)


@MODELS.register_module(name='TestNoSegmentor', force=True)
class NoSegmentor(BaseModel):
    def forward(self, inputs, data_samples=None, mode='tensor'):
        return inputs


class MeanDifference(nn.Module):
    """A loss of someone who forgot to detach the teacher."""

    def forward(self, student, teacher):
        return (student.mean() - teacher.mean()).square()


def batch(seed=3, shape=(64, 96), dtype=torch.float32, count=2):
    g = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, *shape, generator=g).to(dtype)
    labels = torch.randint(0, 11, (count, 1, *shape), generator=g)
    return images, [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels]


@pytest.fixture
def gradient_config(model_config):
    """A Distiller with the gradient term alone, without randomness in the student."""
    model_config.distill = dict(gradient=copy.deepcopy(TERM))
    model_config.student.decode_head.dropout_ratio = 0
    for head in model_config.student.auxiliary_head:
        head.dropout_ratio = 0
    return model_config


def build(config):
    torch.manual_seed(0)
    return MODELS.build(config)


def with_student(config, student):
    """The config with another student."""
    preprocessor = config.student.data_preprocessor
    common = dict(type='EncoderDecoder', train_cfg=dict(), test_cfg=dict(mode='whole'))
    config.student = dict(common, data_preprocessor=preprocessor, **copy.deepcopy(student))
    return config


def total(distiller, data):
    return distiller.parse_losses(distiller.loss(*data))[0]


def gradients(value, distiller):
    return torch.autograd.grad(value, list(distiller.parameters()))


def test_input_gradient_term_of_two_preprocessors_equals_definition(gradient_config):
    gradient_config.student.data_preprocessor.update(mean=[0.0] * 3, std=[255.0] * 3)
    distiller = build(gradient_config).eval()
    network = distiller.teacher.network
    images, samples = batch()
    samples[0].set_metainfo(dict(img_shape=(48, 80)))  # the rest of the first image is padding

    x = images.clone().requires_grad_()
    loss = sum(v for k, v in distiller.student.loss(x, samples).items() if 'loss' in k)
    student = torch.autograd.grad(loss, x)[0]

    mean, std = (getattr(network.data_preprocessor, key)[None] for key in ('mean', 'std'))
    pixels = (255 * images - mean) / std
    pixels[0, :, 48:] = pixels[0, :, :, 80:] = 0  # as the teacher's own preprocessor pads
    pixels.requires_grad_()
    loss = network.loss(pixels, samples)['decode.loss_ce']
    teacher = torch.autograd.grad(loss, pixels)[0] * 255 / std
    teacher[0, :, 48:] = teacher[0, :, :, 80:] = 0

    own_loss = 2 * math.sqrt(64 * 96)  # of each of two images, at a size that is not the crop's
    norms = [own_loss * (s - t).norm() for s, t in zip(student, teacher, strict=True)]
    expected = 0.01 * 0.5 * sum(norms) / 2
    value = distiller.loss(images, samples)['distill.gradient']
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize('student', ['fast_scnn', *STUDENTS])
def test_input_gradient_term_gradient_equals_finite_difference(gradient_config, student):
    if student in STUDENTS:
        gradient_config = with_student(gradient_config, STUDENTS[student])
    distiller = build(gradient_config).double()
    distiller.teacher.network.double()
    for module in list(distiller.student.modules()):  # a ReLU's gradient jumps
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.SiLU())
    data = batch(shape=(64, 64), dtype=torch.float64)
    value = distiller.loss(*data)['distill.gradient']
    parameters = list(distiller.parameters())
    found = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
    generator = torch.Generator().manual_seed(1)
    step = [1e-6 * torch.randn(p.shape, generator=generator).double() for p in parameters]
    sides = []
    for sign in (1, -2):  # from where it stands to +step, from there to -step
        with torch.no_grad():
            for p, s in zip(parameters, step, strict=True):
                p.add_(s, alpha=sign)
            sides.append(distiller.loss(*data)['distill.gradient'])
    expected = (sides[0] - sides[1]) / 2
    slope = sum((g * s).sum() for g, s in zip(found, step, strict=True))
    torch.testing.assert_close(slope, expected, rtol=1e-4, atol=0)


def test_input_gradient_term_backward_reaches_every_parameter(gradient_config):
    distiller = build(gradient_config)
    losses = distiller.loss(*batch())
    term = torch.autograd.grad(losses['distill.gradient'], distiller.student.backbone.parameters())
    assert sum(g.abs().sum() > 0 for g in term) > len(term) / 2
    distiller.parse_losses(distiller.loss(*batch()))[0].backward()
    assert [n for n, p in distiller.named_parameters() if p.grad is None] == []
    assert all(p.grad is None for p in distiller.teacher.network.parameters())


def test_input_gradient_term_frees_teacher_graph_first(gradient_config):
    gradient_config.distill.feature = dict(
        student='backbone[1]', teacher='decode_head.convs.3', loss=dict(type='ActivationATLoss')
    )
    distiller = build(gradient_config)
    distiller.distill['feature'].loss = MeanDifference()
    held, alive = [], []

    class Saved:
        def __init__(self, tensor):
            self.tensor = tensor
            held.append(weakref.ref(self))

    distiller.student.backbone.register_forward_pre_hook(
        lambda *_: alive.append(sum(ref() is not None for ref in held))
    )
    with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        value = total(distiller, batch())
    assert len(held) > 0 and alive == [0]
    value.backward()  # not through the freed graph


def test_input_gradient_term_accumulation_is_mean_of_batches(gradient_config):
    distiller = build(gradient_config).eval()  # the running statistics stand still
    batches = [batch(seed=3), batch(seed=4)]
    start = [p.detach().clone() for p in distiller.parameters()]
    each = [gradients(total(distiller, data), distiller) for data in batches]
    optimizer = torch.optim.SGD(distiller.parameters(), lr=1.0)
    wrapper = OptimWrapper(optimizer, accumulative_counts=2)
    for data in batches:
        with wrapper.optim_context(distiller):
            wrapper.update_params(total(distiller, data))
    for p, before, a, b in zip(distiller.parameters(), start, *each, strict=True):
        torch.testing.assert_close(before - p, (a + b) / 2, rtol=1e-3, atol=1e-5)


def test_input_gradient_term_under_amp_is_unchanged(gradient_config):
    distiller = build(gradient_config).eval()
    data = batch()
    whole = distiller.loss(*data)['distill.gradient']

    def step(scale):
        distiller.zero_grad()
        with torch.autocast('cpu', torch.bfloat16):
            losses = distiller.loss(*data)
            value, _ = distiller.parse_losses(losses)
        scaler = torch.amp.GradScaler('cpu', init_scale=scale)
        scaler.scale(value).backward()
        scaler.unscale_(torch.optim.SGD(distiller.parameters()))
        return losses['distill.gradient'], [p.grad.clone() for p in distiller.parameters()]

    (plain, expected), (scaled, found) = step(1.0), step(1024.0)
    assert plain.dtype == torch.float32 and torch.equal(plain, scaled)
    torch.testing.assert_close(plain, whole, rtol=0.05, atol=0)
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b)
        assert a.isfinite().all()


def test_input_gradient_term_of_zero_weight_runs_no_teacher_loss(gradient_config):
    gradient_config.distill.gradient.weight = 0
    gradient_config.distill.feature = dict(
        student='backbone[1]', teacher='decode_head.conv_seg', loss=dict(type='ActivationATLoss')
    )
    distiller = build(gradient_config)

    def run_loss(*_):
        raise ArithmeticError("the teacher's loss ran")

    distiller.teacher.network.loss = run_loss
    asked = []
    distiller.student.backbone.register_forward_pre_hook(
        lambda _, inputs: asked.append(inputs[0].requires_grad)
    )
    losses = distiller.loss(*batch())
    assert losses['distill.gradient'] == 0 and losses['distill.feature'] > 0
    assert asked == [False]
    distiller.distill['gradient'].weight = 1.0
    with pytest.raises(ArithmeticError, match="teacher's loss ran"):
        distiller.loss(*batch())


def test_input_gradient_term_under_no_grad_has_same_value(gradient_config):
    distiller = build(gradient_config).eval()
    expected = distiller.loss(*batch())['distill.gradient']
    with torch.no_grad():
        value = distiller.loss(*batch())['distill.gradient']
    assert not value.requires_grad
    torch.testing.assert_close(value, expected)


def test_input_gradient_term_fused_attention_is_differentiated_twice(gradient_config):
    student = dict(
        backbone=dict(type='mmkd.TestFusedAttention'), decode_head=dict(HEAD, in_channels=8)
    )
    student['decode_head']['in_index'] = 0
    distiller = build(with_student(gradient_config, student))
    distiller.loss(*batch())['distill.gradient'].backward()
    assert distiller.student.backbone.stem.weight.grad.abs().sum() > 0


def test_input_gradient_term_checkpointed_student_raises_user_error(gradient_config):
    student = copy.deepcopy(STUDENTS['attention'])
    student['backbone']['with_cp'] = True
    with pytest.raises(UserError, match='model.distill.gradient: .*checkpoint'):
        build(with_student(gradient_config, student))


def test_input_gradient_term_once_differentiable_layer_raises_user_error(gradient_config):
    backbone = dict(type='mmkd.VMamba', depths=(1, 1, 1, 1), dims=4, out_indices=(3,))
    head = dict(HEAD, in_channels=32, in_index=0)
    with pytest.raises(UserError, match='model.distill.gradient: .*differentiate twice'):
        build(with_student(gradient_config, dict(backbone=backbone, decode_head=head)))


def test_input_gradient_term_leaves_student_grad_empty(gradient_config):
    assert all(p.grad is None for p in build(gradient_config).parameters())


def test_input_gradient_term_sync_batch_norm_is_rejected(gradient_config):
    distiller = nn.SyncBatchNorm.convert_sync_batchnorm(build(gradient_config))
    with pytest.raises(UserError, match='sync_bn: expected none.*SyncBatchNorm'):
        distiller.loss(*batch())


def test_input_gradient_term_student_without_loss_raises_user_error(gradient_config):
    gradient_config.student = dict(type='mmkd.TestNoSegmentor')
    with pytest.raises(UserError, match="tap 'input_gradient': expected a model of MMSeg"):
        build(gradient_config)


# Each process compares what the wrapper leaves in `grad` with the mean of both processes' own.
# `run_tool` ends the group and its threads, which the wrapped model holds, as it does for a tool.
TWO_PROCESSES = """
import sys, torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
import mmkd
from mmkd.cli.run_tool import run_tool
from mmkd.registry import MODELS

def main():
    dist.init_process_group('gloo')
    init_default_scope('mmseg')
    torch.manual_seed(0)
    distiller = MODELS.build(Config.fromfile(sys.argv[1]).model)
    g = torch.Generator().manual_seed(dist.get_rank())
    images = torch.randn(2, 3, 64, 64, generator=g)
    labels = torch.randint(0, 11, (2, 1, 64, 64), generator=g)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=x)) for x in labels]
    parameters = list(distiller.parameters())
    losses = distiller(images, samples, mode='loss')
    expected = torch.autograd.grad(distiller.parse_losses(losses)[0], parameters)
    model = MMDistributedDataParallel(distiller)
    losses = model(images, samples, mode='loss')
    assert losses['distill.gradient'] > 0
    assert all(p.grad is None for p in parameters)
    distiller.parse_losses(losses)[0].backward()
    for p, own in zip(parameters, expected):
        dist.all_reduce(own)
        torch.testing.assert_close(p.grad, own / 2, rtol=1e-3, atol=1e-5)
    print('equal', flush=True)
    dist.barrier()

run_tool(main)
"""


def test_input_gradient_term_of_two_processes_averages_gradients(recipe, gradient_config, tmp_path):
    recipe.model = gradient_config
    recipe.dump(tmp_path / 'gradient.py')
    script = tmp_path / 'two.py'
    script.write_text(TWO_PROCESSES)
    launch = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2']
    result = subprocess.run(
        [sys.executable, *launch, str(script), str(tmp_path / 'gradient.py')],
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.count('equal') == 2
