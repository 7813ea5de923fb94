import pytest
import torch
from mmengine.config import Config
from torch.distributed.tensor import DTensor

from mmkd.dry_run import blank_samples
from mmkd.registry import MODELS
from mmkd.taps import INPUT_GRADIENT, parse_tap
from mmkd.teacher import Teacher


def test_loads_its_checkpoint(teacher_files):
    config, checkpoint = teacher_files
    teacher = Teacher(config, checkpoint, Config.fromfile(config).model.data_preprocessor)
    saved = torch.load(checkpoint, weights_only=True)['state_dict']
    assert saved.keys() == teacher.network.state_dict().keys()
    assert all(torch.equal(v, saved[k]) for k, v in teacher.network.state_dict().items())


def test_sees_its_own_normalisation(teacher_files):
    config, checkpoint = teacher_files
    own = Config.fromfile(config).model.data_preprocessor
    unit = dict(type='SegDataPreProcessor', mean=[0] * 3, std=[255] * 3, size_divisor=1)
    pixels = torch.randint(0, 256, (1, 3, 64, 64)).float()  # BGR
    teacher = Teacher(config, checkpoint, unit)
    tap = parse_tap('backbone[0]')
    read = teacher.read(pixels / 255, None, [tap]).read(tap)
    mean, std = (torch.tensor(own[key]).view(1, 3, 1, 1) for key in ('mean', 'std'))
    with torch.no_grad():
        expected = teacher.network.backbone((pixels.flip(1) - mean) / std)[0]
    torch.testing.assert_close(read, expected, rtol=1e-4, atol=1e-4)


def test_a_distillation_config_lends_its_student(recipe_file, recipe, tmp_path):
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
def test_a_sharded_teacher_is_read_like_a_whole_one(teacher_files, process_group, text):
    config, checkpoint = teacher_files
    preprocessor = Config.fromfile(config).model.data_preprocessor
    whole, sharded = (Teacher(config, checkpoint, preprocessor) for _ in range(2))
    sharded.sharded = True  # as it would be in a larger group
    tap, images = parse_tap(text), torch.randn(1, 3, 64, 64)
    samples = blank_samples(whole.network, 64)
    for _ in range(2):
        expected, ours = (
            teacher.read(images, samples, [tap], {tap.path: 1}).read(tap)
            for teacher in (whole, sharded)
        )
        if 'attention' in text:
            expected, ours = expected.weights(), ours.weights()
        torch.testing.assert_close(ours, expected)
        # After a pass that stopped at the tap too, nothing is left gathered.
        assert all(isinstance(weight, DTensor) for weight in sharded.network.parameters())
