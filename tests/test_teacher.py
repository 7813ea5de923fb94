import torch
from mmengine.config import Config

from mmkd.registry import MODELS
from mmkd.taps import parse_tap
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
