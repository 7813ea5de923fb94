"""What is refused before a missing teacher trains."""

from pathlib import Path

import pytest

from mmkd.config.load import load_config
from mmkd.engine.teacher_preparation import check_trainable, prepare_teacher
from mmkd.errors import UserError

TEXT = """
_base_ = '{base}'
model = dict(teacher=dict(config='{folder}/{teacher}.py', checkpoint='{folder}/{at}/best.pth'))
"""


@pytest.mark.parametrize('names', ['a', 'ab', 'abc'])
def test_prepare_teacher_that_teaches_itself_raises_user_error(recipe_file, names):
    folder = recipe_file.parent
    for name, teacher in zip(names, names[1:] + names[0], strict=True):
        text = TEXT.format(base=recipe_file, folder=folder, teacher=teacher, at=f'of_{teacher}')
        (folder / f'{name}.py').write_text(text)
    with pytest.raises(
        UserError, match='expected a teacher that can be trained, but .* for its own teacher'
    ):
        prepare_teacher(load_config(str(folder / 'a.py')))
    assert not list(Path(folder).glob('of_*'))


def test_check_trainable_names_the_teachers_config(tmp_path):
    config = tmp_path / 'teacher.py'
    config.write_text(
        "_base_ = 'mmkd::teachers/segformer_b0_streets.py'\n"
        'default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))\n'
    )
    message = f'^{config}: default_hooks.checkpoint.max_keep_ckpts=1: expected an integer'
    with pytest.raises(UserError, match=message):
        check_trainable(str(config), str(tmp_path / 'best.pth'))


def test_prepare_teacher_of_a_stopped_training_says_how_to_finish_it(recipe_file, tmp_path):
    (tmp_path / 'training_unfinished').touch()
    for name in ('iter_2.pth', 'best.pth'):
        (tmp_path / name).touch()
    config = load_config(str(recipe_file))
    config.model.teacher.checkpoint = str(tmp_path / 'iter_2.pth')
    with pytest.raises(UserError, match='expected weights of a finished training.*--resume'):
        prepare_teacher(config)
    config.model.teacher.checkpoint = str(tmp_path / 'best.pth')
    with pytest.raises(UserError, match='expected a trained teacher; run .* --resume. first'):
        prepare_teacher(config, train=False)
