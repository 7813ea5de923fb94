import pytest
from mmengine.config import Config

from mmkd.engine.work_dir import check_work_dir
from mmkd.errors import UserError


def distillation(checkpoint, work_dir, **changes):
    model = dict(type='mmkd.Distiller', teacher=dict(checkpoint=str(checkpoint)))
    return Config(dict(model=model, work_dir=str(work_dir), **changes))


@pytest.mark.parametrize('resume', [False, True])
def test_check_work_dir_teachers_folder_is_rejected_by_any_name(tmp_path, resume):
    (tmp_path / 'teacher').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'teacher')
    for name in ('teacher', 'link', 'other/../teacher'):
        config = distillation(tmp_path / 'teacher/best.pth', tmp_path / name, resume=resume)
        with pytest.raises(UserError, match='work_dir=.*: expected a folder other than the teach'):
            check_work_dir(config)
    check_work_dir(distillation('https://models.example/best.pth', 'models'))


@pytest.mark.parametrize('name', ['best.pth', 'best_mIoU_iter_3.pth', 'iter_10.pth', 'epoch_2.pth'])
def test_check_work_dir_checkpoints_without_resume_raise_user_error(tmp_path, name):
    config = Config(dict(model=dict(type='FCN'), work_dir=str(tmp_path)))
    check_work_dir(config)
    (tmp_path / 'notes.txt').touch()
    check_work_dir(config)
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=f'it holds {name}; go on with --resume'):
        check_work_dir(config)
    config.resume = True
    check_work_dir(config)
