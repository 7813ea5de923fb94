import pytest

from mmkd.config.checks.loops import check_loops
from mmkd.errors import UserError


@pytest.mark.parametrize(
    'options, message',
    [
        ({'val_evaluator': None}, 'val_evaluator=None: expected all of val_dataloader, val_cfg'),
        ({'val_cfg': None, 'val_evaluator': None}, 'val_cfg=None: expected all of'),
        ({'optim_wrapper': None}, 'optim_wrapper=None: expected all of train_dataloader'),
        ({'test_evaluator': None}, 'test_evaluator=None: expected all of test_dataloader'),
        ({'train_cfg.val_interval': 0}, 'train_cfg.val_interval=0: expected an integer >= 1'),
        ({'train_cfg.max_iters': 0}, 'train_cfg.max_iters=0: expected an integer >= 1'),
        ({'train_cfg.max_iters': '2'}, "train_cfg.max_iters='2': expected an integer >= 1"),
        ({'train_cfg.max_iters': 2.5}, 'train_cfg.max_iters=2.5: expected an integer >= 1'),
        ({'default_hooks.checkpoint.interval': '2'}, "checkpoint.interval='2': expected an int"),
        ({'default_hooks.logger.interval': 1.5}, 'logger.interval=1.5: expected an integer'),
        ({'default_hooks.logger.interval': 0}, 'logger.interval=0: expected an integer >= 1'),
        ({'train_cfg.val_begin': 'foo'}, "train_cfg.val_begin='foo': expected an integer >= 0"),
    ],
)
def test_check_loops_missing_parts_and_lengths_are_rejected(recipe, options, message):
    check_loops(recipe)
    for key, value in options.items():
        recipe.merge_from_dict({key: value})
    with pytest.raises(UserError, match=message):
        check_loops(recipe)


def test_check_loops_without_validation_is_accepted(recipe):
    recipe.merge_from_dict(dict(val_dataloader=None, val_cfg=None, val_evaluator=None))
    check_loops(recipe)
