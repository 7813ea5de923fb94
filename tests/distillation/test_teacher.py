import pytest
import timm
import torch
from huggingface_folder import write_folder
from mmengine.config import Config
from mmseg.structures import SegDataSample
from torch.distributed.tensor import DTensor

from mmkd.distillation.tap import INPUT_GRADIENT, parse_tap
from mmkd.distillation.teacher import Teacher
from mmkd.engine.hooks.student_checkpoint_hook import hash_weights
from mmkd.errors import UserError
from mmkd.openmmlab.samples import blank_samples
from mmkd.registry import MODELS


def test_teacher_checkpoint_is_loaded(teacher_files):
    config, checkpoint = teacher_files
    teacher = Teacher(config, checkpoint, Config.fromfile(config).model.data_preprocessor)
    saved = torch.load(checkpoint, weights_only=True)['state_dict']
    assert saved.keys() == teacher.network.state_dict().keys()
    assert all(torch.equal(v, saved[k]) for k, v in teacher.network.state_dict().items())


def test_teacher_run_uses_its_own_normalisation(teacher_files):
    config, checkpoint = teacher_files
    own = Config.fromfile(config).model.data_preprocessor
    unit = dict(type='SegDataPreProcessor', mean=[0] * 3, std=[255] * 3, size_divisor=1)
    pixels = torch.randint(0, 256, (1, 3, 64, 64)).float()  # BGR
    teacher = Teacher(config, checkpoint, unit)
    tap = parse_tap('backbone[0]')
    read = teacher.run(pixels / 255, None, [tap])[tap]
    mean, std = (torch.tensor(own[key]).view(1, 3, 1, 1) for key in ('mean', 'std'))
    with torch.no_grad():
        expected = teacher.network.backbone((pixels.flip(1) - mean) / std)[0]
    torch.testing.assert_close(read, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('dtype, tolerance', [('bfloat16', 0.03), ('float16', 0.005)])
def test_teacher_dtype_gives_features_of_half_the_size(teacher_files, dtype, tolerance):
    config, checkpoint = teacher_files
    preprocessor = Config.fromfile(config).model.data_preprocessor
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    taps = [parse_tap(text) for text in ('backbone[3]', 'decode_head.fusion_conv')]
    teachers = (Teacher(config, checkpoint, preprocessor, dtype=d) for d in (dtype, 'float32'))
    half, single = (teacher.run(images, None, taps) for teacher in teachers)
    for tap in taps:
        found, expected = half[tap], single[tap]
        assert found.dtype == getattr(torch, dtype)
        assert (found.float() - expected).norm() <= tolerance * expected.norm()


def test_teacher_dtype_predicts_as_in_float32(teacher_files):
    config, checkpoint = teacher_files
    preprocessor = Config.fromfile(config).model.data_preprocessor
    teacher = Teacher(config, checkpoint, preprocessor, dtype='bfloat16')
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    sample = SegDataSample(metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64)))
    network = teacher.for_prediction(torch.device('cpu')).eval()
    answer = network.test_step(dict(inputs=[image], data_samples=[sample]))[0]
    assert answer.seg_logits.data.dtype == torch.float32
    single = Teacher(config, checkpoint, preprocessor).network.data_preprocessor
    assert torch.equal(teacher.network.data_preprocessor.mean, single.mean), 'it is not rounded'
    assert next(teacher.network.parameters()).dtype == torch.bfloat16


def test_teacher_dtype_refuses_input_gradient(teacher_files):
    config, checkpoint = teacher_files
    preprocessor = Config.fromfile(config).model.data_preprocessor
    teacher = Teacher(config, checkpoint, preprocessor, dtype='bfloat16')
    with pytest.raises(UserError, match='expected float32 with the tap input_gradient'):
        teacher.run(torch.randn(1, 3, 64, 64), None, [INPUT_GRADIENT])


def test_teacher_of_distillation_config_is_its_student(recipe_file, recipe, tmp_path):
    student = MODELS.build(recipe.model.student)
    torch.save(student.state_dict(), tmp_path / 'student.pth')
    teacher = Teacher(str(recipe_file), str(tmp_path / 'student.pth'), None)
    assert type(teacher.network.backbone).__name__ == 'FastSCNN'


@pytest.fixture
def process_group(tmp_path):
    """This process as a group of its own."""
    store = f'file://{tmp_path}/store'
    torch.distributed.init_process_group('gloo', init_method=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


TAPS = ['backbone[3]', 'decode_head.convs.1', 'attention(backbone.layers.2.1.1.attn)']


@pytest.mark.parametrize('text', [*TAPS, str(INPUT_GRADIENT)])
def test_teacher_sharded_records_as_whole(teacher_files, process_group, text):
    config, checkpoint = teacher_files
    preprocessor = Config.fromfile(config).model.data_preprocessor
    whole, sharded = (Teacher(config, checkpoint, preprocessor) for _ in range(2))
    sharded.sharded = True  # as it would be in a larger group
    tap, images = parse_tap(text), torch.randn(1, 3, 64, 64)
    samples = blank_samples(whole.network, (64, 64))
    for _ in range(2):
        expected, ours = (
            teacher.run(images, samples, [tap], {tap.path: 1})[tap] for teacher in (whole, sharded)
        )
        if 'attention' in text:
            expected, ours = expected.affinity(), ours.affinity()
        torch.testing.assert_close(ours, expected)
        # After a pass that stopped at the tap too, nothing is left gathered.
        assert all(isinstance(weight, DTensor) for weight in sharded.network.parameters())


@pytest.mark.parametrize('kind', ['timm', 'huggingface'])
def test_teacher_of_other_kind_sharded_records_and_hashes_as_whole(kind, tmp_path, process_group):
    keys = dict(huggingface=str(write_folder(tmp_path / 'folder')))
    if kind == 'timm':
        torch.save(timm.create_model('vit_tiny_patch16_224').state_dict(), tmp_path / 'a.pth')
        keys = dict(timm='vit_tiny_patch16_224', checkpoint=str(tmp_path / 'a.pth'))
    whole, sharded = (Teacher(student_preprocessor=dict(mean=[0], std=[1]), **keys) for _ in '12')
    sharded.sharded = True  # as it would be in a larger group
    images, tap = 255 * torch.rand(1, 3, 64, 64), parse_tap('backbone[2]')
    for _ in range(2):
        expected, ours = (t.run(images, None, [tap])[tap] for t in (whole, sharded))
        torch.testing.assert_close(ours, expected)
    assert all(isinstance(weight, DTensor) for weight in sharded.network.parameters())
    assert hash_weights(sharded.network) == hash_weights(whole.network)


def test_teacher_scale_doubles_its_features(teacher_files):
    config, checkpoint = teacher_files
    preprocessor = Config.fromfile(config).model.data_preprocessor
    plain, scaled = (Teacher(config, checkpoint, preprocessor, scale=s) for s in (1.0, 2.0))
    images, tap = torch.randn(1, 3, 64, 64), parse_tap('backbone[1]')
    enlarged = torch.nn.functional.interpolate(images, scale_factor=2, mode='bilinear')
    found = scaled.run(images, None, [tap])[tap]
    torch.testing.assert_close(found, plain.run(enlarged, None, [tap])[tap])
    assert found.shape[2:] == (16, 16)
    with pytest.raises(UserError, match='model.teacher.scale: expected images of the same size'):
        scaled.run(images, blank_samples(scaled.network, (64, 64)), [INPUT_GRADIENT])


def test_teacher_sharded_in_half_precision_predicts_from_a_sharded_copy(
    teacher_files, process_group
):
    config, checkpoint = teacher_files
    preprocessor = Config.fromfile(config).model.data_preprocessor
    whole, sharded = (Teacher(config, checkpoint, preprocessor, dtype='bfloat16') for _ in 'ab')
    sharded.sharded = True  # as it would be in a larger group
    cpu, images = torch.device('cpu'), torch.randn(1, 3, 64, 64)
    copied = sharded.for_prediction(cpu)
    weights = list(copied.parameters())
    assert all(isinstance(w, DTensor) and w.dtype == torch.float32 for w in weights)
    with torch.no_grad():
        expected = whole.for_prediction(cpu)(images, mode='tensor')
        torch.testing.assert_close(copied(images, mode='tensor'), expected)
    sharded.move_to(cpu)
    with pytest.raises(UserError, match='model.teacher.dtype: expected float32 with shard=True'):
        sharded.for_prediction(cpu)
