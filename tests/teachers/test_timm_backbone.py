import pytest
import timm
import torch

from mmkd.distillation.tap import parse_tap
from mmkd.distillation.teacher import Teacher
from mmkd.errors import UserError

RGB = dict(
    type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
)  # fmt: skip
BACKBONE = parse_tap('backbone')
# Few layers, for speed.
SMALL = {
    'swin_tiny_patch4_window7_224': dict(embed_dim=24, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8)),
    'vit_tiny_patch16_224': dict(depth=3),
    'vit_tiny_patch16_dinov3_qkvb.eupe_lvd1689m': dict(depth=3),
    'deit_tiny_distilled_patch16_224': dict(depth=3),
}


def save(name: str, path, **arguments) -> torch.nn.Module:
    torch.manual_seed(0)
    network = timm.create_model(name, **SMALL.get(name, {}) | arguments).eval()
    torch.save(network.state_dict(), path)
    return network


def features(name: str, checkpoint, images: torch.Tensor, **keys) -> list[torch.Tensor]:
    keys = dict(arguments=SMALL.get(name), student_preprocessor=RGB) | keys
    teacher = Teacher(timm=name, checkpoint=str(checkpoint), **keys)
    recording = teacher.run(images, None, [BACKBONE])
    return [recording[parse_tap(f'backbone[{i}]')] for i in range(3)]


@pytest.mark.parametrize(
    'name, strides',
    [
        ('convnext_atto', (4, 8, 16)),
        ('swin_tiny_patch4_window7_224', (4, 8, 16)),  # channels last, one size by default
        ('vit_tiny_patch16_224', (16, 16, 16)),  # other mean and deviation, one size by default
        ('vit_tiny_patch16_dinov3_qkvb.eupe_lvd1689m', (16, 16, 16)),
        pytest.param('convnext_tiny.dinov3_lvd1689m', (4, 8, 16), marks=pytest.mark.slow),
        pytest.param('vit_small_patch16_dinov3', (16, 16, 16), marks=pytest.mark.slow),
        pytest.param('vit_small_patch14_dinov2', (14, 14, 14), marks=pytest.mark.slow),
        pytest.param('pvt_v2_b0', (4, 8, 16), marks=pytest.mark.slow),
        pytest.param('mobilenetv3_small_050', (2, 4, 8), marks=pytest.mark.slow),
        pytest.param('eva02_tiny_patch14_224', (14, 14, 14), marks=pytest.mark.slow),
    ],
)
def test_timm_teacher_gives_timm_features_of_image(name, strides, tmp_path):
    network = save(name, tmp_path / 'a.pth')
    multiple = max(strides) if strides[0] == strides[2] else 32
    size = (2 * multiple, 3 * multiple)
    pixels = torch.rand(1, 3, *size)
    mean, std = (torch.tensor(RGB[key]).view(1, 3, 1, 1) / 255 for key in ('mean', 'std'))
    ours = features(name, tmp_path / 'a.pth', (pixels - mean) / std)
    data = timm.data.resolve_model_data_config(network)
    mean, std = (torch.tensor(data[key]).view(1, 3, 1, 1) for key in ('mean', 'std'))
    free = {'vit_tiny_patch16_224', 'vit_small_patch14_dinov2', 'eva02_tiny_patch14_224'}
    options = dict(dynamic_img_size=True) if name in free else {}
    options |= dict(strict_img_size=False) if name.startswith('swin') else {}
    plain = timm.create_model(name, **options, **SMALL.get(name, {})).eval()
    plain.load_state_dict(network.state_dict())
    last = len(getattr(plain, 'blocks', ())) if strides[0] == strides[2] else 0
    with torch.no_grad():
        expected = plain.forward_intermediates(
            (pixels - mean) / std,
            indices=[last - 3, last - 2, last - 1] if last else None,
            intermediates_only=True,
        )
    for found, wanted, stride in zip(ours, expected, strides, strict=False):
        assert tuple(found.shape[2:]) == (size[0] // stride, size[1] // stride)
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_timm_teacher_brings_image_to_multiple(tmp_path):
    save('convnext_atto', tmp_path / 'a.pth')
    keys = dict(timm='convnext_atto', checkpoint=str(tmp_path / 'a.pth'), student_preprocessor=RGB)
    teacher = Teacher(**keys)
    images = torch.randn(1, 3, 50, 70)
    assert teacher.inputs.size_of((50, 70)) == (64, 96)
    enlarged = torch.nn.functional.interpolate(images, (64, 96), mode='bilinear')
    (found, expected) = (
        teacher.run(x, None, [BACKBONE])[parse_tap('backbone[1]')] for x in (images, enlarged)
    )
    torch.testing.assert_close(found, expected)


def test_timm_teacher_of_one_size_gets_that_size(tmp_path):
    save('deit_tiny_distilled_patch16_224', tmp_path / 'a.pth')
    name = 'deit_tiny_distilled_patch16_224'
    found = features(name, tmp_path / 'a.pth', torch.randn(1, 3, 50, 70))
    assert tuple(found[0].shape[2:]) == (14, 14)
    with pytest.raises(UserError, match='scale=2.0: expected 1.0; this network takes only .*224'):
        features(name, tmp_path / 'a.pth', torch.randn(1, 3, 64, 64), scale=2.0)


def test_timm_teacher_takes_weights_of_another_head(tmp_path):
    save('resnet18', tmp_path / 'a.pth', num_classes=7)
    images = torch.randn(1, 3, 64, 64)
    found = features('resnet18', tmp_path / 'a.pth', images, arguments=dict(out_indices=(2, 3, 4)))
    assert [x.shape[1] for x in found] == [128, 256, 512]


@pytest.mark.parametrize(
    'keys, message',
    [
        (dict(timm='resnet81'), 'timm=resnet81: expected a name of timm .*nearest: .*resnet'),
        (
            dict(timm='resnet34'),
            'checkpoint=.*: .* weights are missing, such as layer1.2.conv1.weight',
        ),
        (dict(timm='convnext_atto'), 'expected weights of convnext_atto; timm cannot read them'),
        (dict(timm='regnetx_002'), 'missing, such as stem.conv.weight; it holds .* instead'),
        (
            dict(timm='resnet18', arguments=dict(depth=3)),
            "arguments={'depth': 3}: expected a backbone that timm builds; it raises TypeError",
        ),
        (dict(timm='resnet18', checkpoint='none.pth'), 'none.pth does not exist: expected weights'),
        (dict(timm='resnet18', checkpoint=None), 'model.teacher.checkpoint: expected this key'),
    ],
)
def test_timm_teacher_that_does_not_fit_raises_user_error(keys, message, tmp_path):
    save('resnet18', tmp_path / 'a.pth')
    keys = dict(checkpoint=str(tmp_path / 'a.pth'), student_preprocessor=RGB) | keys
    with pytest.raises(UserError, match=message) as error:
        Teacher(**keys)
    assert '\n' not in str(error.value)
