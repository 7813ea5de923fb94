import pytest

from mmkd.config.checks.training import check_training
from mmkd.errors import UserError


def test_check_training_config_that_only_tests_is_rejected(recipe):
    check_training(recipe)
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper'):  # as in student.py
        recipe.pop(key)
    with pytest.raises(UserError, match='train_dataloader=None: expected a config that trains'):
        check_training(recipe)
