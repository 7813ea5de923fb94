"""What is refused before a missing teacher trains."""

from pathlib import Path

import pytest

from mmkd.config.load import load_config
from mmkd.engine.teacher_preparation import prepare_teacher
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
    with pytest.raises(UserError, match='expected a teacher that is there before its own training'):
        prepare_teacher(load_config(str(folder / 'a.py')))
    assert not list(Path(folder).glob('of_*'))
