import pytest

from mmkd.errors import UserError
from mmkd.teachers import check_teacher_keys, teacher_kind, teacher_name, teacher_weights


@pytest.mark.parametrize(
    'teacher, kind, name, weights',
    [
        (dict(config='a/b.py', checkpoint='w/best.pth'), 'config', 'b', 'w/best.pth'),
        (dict(huggingface='nvidia/b2'), 'huggingface', 'b2', 'nvidia/b2/model.safetensors'),
        (dict(timm='vit.tag', checkpoint='a.pth'), 'timm', 'vit.tag', 'a.pth'),
        (
            dict(type='my.Net', checkpoint='a.pth', mean=[0], std=[1], config=None),
            'type', 'Net', 'a.pth',
        ),
    ],
)  # fmt: skip
def test_teacher_keys_of_each_kind_are_read(teacher, kind, name, weights):
    check_teacher_keys(teacher)
    read = teacher_kind(teacher), teacher_name(teacher), teacher_weights(teacher)
    assert read == (kind, name, weights)


@pytest.mark.parametrize(
    'teacher, message',
    [
        (dict(), 'model.teacher.config: expected this key, or one of huggingface, timm, type'),
        (
            dict(config='a.py', timm='resnet18', checkpoint='a.pth'),
            'model.teacher: config and timm name two networks: expected one',
        ),
        (
            dict(huggingface='a', checkpoint='a.pth'),
            "model.teacher: unknown key 'checkpoint': expected huggingface, shard, dtype, scale",
        ),
        (dict(timm='resnet18', checkpoint='a', mean=[0]), "model.teacher: unknown key 'mean'"),
        (dict(timm=18, checkpoint='a'), 'model.teacher.timm=18: expected a path'),
        (dict(timm='a', checkpoint='a', arguments=[3]), 'arguments=.*: expected a dict'),
        (dict(huggingface='a', scale=0), 'model.teacher.scale=0: expected a number > 0'),
        (dict(huggingface='a', scale=True), 'model.teacher.scale=True: expected a number > 0'),
    ],
)
def test_teacher_keys_that_do_not_fit_raise_user_error(teacher, message):
    with pytest.raises(UserError, match=message):
        check_teacher_keys(teacher)
